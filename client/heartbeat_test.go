package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

func TestHeartbeatAnswered(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		for range 100 {
			time.Sleep(25 * time.Second)
			p.wantNothing()
			p.send("{}")
			p.wantText("{}")
		}
		// Two ends that answer each other's answers must not spin.
		for range 10 {
			p.send("{}")
		}
		p.wantNothing()
		p.write([]byte("\x89\x02hi"))
		p.wantText("pong hi")
		if got := c.Stats().Connects; got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	})
}

// Nothing for ping + 10 s: the client asks. Nothing for ping + 20 s: it comes
// again. The connection itself looks as healthy as ever.
func TestDeadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		var lost StateEvent
		cfg.OnState = func(e StateEvent) {
			if e.State == StateDisconnected {
				lost = e
			}
		}
		c := n.start(cfg)
		defer n.end(c)
		p := n.welcome("") // ping is 25 s
		last := time.Now()

		p.wantText("{}")
		if waited := time.Since(last); waited != 35*time.Second {
			t.Errorf("the client asked after %s, want 35 s", waited)
		}
		time.Sleep(2 * time.Second)
		p.send("{}") // it lives
		last = time.Now()
		p.wantText("{}") // and is asked again; its answer was not answered
		if waited := time.Since(last); waited != 35*time.Second {
			t.Errorf("the client asked after %s, want 35 s", waited)
		}
		p.wantText("end")
		if waited := time.Since(last); waited != 45*time.Second {
			t.Errorf("the client gave up after %s, want 45 s", waited)
		}
		n.accept()
		synctest.Wait()
		if !errors.Is(lost.Err, ErrSilent) {
			t.Errorf("disconnected: %v, want ErrSilent", lost.Err)
		}
	})
}

// A server that takes nothing is given up by the write's deadline.
func TestWriteTimeout(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.accept()
		p.upgrade("")
		id, _ := p.want("connect")
		_ = p.conn.SetReadDeadline(time.Now()) // the peer's reader ends
		p.wantText("end")
		_ = p.conn.SetReadDeadline(time.Time{})
		p.send(`{"id":%d,"connect":{"client":"c-1"}}`, id)
		begin := time.Now()
		_, err := c.Publish(t.Context(), "a", 1)
		if took := time.Since(begin); !errors.Is(err, ErrDisconnected) || took != 10*time.Second+closeTimeout {
			t.Errorf("Publish = %v after %s, want ErrDisconnected after 12 s", err, took)
		}
		n.accept()
	})
}

// A server that leaves connect unanswered is given up, though it sends heartbeats.
func TestNoAnswer(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.accept()
		p.upgrade("")
		p.want("connect")
		for range 2 {
			time.Sleep(6 * time.Second)
			p.send("{}")
			p.wantText("{}")
		}
		p.wantText("end")
		l.want(t, "disconnected: client: the server does not answer: connect has no reply after 15s")
		n.welcome("").close(frame.CloseGoingAway, "")
		n.accept()
	})
}
