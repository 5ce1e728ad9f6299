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
			w.put(upgrade())
			wantHeader(t, w.wantStatus(503), "Retry-After", "5")
			w.wantEnd()
		}
		waiting := connect(t, s) // refused, and does not know it yet
		waiting.put("GET ")
		eventually(t, "it was accepted", func() bool { return statsOf(s).Get("accepted") == 9 })
		for _, c := range in {
			c.send("undisturbed")
			c.want("undisturbed")
		}
		if n := statsOf(s).Get("refused_full"); n != 5 {
			t.Errorf("RefusedFull = %d, want 5", n)
		}
		_ = in[0].Close()
		// It is the place itself that shows when it is free.
		var c *client
		eventually(t, "there is room", func() bool {
			c = connect(t, s)
			c.put(upgrade())
			return c.status() == 101
		})
		c.send("in")
		c.want("in")
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
		{"reserved opcode", masked(3, "a"), 1002, protocolErrors},
		{"reserved bits", raw(0xc1|0x20, 0x81, 0, 0, 0, 0, 'a'), 1002, protocolErrors},
		{"fragmented ping", raw(0x09, 0x80, 0, 0, 0, 0), 1002, protocolErrors},
		{"long ping", masked(ws.OpPing, strings.Repeat("p", 126)), 1002, protocolErrors},
		{"continuation of nothing", masked(ws.OpContinuation, "a"), 1002, protocolErrors},
		{"length not minimal", raw(0x81, 0xfe, 0, 1, 0, 0, 0, 0, 'a'), 1002, protocolErrors},
		{"one byte of close", masked(ws.OpClose, "\x03"), 1002, protocolErrors},
		{"close code 1005", masked(ws.OpClose, "\x03\xed"), 1002, protocolErrors},
		{"bad UTF-8", masked(ws.OpText, "a\xff"), 1007, func(st *server.Stats) int64 { return st.Get("invalid_utf8") }},
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
				w.put(masked(ws.OpText, "before") + c.send)
				w.want("before")
				w.wantClose(c.code, "*")
				w.wantEnd()
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
			w.put(masked(ws.OpText, "last") + closeFrame(4321, "so long") + masked(ws.OpText, "ignored"))
			w.wantFrame(ws.OpText, "last")
			w.wantFrame(ws.OpClose, "\x10\xe1")
			w.wantEnd()
			if e := <-ends; e.Code != 4321 || e.Reason != "so long" || !e.ByPeer || e.Err != nil {
				t.Errorf("Close was told %+v", e)
			}
		})
		t.Run("by the client, without a code", func(t *testing.T) {
			w := upgraded(t, s)
			<-conns
			w.put(masked(ws.OpClose, ""))
			w.wantFrame(ws.OpClose, "")
			w.wantEnd()
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
			w.wantFrame(ws.OpText, "behind this")
			w.wantFrame(ws.OpClose, "\x0f\x9fenough")
			w.put(masked(ws.OpText, "not answered") + closeFrame(3999, ""))
			w.wantEnd()
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
			w.wantClose(1000, "")
			w.wantEnd()
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
			if err := w.Conn.(*bufConn).Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			w.wantEnd()
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
			w.want("closing time")
			w.want("bye, ann")
			w.wantClose(4000, "away")
			w.put(closeFrame(4000, ""))
			w.wantEnd()
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
			func(c *client) { c.put(upgrade()); c.wantStatus(500); c.wantEnd() }},
		{"Open", func(h *server.Handler) {
			h.Open = func(e *server.OpenEvent) { e.Send(server.Text, []byte("hello")); panic("on purpose") }
		}, func(c *client) {
			c.put(upgrade())
			c.wantStatus(101)
			c.want("hello")
			c.wantClose(1011, "internal error")
			c.put(closeFrame(1011, ""))
			c.wantEnd()
		}},
		{"Message", func(h *server.Handler) {
			h.Message = func(m *server.Message) { m.Reply(m.Type, m.Payload); panic("on purpose") }
		}, func(c *client) {
			c.put(upgrade() + masked(ws.OpText, "a") + masked(ws.OpText, "b"))
			c.wantStatus(101)
			c.want("a")
			c.wantClose(1011, "internal error")
			c.put(closeFrame(1011, ""))
			c.wantEnd()
		}},
		{"Close", func(h *server.Handler) { h.Close = func(*server.CloseEvent) { panic("on purpose") } },
			func(c *client) { c.put(upgrade()); c.wantStatus(101); _ = c.Close() }},
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
				w.Conn.(*bufConn).Conn = &headed{w.Conn.(*bufConn).Conn}
				c.see(w)
				eventually(t, "the panic is counted and the connection gone", func() bool { return statsOf(s).Get("panics") == 1 && statsOf(s).Get("engine_conns") == 1 })
				wantPanics(t, s, 1)
				other.send("undisturbed")
				other.want("undisturbed")
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
