package socketio_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol/socketio"
)

// recovering is a server whose clients may come back, and tell which rooms they want.
func recovering(t *testing.T, recovery socketio.Recovery, change func(cfg *server.Config, io *socketio.Server)) *rig {
	t.Helper()
	return startWith(t, socketio.Options{PollingMax: 16, Recovery: recovery}, func(cfg *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) {
			if s.Recovered() {
				_ = s.Emit("again", s.ID(), s.Data())
			} else {
				s.SetData("data of " + s.ID())
				_ = s.Emit("new", s.ID())
			}
		})
		main := io.Of("/")
		main.On("join", func(s *socketio.Socket, e *socketio.Event) { _, _ = s.Join(e.Arg(0).String()), e.Ack() })
		main.On("shout", func(s *socketio.Socket, e *socketio.Event) { _, _ = s.Broadcast().Emit("shouted"), e.Ack() })
		if change != nil {
			change(cfg, io)
		}
	})
}

// a comer is a client that comes back.
type comer struct {
	*wstest.Client
	t        *testing.T
	sid, pid string
	offset   string
}

// connect connects to the main namespace, as the client that it was, if it was one.
func (r *rig) connect(was *comer) *comer {
	r.t.Helper()
	c := &comer{Client: r.dial(""), t: r.t}
	c.Text() // open
	c.enter(was)
	return c
}

func (c *comer) enter(was *comer) {
	c.t.Helper()
	packet := "40"
	if was != nil {
		shown := map[string]string{"pid": was.pid}
		if was.offset != "" {
			shown["offset"] = was.offset
		}
		text, _ := json.Marshal(shown)
		packet += string(text)
		c.offset = was.offset
	}
	c.Send(packet)
	c.connected(c.Text())
}

func (c *comer) connected(packet string) {
	c.t.Helper()
	var connected struct{ SID, PID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(packet, "40")), &connected); err != nil || connected.PID == "" {
		c.t.Fatalf("%v: connected with %s", err, packet)
	}
	c.sid, c.pid = connected.SID, connected.PID
}

// event returns the next event as NAME ARGUMENTS, and notes its offset.
func (c *comer) event() string {
	c.t.Helper()
	var event []any
	text := c.Text()
	if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "42")), &event); err != nil || len(event) < 2 {
		c.t.Fatalf("%v: got %s", err, text)
	}
	c.offset = event[len(event)-1].(string)
	return strings.TrimSpace(fmt.Sprintln(event[:len(event)-1]...))
}

func (c *comer) wantEvents(want ...string) {
	c.t.Helper()
	for _, text := range want {
		if got := c.event(); got != text {
			c.t.Fatalf("got %s, want %s", got, text)
		}
	}
}

func (c *comer) join(room string) {
	c.t.Helper()
	c.Send(`421["join","` + room + `"]`)
	c.Want("431[]")
}

// A client whose connection was lost comes back: it is the same socket, and gets what it has
// missed, once and in order, and nothing else; whether the server has noticed the loss or
// not, and over polling, too.
func TestRecovery(t *testing.T) {
	for _, how := range []string{"noticed", "not noticed", "polling", "nothing received"} {
		t.Run(how, func(t *testing.T) {
			r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, nil)
			c, witness := r.connect(nil), r.connect(nil)
			first := c.sid
			c.wantEvents("new " + first)
			witness.wantEvents("new " + witness.sid)
			if how == "nothing received" {
				c.offset = ""
			}
			c.join("a")
			c.join("b")
			emit := func(event string, b socketio.Broadcast) {
				t.Helper()
				if err := b.Emit(event); err != nil {
					t.Fatal(err)
				}
			}
			all := r.io.Of("/").Broadcast
			if how != "nothing received" {
				emit("before", all)
				c.wantEvents("before")
				witness.wantEvents("before")
			}
			if how == "noticed" {
				c.Close()
				r.waitConnections(1)
			}
			emit("all", all)
			emit("a and b", r.io.To("a", "b"))
			emit("c", r.io.To("c"))
			emit("not b", r.io.Except("b"))
			emit("not me", r.io.To("a").Except(c.sid))
			emit("me", r.io.To(c.sid))
			emit("last", all)
			witness.wantEvents("all", "not b", "last")

			var back *comer
			if how == "polling" {
				p := r.poller()
				p.post(`40{"pid":"` + c.pid + `","offset":"` + c.offset + `"}`)
				back = &comer{t: t, offset: c.offset}
				back.connected(p.await("40"))
				p.await(`42["again"`)
				back.Client = p.upgrade()
				if got := fmt.Sprint(len(p.got)); !strings.Contains(strings.Join(p.got, ""), "a and b") {
					t.Fatalf("got %s: %q", got, p.got)
				}
				if back.sid != first || back.pid != c.pid {
					t.Errorf("it is %s now, it was %s", back.sid, first)
				}
				back.Send(`421["join","d"]`)
				back.Want("431[]")
			} else {
				back = r.connect(c)
				if how == "nothing received" {
					back.wantEvents("new " + first)
				}
				back.wantEvents("all", "a and b", "me", "last")
				if back.sid != first || back.pid != c.pid {
					t.Errorf("it is %s now, it was %s", back.sid, first)
				}
				back.wantEvents("again " + first + " data of " + first)
			}
			// It goes on, and can come back again.
			emit("live", r.io.To("b"))
			emit("mine", r.io.To(first))
			back.wantEvents("live", "mine")
			back.Send(`422["shout"]`)
			back.Want("432[]") // and nothing before it
			witness.wantEvents("shouted")
			emit("lost", r.io.To("a"))
			third := r.connect(back)
			third.wantEvents("lost", "again "+first+" data of "+first)
			r.waitCount("sessions_recovered", 2)
			r.waitCount("sessions_not_recovered", 0)
		})
	}
}

// waitConnections waits until the server has this many connections.
func (r *rig) waitConnections(n int64) {
	r.t.Helper()
	r.waitCount("connections", n)
}

// waitCount waits until a counter has this value.
func (r *rig) waitCount(name string, n int64) {
	r.t.Helper()
	for end := time.Now().Add(patience); r.srv.Stats().Get(name) != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s is %d, want %d", name, r.srv.Stats().Get(name), n)
		}
	}
}

// A client that comes back too late, for which not all is kept, or that shows what is not
// its own, is a new one.
func TestNoRecovery(t *testing.T) {
	new := func(r *rig, was *comer) {
		r.t.Helper()
		c := r.connect(was)
		if c.sid == was.sid || c.pid == was.pid {
			r.t.Errorf("it is the same one")
		}
		c.wantEvents("new " + c.sid)
	}
	t.Run("shown", func(t *testing.T) {
		r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, nil)
		c := r.connect(nil)
		c.wantEvents("new " + c.sid)
		for name, shown := range map[string]comer{
			"pid of nobody": {pid: "0123456789012345678901", offset: c.offset},
			"socket's ID":   {pid: c.sid, offset: c.offset},
			"no pid":        {pid: "", offset: c.offset},
			"no offset":     {pid: c.pid, offset: "an argument"},
			"other epoch":   {pid: c.pid, offset: "x" + c.offset},
		} {
			t.Run(name, func(t *testing.T) {
				shown.sid = c.sid
				new(r, &shown)
			})
			if name == "other epoch" { // it was the client, and is gone
				c = r.connect(nil)
				c.wantEvents("new " + c.sid)
			}
		}
	})
	t.Run("left", func(t *testing.T) {
		r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, nil)
		c := r.connect(nil)
		c.wantEvents("new " + c.sid)
		c.Send("41")
		new(r, c)
	})
	for name, kick := range map[string]func(r *rig, c *comer){
		"disconnected": func(r *rig, c *comer) {
			c.Send(`42["kick"]`)
			c.Want("41")
		},
		"disconnected by the API": func(r *rig, c *comer) {
			if n, err := r.srv.Disconnect(t.Context(), server.Audience{Channel: "io:/#" + c.sid}, 4403, "out"); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			c.Want("41")
		},
	} {
		t.Run(name, func(t *testing.T) { // and its connection stays, for it does not answer the Close frame
			r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, func(_ *server.Config, io *socketio.Server) {
				io.Of("/").On("kick", func(s *socketio.Socket, _ *socketio.Event) { _ = s.Disconnect(true) })
			})
			c := r.connect(nil)
			c.wantEvents("new " + c.sid)
			kick(r, c)
			new(r, c)
		})
	}
	t.Run("late", func(t *testing.T) {
		r := recovering(t, socketio.Recovery{MaxDisconnection: time.Second}, nil)
		c := r.connect(nil)
		c.wantEvents("new " + c.sid)
		c.Close()
		r.waitConnections(0)
		time.Sleep(time.Second + time.Millisecond) // its time, at least
		new(r, c)
	})
	t.Run("too much", func(t *testing.T) {
		r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour, HistoryMessages: 3}, nil)
		c := r.connect(nil)
		c.wantEvents("new " + c.sid)
		witness := r.connect(nil)
		witness.wantEvents("new " + witness.sid)
		c.Close()
		r.waitConnections(1)
		// What a loop has not sent yet is kept: the other one may be behind.
		for end := time.Now().Add(patience); ; {
			if err := r.io.Emit("more"); err != nil {
				t.Fatal(err)
			}
			witness.wantEvents("more")
			page, err := r.srv.History("io:/", history.Query{Limit: 1})
			if err != nil || time.Now().After(end) {
				t.Fatal(page, err)
			}
			if len(page.Messages) > 0 && page.Messages[0].Offset > 2 {
				break
			}
		}
		new(r, c)
	})
	t.Run("too many", func(t *testing.T) {
		r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour, SessionsMax: 1}, nil)
		c, d := r.connect(nil), r.connect(nil)
		c.wantEvents("new " + c.sid)
		d.wantEvents("new " + d.sid)
		c.Close()
		r.waitConnections(1)
		d.Close()
		r.waitConnections(0)
		new(r, c)
		if back := r.connect(d); back.sid != d.sid {
			t.Errorf("the one that was away last was given up")
		}
		r.waitCount("sessions_given_up", 1)
	})
}

// A client that leaves a namespace and connects again has another socket there: what was for the
// old one alone is not for the new one, nor is it the one that comes back.
func TestAnotherSocketHasAnotherID(t *testing.T) {
	r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, nil)
	c := r.connect(nil)
	c.wantEvents("new " + c.sid)
	old := *c
	for range 3 {
		before := c.sid
		c.Send("41")
		c.enter(nil)
		if c.sid == before || c.sid == old.sid || c.pid == old.pid {
			t.Fatalf("the socket %s, %s has the ID of an earlier one", c.sid, c.pid)
		}
		c.wantEvents("new " + c.sid)
	}
	for _, id := range []string{old.sid, c.sid} {
		if err := r.io.To(id).Emit("for", id); err != nil {
			t.Fatal(err)
		}
	}
	c.wantEvents("for " + c.sid)
}

// A client gets nothing that was emitted before its socket began, whatever offset it shows.
func TestRecoveryBeginsWithTheSocket(t *testing.T) {
	r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, nil)
	witness := r.connect(nil)
	witness.wantEvents("new " + witness.sid)
	if err := r.io.Emit("before"); err != nil {
		t.Fatal(err)
	}
	witness.wantEvents("before")
	c := r.connect(nil)
	c.wantEvents("new " + c.sid)
	epoch, _, _ := strings.Cut(c.offset, ":")
	c.offset = epoch + ":0"
	back := r.connect(c)
	if back.sid != c.sid {
		t.Fatal("it is a new one")
	}
	back.wantEvents("new "+c.sid, "again "+c.sid+" data of "+c.sid)
}

// The pid of a socket is good in its own namespace, and for its own user: shown elsewhere, or by
// another one, it does not end the socket either.
func TestRecoveryIsForItsOwn(t *testing.T) {
	users := make(chan string, 3)
	r := recovering(t, socketio.Recovery{MaxDisconnection: time.Hour}, func(_ *server.Config, io *socketio.Server) {
		io.Of("/user").OnConnection(func(s *socketio.Socket) { _ = s.SetUser(<-users) })
		io.Of("/other")
	})
	// user connects as one in another namespace first.
	user := func(name string) *comer {
		users <- name
		c := &comer{Client: r.dial(""), t: t}
		c.Text() // open
		c.Send("40/user,")
		c.Text()
		return c
	}
	c := user("ann")
	c.enter(nil)
	c.wantEvents("new " + c.sid)
	alive := func() {
		t.Helper()
		c.join("room")
		c.Send(`42["leave"]`)
	}

	d := &comer{Client: r.dial(""), t: t}
	d.Text()
	d.Send(`40/other,{"pid":"` + c.pid + `","offset":"` + c.offset + `"}`)
	if got := d.Text(); strings.Contains(got, c.sid) || !strings.HasPrefix(got, `40/other,{"sid"`) {
		t.Fatalf("in another namespace: %s", got)
	}
	alive()

	for _, lost := range []bool{false, true} {
		if lost {
			c.Close()
			r.waitCount("sessions_kept", 2) // with that in /user
		}
		bob := user("bob")
		bob.enter(c)
		if bob.sid == c.sid {
			t.Fatalf("lost: %v: another user has the socket", lost)
		}
		bob.wantEvents("new " + bob.sid)
		if !lost {
			alive()
		}
	}
	again := user("ann")
	again.enter(c)
	if again.sid != c.sid {
		t.Error("its own user has not got the socket")
	}
}
