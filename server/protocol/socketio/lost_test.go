package socketio

import (
	"fmt"
	"testing"
	"time"
)

// TestLostIsBounded: sockets that come and go leave nothing in the table, however long the
// first one stays away, and no more are away than may be.
func TestLostIsBounded(t *testing.T) {
	var l lost
	l.init(&Recovery{MaxDisconnection: time.Hour, SessionsMax: 100})
	l.put(&lostSocket{id: "first"})
	for i := range 10_000 {
		id := fmt.Sprint(i)
		if n := l.put(&lostSocket{id: id}); n != 0 {
			t.Fatalf("%d given up", n)
		}
		if l.take(id) == nil || l.take(id) != nil {
			t.Fatalf("%s was not there once", id)
		}
	}
	if n := len(l.order); n > 2*lostSlack {
		t.Errorf("%d are remembered that are not away", n)
	}
	if l.take("first") == nil {
		t.Error("the first one is gone")
	}
	given := 0
	for i := range 1000 {
		given += l.put(&lostSocket{id: fmt.Sprint(i)})
	}
	if given != 900 || len(l.away) != 100 || l.take("899") != nil || l.take("900") == nil {
		t.Errorf("%d given up, %d away; want 900, 100", given, len(l.away))
	}
}

// TestForgetOtherConnection: the end of a socket on one connection does not make the server forget
// that it has come back on another one.
func TestForgetOtherConnection(t *testing.T) {
	var l lost
	l.init(&Recovery{MaxDisconnection: time.Hour})
	l.back("socket", 1)
	l.back("socket", 2)
	l.forget("socket", 1)
	if at := l.at("socket"); at != 2 {
		t.Errorf("it is at %v, want 2", at)
	}
	l.forget("socket", 2)
	if at := l.at("socket"); at != 0 {
		t.Errorf("it is at %v, and has ended", at)
	}
}
