package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

// While spreads and a fan-out walk a channel's subscribers, others leave and join:
// a subscriber that stays gets each message once.
func TestSpreadsWhileMembersChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		r := newRig(t, 1, func(c *Config) { c.FanoutSlice = 1 + rng.IntN(4) })
		s := r.shards[0]
		var ids []netpoll.ID
		left := map[netpoll.ID]bool{}
		for range 40 {
			id := r.open(0, "u")
			r.check(s.Join(id, "room"))
			ids = append(ids, id)
		}
		r.settle()
		const spreads = 3
		for k := range spreads {
			m := hub.NewMessage(frame.OpText, fmt.Appendf(nil, "spread %d", k))
			r.check(r.pub.Spread(hub.ToChannel, "room", m, time.Duration(k+2)*time.Second, nil))
		}
		r.check(r.publish("room", "job"))
		for range 60 {
			id := ids[rng.IntN(len(ids))]
			if rng.IntN(3) == 0 && len(left) < 30 {
				left[id] = true
				r.check(s.Leave(id, "room"))
			}
			if rng.IntN(2) == 0 {
				r.now += 100 * time.Millisecond
				r.loops[0].Tick()
			}
			r.loops[0].Turn()
		}
		r.advance(10 * time.Second)
		r.settle()
		for _, id := range ids {
			counts := map[string]int{}
			for _, text := range r.received(id) {
				counts[text]++
			}
			for _, text := range []string{"job", "spread 0", "spread 1", "spread 2"} {
				if n := counts[text]; n > 1 || n == 0 && !left[id] {
					t.Fatalf("round %d: connection %v (left: %v) got %q %d times", round, id, left[id], text, n)
				}
			}
		}
		if len(s.spreads) != 0 {
			t.Fatalf("%d spreads are left", len(s.spreads))
		}
	}
}

// A spread to a user reaches the connections that the user had at its start.
func TestSpreadToUser(t *testing.T) {
	r := newRig(t, 1, nil)
	a, b, other := r.open(0, "ann"), r.open(0, "ann"), r.open(0, "bob")
	tally := hub.NewTally()
	r.check(r.pub.Spread(hub.ToUser, "ann", hub.NewMessage(frame.OpText, []byte("now")), 2*time.Second, tally))
	r.settle()
	late := r.open(0, "ann")
	r.advance(3 * time.Second)
	r.want(a, "now")
	r.want(b, "now")
	r.want(other)
	r.want(late)
	if tally.Matched() != 2 {
		t.Errorf("matched %d, want 2", tally.Matched())
	}
}
