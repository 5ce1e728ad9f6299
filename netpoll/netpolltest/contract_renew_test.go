//go:build linux || darwin || freebsd

package netpolltest

import (
	"io"
	"testing"

	"github.com/roostws/roost/netpoll"
)

// testRenew: a connection goes on under another ID, paused or not, whatever has
// arrived, and the old one is stale. One that has ended, or has output waiting, keeps
// its ID.
func testRenew(t *testing.T, start startFunc) {
	r := newRig(t, start, testConfig(), hooks{})
	renew := func(id netpoll.ID) (renewed netpoll.ID) {
		t.Helper()
		r.on(id.Loop(), func(l netpoll.Loop) { renewed = l.Renew(id) })
		return renewed
	}
	conn, id := r.open()
	r.wantEcho("before Renew", conn)
	for range 10 {
		old := id
		if id = renew(id); id == 0 || int32(id.Generation()-old.Generation()) <= 0 {
			t.Fatalf("Renew(%v) = %v", old, id)
		}
		r.wantEcho("after Renew", conn)
		r.on(id.Loop(), func(l netpoll.Loop) {
			if n, err := l.Write(old, []byte("x")); n != 0 || err != netpoll.ErrClosed || l.FD(old) != -1 || l.Renew(old) != 0 {
				t.Errorf("the old ID still does something: Write = %d, %v", n, err)
			}
			l.Close(old)
			l.Abort(old)
		})
	}

	r.on(id.Loop(), func(l netpoll.Loop) { l.PauseRead(id) })
	if _, err := conn.Write([]byte("waiting")); err != nil {
		t.Fatal(err)
	}
	r.on(id.Loop(), func(netpoll.Loop) {}) // a turn, in which an engine may read it
	id = renew(id)
	r.on(id.Loop(), func(l netpoll.Loop) { l.ResumeRead(id) })
	got := make([]byte, len("waiting"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "waiting" {
		t.Errorf("what came during a pause: %q, %v", got, err)
	}
	// Resumed under the old ID, renewed before the held bytes are delivered.
	r.on(id.Loop(), func(l netpoll.Loop) { l.PauseRead(id) })
	if _, err := conn.Write([]byte("waiting")); err != nil {
		t.Fatal(err)
	}
	r.on(id.Loop(), func(netpoll.Loop) {})
	r.on(id.Loop(), func(l netpoll.Loop) {
		l.ResumeRead(id)
		id = l.Renew(id)
	})
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "waiting" {
		t.Errorf("what came during another pause: %q, %v", got, err)
	}

	conn.Close()
	r.wantClose("a renewed connection whose peer has closed", id, io.EOF)
	if again := renew(id); again != 0 {
		t.Errorf("Renew(%v) of a closed connection = %v", id, again)
	}

	conn, id = r.open()
	r.on(id.Loop(), func(l netpoll.Loop) {
		for p := pattern(1 << 20); ; {
			if n, err := l.Write(id, p); n < len(p) || err != nil {
				break
			}
		}
		if again := l.Renew(id); again != 0 {
			t.Errorf("Renew of a connection with output waiting = %v", again)
		}
	})
	reset(conn)
}
