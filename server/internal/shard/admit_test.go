package shard

import (
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
)

const upgradeRequest = "GET /ann HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// crowd opens connections of which the first comes in and the others wait outside.
func crowd(t *testing.T) (r *rig, ids []netpoll.ID) {
	r = newRig(t, 1, func(c *Config) { c.AdmitQueueMax, c.AdmitRate = 100, 1 })
	r.open(0, "first")
	for range 3 {
		id := r.loops[0].Open(0)
		r.loops[0].Deliver(id, []byte(upgradeRequest))
		r.settle()
		if got := r.loops[0].TakeReceived(id); len(got) > 0 {
			t.Fatalf("a newcomer that waits got %q", got)
		}
		ids = append(ids, id)
	}
	return r, ids
}

// wantSentAway checks that each is told when to come back.
func (r *rig) wantSentAway(ids []netpoll.ID) {
	r.t.Helper()
	for _, id := range ids {
		if got := string(r.loops[0].TakeReceived(id)); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "\r\nRetry-After: ") {
			r.t.Errorf("a newcomer that waited got %q", got)
		}
	}
}

// A loop that becomes slower than it was foreseen sends those away who have waited for as
// long as a handshake may take, and counts them as it does the others that it can't hold.
func TestAdmissionTakesTooLong(t *testing.T) {
	r, ids := crowd(t)
	r.shards[0].intake.admission.Rate = 0.001
	r.advance(11 * time.Second)
	r.wantSentAway(ids)
	count := &r.shards[0].count
	if refused, timeouts := count.Get(counters.AdmissionRefused), count.Get(counters.HandshakeTimeouts); refused != 3 || timeouts != 0 {
		t.Errorf("%d refused, %d timed out", refused, timeouts)
	}
}

// A drain tells those that wait outside when to come back.
func TestAdmissionOfAServerThatStops(t *testing.T) {
	r, ids := crowd(t)
	r.shards[0].BeginDrain(1001, "server is going away", 0, time.Second)
	r.settle()
	r.wantSentAway(ids)
}

// A flood of connections that find no room sends the next one half a minute away at most.
func TestRefusalsDoNotBookForMinutes(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.MaxConnections, c.AdmitQueueMax, c.AdmitRate = 1, 100, 500 })
	r.open(0, "first")
	for range 100_000 {
		if after := r.shards[0].comeBackAfter(); after > 30*time.Second {
			t.Fatalf("to come back after %v", after)
		}
	}
}
