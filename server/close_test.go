package server_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

func TestMaxConnections(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{MaxConnections: 3}, Handler: server.Handler{Message: echo}})
		var in []*client
		for range 3 {
			in = append(in, upgraded(t, s))
		}
		// Several at once: those who are refused take no place from others.
		for range 5 {
			w := connect(t, s)
			w.Put(wstest.Upgrade())
			wantHeader(t, w.WantStatus(503), "Retry-After", "5")
			w.WantEnd()
		}
		waiting := connect(t, s) // refused, and does not know it yet
		waiting.Put("GET ")
		eventually(t, "it was accepted", func() bool { return statsOf(s).Get("accepted") == 9 })
		for _, c := range in {
			c.Send("undisturbed")
			c.Want("undisturbed")
		}
		if n := statsOf(s).Get("refused_full"); n != 5 {
			t.Errorf("RefusedFull = %d, want 5", n)
		}
		_ = in[0].Close()
		// It is the place itself that shows when it is free.
		var c *client
		eventually(t, "there is room", func() bool {
			c = connect(t, s)
			c.Put(wstest.Upgrade())
			return c.Status() == 101
		})
		c.Send("in")
		c.Want("in")
	})
}

func TestProtocolViolations(t *testing.T) {
	raw := func(b ...byte) string { return string(b) }
	cases := []struct {
		name, send string
		code       ws.StatusCode
		counter    func(st *server.Stats) int64
	}{
		{"unmasked", "\x81\x01a", 1002, protocolErrors},
		{"reserved opcode", wstest.Masked(3, "a"), 1002, protocolErrors},
		{"reserved bits", raw(0xc1|0x20, 0x81, 0, 0, 0, 0, 'a'), 1002, protocolErrors},
		{"fragmented ping", raw(0x09, 0x80, 0, 0, 0, 0), 1002, protocolErrors},
		{"long ping", wstest.Masked(ws.OpPing, strings.Repeat("p", 126)), 1002, protocolErrors},
		{"continuation of nothing", wstest.Masked(ws.OpContinuation, "a"), 1002, protocolErrors},
		{"length not minimal", raw(0x81, 0xfe, 0, 1, 0, 0, 0, 0, 'a'), 1002, protocolErrors},
		{"one byte of close", wstest.Masked(ws.OpClose, "\x03"), 1002, protocolErrors},
		{"close code 1005", wstest.Masked(ws.OpClose, "\x03\xed"), 1002, protocolErrors},
		{"bad UTF-8", wstest.Masked(ws.OpText, "a\xff"), 1007, func(st *server.Stats) int64 { return st.Get("invalid_utf8") }},
		{"too big", raw(0x82, 0xfe, 0x04, 0x01, 0, 0, 0, 0), 1009, func(st *server.Stats) int64 { return st.Get("messages_too_big") }},
		{"too many fragments", raw(0x02, 0x80, 0, 0, 0, 0) + strings.Repeat(raw(0x00, 0x80, 0, 0, 0, 0), 4), 1008, protocolErrors},
	}
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		ends := make(chan server.CloseEvent, 1)
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{MessageMaxBytes: 1024, MessageMaxFragments: 4}, Handler: server.Handler{
			Message: echo, Close: func(e *server.CloseEvent) { ends <- *e },
		}})
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				before := statsOf(s)
				w := upgraded(t, s)
				w.Put(wstest.Masked(ws.OpText, "before") + c.send)
				w.Want("before")
				w.WantClose(c.code, "*")
				w.WantEnd()
				e := <-ends
				if e.Code != frame.CloseCode(c.code) || e.ByPeer || e.Err == nil || e.Reason == "" {
					t.Errorf("Close was told %d %q, by peer: %v, error: %v", e.Code, e.Reason, e.ByPeer, e.Err)
				}
				after := statsOf(s)
				if n := c.counter(&after) - c.counter(&before); n != 1 || after.Get("closed_by_server") != before.Get("closed_by_server")+1 {
					t.Errorf("counted %d times, ClosedByServer %d times", n, after.Get("closed_by_server")-before.Get("closed_by_server"))
				}
			})
		}
	})
}

func protocolErrors(st *server.Stats) int64 { return st.Get("protocol_errors") }

func TestClosingHandshake(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		ends := make(chan server.CloseEvent, 10)
		conns := make(chan server.Conn, 10)
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Timeouts: server.Timeouts{CloseTimeout: 4 * time.Second}, Handler: server.Handler{
			Open:    func(e *server.OpenEvent) { conns <- e.Conn() },
			Message: echo,
			Close:   func(e *server.CloseEvent) { ends <- *e },
		}})
		t.Run("by the client", func(t *testing.T) {
			w := upgraded(t, s)
			<-conns
			w.Put(wstest.Masked(ws.OpText, "last") + wstest.CloseFrame(4321, "so long") + wstest.Masked(ws.OpText, "ignored"))
			w.WantFrame(ws.OpText, "last")
			w.WantFrame(ws.OpClose, "\x10\xe1")
			w.WantEnd()
			if e := <-ends; e.Code != 4321 || e.Reason != "so long" || !e.ByPeer || e.Err != nil {
				t.Errorf("Close was told %+v", e)
			}
		})
		t.Run("by the client, without a code", func(t *testing.T) {
			w := upgraded(t, s)
			<-conns
			w.Put(wstest.Masked(ws.OpClose, ""))
			w.WantFrame(ws.OpClose, "")
			w.WantEnd()
			if e := <-ends; e.Code != 1005 || !e.ByPeer || e.Err != nil {
				t.Errorf("Close was told %+v", e)
			}
		})
		t.Run("by the server", func(t *testing.T) {
			w := upgraded(t, s)
			conn := <-conns
			_ = conn.Send(server.Text, []byte("behind this"))
			if err := conn.Close(3999, "enough"); err != nil {
				t.Fatal(err)
			}
			_ = conn.Send(server.Text, []byte("too late"))
			w.WantFrame(ws.OpText, "behind this")
			w.WantFrame(ws.OpClose, "\x0f\x9fenough")
			w.Put(wstest.Masked(ws.OpText, "not answered") + wstest.CloseFrame(3999, ""))
			w.WantEnd()
			if e := <-ends; e.Code != 3999 || e.Reason != "enough" || e.ByPeer || e.Err != nil {
				t.Errorf("Close was told %+v", e)
			}
		})
		t.Run("by the server, never answered", func(t *testing.T) {
			before := statsOf(s).Get("close_timeouts")
			w := upgraded(t, s)
			began := time.Now()
			if err := (<-conns).Close(1000, ""); err != nil {
				t.Fatal(err)
			}
			w.WantClose(1000, "")
			w.WantEnd()
			// The shard's clock stands still between two ticks, of 250 ms here.
			if d := time.Since(began); d < 3750*time.Millisecond {
				t.Errorf("cut after %v, CloseTimeout is 4 s", d)
			}
			if e := <-ends; e.Code != 1000 || statsOf(s).Get("close_timeouts") != before+1 {
				t.Errorf("Close was told %+v, %d timeouts", e, statsOf(s).Get("close_timeouts")-before)
			}
		})
		t.Run("half closed", func(t *testing.T) {
			w := upgraded(t, s)
			<-conns
			if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			w.WantEnd()
			if e := <-ends; e.Code != 1006 || e.Err != io.EOF {
				t.Errorf("Close was told %+v", e)
			}
		})
		st := statsOf(s)
		if st.Get("closed_by_peer") != 2 || st.Get("closed_by_server") != 2 || st.Get("closed_abnormally") != 1 || st.Get("closed") != 5 {
			t.Errorf("closed by peer %d, by server %d, abnormally %d, in all %d; want 2, 2, 1, 5", st.Get("closed_by_peer"), st.Get("closed_by_server"), st.Get("closed_abnormally"), st.Get("closed"))
		}
	})
}

// What was published before a close goes before it.
func TestFarewell(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Handler: server.Handler{
			Upgrade: func(r *server.UpgradeRequest) error {
				r.User = r.Get("X-User")
				r.Channels = []string{"room of " + r.User}
				return nil
			},
		}})
		for i := range 20 {
			// Names of their own: the loop that the next client lands on may have yet to
			// hear what was sent to the one before.
			user := fmt.Sprint("ann", i)
			w := upgraded(t, s, "X-User: "+user)
			for _, err := range []error{
				s.Publish("room of "+user, server.Text, []byte("closing time")),
				s.PublishUser(user, server.Text, []byte("bye, ann")),
				disconnect(s, server.Audience{User: user}, 4000, "away"),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			w.Want("closing time")
			w.Want("bye, ann")
			w.WantClose(4000, "away")
			w.Put(wstest.CloseFrame(4000, ""))
			w.WantEnd()
		}
	})
}

func TestPanics(t *testing.T) {
	cases := []struct {
		name string
		in   func(h *server.Handler)
		see  func(c *client)
	}{
		{"Upgrade", func(h *server.Handler) { h.Upgrade = func(*server.UpgradeRequest) error { panic("on purpose") } },
			func(c *client) { c.Put(wstest.Upgrade()); c.WantStatus(500); c.WantEnd() }},
		{"Open", func(h *server.Handler) {
			h.Open = func(e *server.OpenEvent) { e.Send(server.Text, []byte("hello")); panic("on purpose") }
		}, func(c *client) {
			c.Put(wstest.Upgrade())
			c.WantStatus(101)
			c.Want("hello")
			c.WantClose(1011, "internal error")
			c.Put(wstest.CloseFrame(1011, ""))
			c.WantEnd()
		}},
		{"Message", func(h *server.Handler) {
			h.Message = func(m *server.Message) { m.Reply(m.Type, m.Payload); panic("on purpose") }
		}, func(c *client) {
			c.Put(wstest.Upgrade() + wstest.Masked(ws.OpText, "a") + wstest.Masked(ws.OpText, "b"))
			c.WantStatus(101)
			c.Want("a")
			c.WantClose(1011, "internal error")
			c.Put(wstest.CloseFrame(1011, ""))
			c.WantEnd()
		}},
		{"Close", func(h *server.Handler) { h.Close = func(*server.CloseEvent) { panic("on purpose") } },
			func(c *client) { c.Put(wstest.Upgrade()); c.WantStatus(101); _ = c.Close() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
				var bad server.Handler
				c.in(&bad)
				var isBad sync.Map
				h := server.Handler{Message: func(m *server.Message) {
					if _, ok := isBad.Load(m.Conn()); ok && bad.Message != nil {
						bad.Message(m)
						return
					}
					m.Reply(m.Type, m.Payload)
				}}
				h.Upgrade = func(r *server.UpgradeRequest) error {
					if r.Get("X-Bad") != "" {
						r.User = "bad"
						if bad.Upgrade != nil {
							return bad.Upgrade(r)
						}
					}
					return nil
				}
				h.Open = func(e *server.OpenEvent) {
					if e.User() == "bad" {
						isBad.Store(e.Conn(), true)
						if bad.Open != nil {
							bad.Open(e)
						}
					}
				}
				h.Close = func(e *server.CloseEvent) {
					if e.User() == "bad" && bad.Close != nil {
						bad.Close(e)
					}
				}
				s := start(t, server.Config{Engine: server.Engine{Driver: engine, Loops: 1}, Handler: h})
				other := upgraded(t, s)
				w := connect(t, s)
				w.Conn = &headed{w.Conn}
				c.see(w)
				eventually(t, "the panic is counted and the connection gone", func() bool { return statsOf(s).Get("panics") == 1 && statsOf(s).Get("engine_conns") == 1 })
				wantPanics(t, s, 1)
				other.Send("undisturbed")
				other.Want("undisturbed")
			})
		})
	}
}

// headed adds X-Bad to the request that it carries first.
type headed struct{ net.Conn }

func (c *headed) Write(p []byte) (int, error) {
	if _, err := io.WriteString(c.Conn, strings.Replace(string(p), "\r\nHost:", "\r\nX-Bad: 1\r\nHost:", 1)); err != nil {
		return 0, err
	}
	return len(p), nil
}
