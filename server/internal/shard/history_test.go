package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// withHistory is a configuration whose channels "h:…" keep n messages.
func withHistory(n int, policy hub.Policy, lagMaxBytes int) func(c *Config) {
	return func(c *Config) {
		c.LagMaxBytes = lagMaxBytes
		c.Hub = hub.Config{
			Namespaces:      map[string]*hub.Namespace{"h": {Messages: n, Age: time.Hour, Policy: policy}, "user": {Messages: n, Age: time.Hour}},
			HistoryMaxBytes: 1 << 20, LagMaxBytes: lagMaxBytes,
		}
	}
}

func texts(from, to int) (list []string) {
	for n := from; n <= to; n++ {
		list = append(list, fmt.Sprintf("message %d", n))
	}
	return list
}

func (r *rig) publishAll(channel string, from, to int) {
	r.t.Helper()
	for _, text := range texts(from, to) {
		r.check(r.publish(channel, text))
	}
}

// joined opens a client in "h:1".
func (r *rig) joined(loop int) netpoll.ID {
	r.t.Helper()
	id := r.open(loop, "u")
	r.check(r.shards[loop].Join(id, "h:1"))
	r.settle()
	return id
}

// stall fills a client's socket.
func (r *rig) stall(id netpoll.ID) { r.loops[id.Loop()].SetRoom(id, 0) }

// drain lets it read all that comes.
func (r *rig) drain(id netpoll.ID) {
	r.loops[id.Loop()].SetRoom(id, -1)
	r.settle()
}

// Who lags reads on from history, also what the settings alone would not keep:
// what was published at once before anybody was served, and what came since.
func TestLaggerReadsOn(t *testing.T) {
	r := newRig(t, 2, withHistory(3, hub.PolicyDisconnect, 1<<20))
	slow, quick := r.joined(0), r.joined(1)
	r.stall(slow)
	r.publishAll("h:1", 1, 100) // no turn in between
	r.settle()
	r.publishAll("h:1", 101, 200)
	r.settle()
	r.want(quick, texts(1, 200)...)
	if n := r.shards[0].count.Get(counters.Reading); n != 1 {
		t.Errorf("%d connections read on, want 1", n)
	}
	r.publishAll("h:1", 201, 201)
	r.drain(slow)
	r.want(slow, texts(1, 201)...)
	r.publishAll("h:1", 202, 202)
	r.settle()
	r.want(slow, "message 202")
	if kept := r.pub.Query("h:1", history.Query{Limit: 100}); len(kept.Messages) != 3 || kept.Offset != 202 {
		t.Errorf("%d messages are kept, tip %d", len(kept.Messages), kept.Offset)
	}
	if n, extra := r.shards[0].count.Get(counters.Reading), r.pub.Stats().ExtraBytes; n != 0 || extra != 0 {
		t.Errorf("at the end %d read on, and %d bytes are kept for them", n, extra)
	}
}

// A message that no loop has served yet is kept, however little the settings keep.
func TestKeptUntilFannedOut(t *testing.T) {
	r := newRig(t, 1, withHistory(1, hub.PolicyDisconnect, 1<<20))
	id := r.joined(0)
	r.stall(id)
	r.publishAll("h:1", 1, 50)
	r.settle()
	r.drain(id)
	r.want(id, texts(1, 50)...)
}

func TestFallingOffHistory(t *testing.T) {
	for policy, want := range map[hub.Policy][]string{
		hub.PolicyDisconnect: {"close " + string(frame.AppendClose(nil, frame.CloseTryAgainLater, slowReason)[2:])},
		hub.PolicySkip:       {"message 40"},
		hub.PolicyLatest:     {"message 38", "message 39", "message 40"},
	} {
		r := newRig(t, 1, withHistory(3, policy, 1))
		id := r.joined(0)
		r.stall(id)
		for n := 1; n <= 40; n++ {
			m := hub.NewMessage(frame.OpText, fmt.Appendf(nil, "message %d", n))
			m.Key = fmt.Sprint(n % 5)
			_, err := r.pub.Channel("h:1", m, nil)
			r.check(err)
			r.settle()
		}
		r.drain(id)
		r.want(id, want...)
		drops, cut := r.shards[0].count.Get(counters.SlowDrops), r.shards[0].count.Get(counters.SlowDisconnects)
		if missed := 40 - len(want); policy == hub.PolicyDisconnect && (cut != 1 || drops != 0) || policy != hub.PolicyDisconnect && (cut != 0 || drops != int64(missed)) {
			t.Errorf("policy %d: %d messages counted as dropped, %d disconnects", policy, drops, cut)
		}
	}
}

// hub.PolicyLatest leaves out what a newer message of the same key supersedes, though all of it is there.
func TestLatestOfEachKey(t *testing.T) {
	r := newRig(t, 1, withHistory(100, hub.PolicyLatest, 1<<20))
	id := r.joined(0)
	r.stall(id)
	for n := 1; n <= 40; n++ {
		m := hub.NewMessage(frame.OpText, fmt.Appendf(nil, "message %d", n))
		m.Key = fmt.Sprint(n % 2)
		_, err := r.pub.Channel("h:1", m, nil)
		r.check(err)
	}
	r.settle()
	r.drain(id)
	r.want(id, "message 39", "message 40")
	if n := r.shards[0].count.Get(counters.SlowDrops); n != 38 {
		t.Errorf("%d messages counted as left out, want 38", n)
	}
}

// A Close goes behind what was published before it, for laggers, too.
func TestCloseBehindHistory(t *testing.T) {
	r := newRig(t, 1, withHistory(10, hub.PolicyDisconnect, 1<<20))
	id := r.joined(0)
	r.check(r.shards[0].Join(id, "plain"))
	r.settle()
	r.stall(id)
	r.publishAll("plain", 0, 0)
	r.publishAll("h:1", 1, 5)
	r.check(r.shards[0].Close(id, frame.CloseNormal, "done"))
	r.settle()
	r.drain(id)
	r.want(id, append(texts(0, 5), "close "+string(frame.AppendClose(nil, frame.CloseNormal, "done")[2:]))...)
}

// subscribe resumes "h:1" on a new connection.
func (r *rig) subscribe(loop int, resume *history.Position) (id netpoll.ID, at history.Position, recovered bool) {
	r.t.Helper()
	id = r.open(loop, "u")
	r.check(r.shards[loop].Call(func(s *Shard) {
		var err error
		at, recovered, err = s.Subscribe(id, "h:1", resume)
		r.check(err)
	}))
	r.settle()
	return id, at, recovered
}

func TestResume(t *testing.T) {
	r := newRig(t, 2, withHistory(5, hub.PolicyDisconnect, 1<<20))
	r.publishAll("h:1", 1, 20)
	r.settle()
	epoch := r.pub.Place("h:1").Epoch
	for _, c := range []struct {
		resume    *history.Position
		recovered bool
		want      []string
	}{
		{nil, false, nil},
		{&history.Position{Epoch: epoch, Offset: 20}, true, nil},
		{&history.Position{Epoch: epoch, Offset: 17}, true, texts(18, 20)},
		{&history.Position{Epoch: epoch, Offset: 15}, true, texts(16, 20)},
		{&history.Position{Epoch: epoch, Offset: 14}, false, nil},
		{&history.Position{Epoch: epoch, Offset: 0}, false, nil},
		{&history.Position{Epoch: epoch, Offset: 21}, false, nil}, // never published
		{&history.Position{Epoch: "other", Offset: 20}, false, nil},
		{&history.Position{Epoch: "", Offset: 20}, false, nil},
	} {
		for loop := range 2 {
			id, at, recovered := r.subscribe(loop, c.resume)
			if recovered != c.recovered || at != (history.Position{Epoch: epoch, Offset: 20}) {
				t.Errorf("resume at %v: recovered %v at %v", c.resume, recovered, at)
			}
			r.want(id, c.want...)
		}
	}
	if kept := r.pub.Place("none"); kept != (hub.Place{}) {
		t.Errorf("a channel without history is at %v", kept)
	}
}

// What is published while a subscription is under way comes once.
func TestResumeWhilePublishing(t *testing.T) {
	r := newRig(t, 1, withHistory(50, hub.PolicyDisconnect, 1<<20))
	r.publishAll("h:1", 1, 10)
	r.settle()
	other := r.joined(0)
	r.publishAll("h:1", 11, 12) // in the inbox, behind nothing
	id := r.open(0, "u")        // a turn: 11 and 12 are served to the other one
	r.publishAll("h:1", 13, 14)
	r.check(r.shards[0].Call(func(s *Shard) {
		if _, recovered, err := s.Subscribe(id, "h:1", &history.Position{Epoch: r.pub.Place("h:1").Epoch, Offset: 9}); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
	}))
	r.publishAll("h:1", 15, 16)
	r.settle()
	r.want(id, texts(10, 16)...)
	r.want(other, texts(11, 16)...)
}

// A join counts from when it was asked for: what the same goroutine publishes
// behind it arrives.
func TestJoinThenPublish(t *testing.T) {
	r := newRig(t, 2, withHistory(50, hub.PolicyDisconnect, 1<<20))
	id := r.open(1, "u")
	r.publishAll("h:1", 1, 3)
	r.check(r.shards[1].Join(id, "h:1"))
	r.publishAll("h:1", 4, 6)
	r.settle()
	r.want(id, texts(4, 6)...)
}

func TestUserHistory(t *testing.T) {
	r := newRig(t, 2, withHistory(5, hub.PolicyDisconnect, 1<<20))
	first := r.open(0, "ann")
	for _, text := range texts(1, 3) {
		_, err := r.pub.User("ann", hub.NewMessage(frame.OpText, []byte(text)), nil)
		r.check(err)
	}
	r.settle()
	r.want(first, texts(1, 3)...)
	back := r.open(1, "")
	r.check(r.shards[1].Call(func(s *Shard) {
		at, recovered := s.SetUser(back, "ann", &history.Position{Epoch: r.pub.Place("user:ann").Epoch, Offset: 1})
		if !recovered || at.Offset != 4 { // published, and on its way to the inbox
			t.Errorf("recovered %v at %v", recovered, at)
		}
	}))
	_, err := r.pub.User("ann", hub.NewMessage(frame.OpText, []byte("message 4")), nil)
	r.check(err)
	r.settle()
	r.want(back, texts(2, 4)...)
	r.want(first, "message 4")
}

// A subscriber outlives the history of its channel: it gets what comes after the
// history was forgotten, and learns the new epoch.
func TestSubscriberOfForgottenHistory(t *testing.T) {
	clock := time.Unix(1_800_000_000, 0)
	r := newRig(t, 1, func(c *Config) {
		withHistory(5, hub.PolicyDisconnect, 1<<20)(c)
		c.Hub.Now = func() time.Time { return clock }
	})
	id := r.joined(0)
	r.publishAll("h:1", 1, 3)
	r.settle()
	first := r.pub.Place("h:1")
	clock = clock.Add(3 * time.Hour)
	for range 64 {
		r.advance(250 * time.Millisecond) // a tick
	}
	if s := r.pub.Stats(); s.Channels != 0 || s.Messages != 0 {
		t.Fatalf("%+v", s)
	}
	r.want(id, texts(1, 3)...)
	r.publishAll("h:1", 4, 6)
	r.settle()
	r.want(id, texts(4, 6)...)
	if at := r.pub.Place("h:1"); at.Epoch == first.Epoch || at.Offset != 6 {
		t.Errorf("the channel goes on at %v after %v", at, first)
	}
	if _, _, recovered := r.subscribe(0, &first.Position); recovered {
		t.Error("a position of the forgotten history is recovered")
	}
}

// tallied publishes and answers what was counted.
func (r *rig) tallied(publish func(m *hub.Message, t *hub.Tally) (history.Position, error)) (matched, written int) {
	r.t.Helper()
	tally := hub.NewTally()
	_, err := publish(hub.NewMessage(frame.OpText, []byte("hello")), tally)
	r.check(err)
	r.settle()
	r.advance(250 * time.Millisecond) // a tick, for the paced one
	r.settle()
	select {
	case <-tally.Done():
	default:
		r.t.Fatal("the tally is not done")
	}
	return tally.Matched(), tally.Written()
}

func TestTally(t *testing.T) {
	r := newRig(t, 2, withHistory(5, hub.PolicyDisconnect, 1<<20))
	var ids []netpoll.ID
	for i := range 6 {
		id := r.open(i%2, "ann")
		r.check(r.shards[i%2].Join(id, "h:1"), r.shards[i%2].Join(id, "plain"))
		ids = append(ids, id)
	}
	r.settle()
	r.stall(ids[0])
	for name, publish := range map[string]func(m *hub.Message, t *hub.Tally) (history.Position, error){
		"h:1":   func(m *hub.Message, t *hub.Tally) (history.Position, error) { return r.pub.Channel("h:1", m, t) },
		"plain": func(m *hub.Message, t *hub.Tally) (history.Position, error) { return r.pub.Channel("plain", m, t) },
		"ann":   func(m *hub.Message, t *hub.Tally) (history.Position, error) { return r.pub.User("ann", m, t) },
		"all": func(m *hub.Message, t *hub.Tally) (history.Position, error) {
			return history.Position{}, r.pub.All(m, t)
		},
		"slow": func(m *hub.Message, t *hub.Tally) (history.Position, error) {
			return history.Position{}, r.pub.Spread(hub.ToAll, "", m, time.Millisecond, t)
		},
	} {
		r.drain(ids[0])
		r.stall(ids[0])
		if matched, written := r.tallied(publish); matched != 6 || written != 5 {
			t.Errorf("%s: matched %d, written %d, want 6 and 5", name, matched, written)
		}
	}
	for name, publish := range map[string]func(m *hub.Message, t *hub.Tally) (history.Position, error){
		"h:2":   func(m *hub.Message, t *hub.Tally) (history.Position, error) { return r.pub.Channel("h:2", m, t) },
		"empty": func(m *hub.Message, t *hub.Tally) (history.Position, error) { return r.pub.Channel("empty", m, t) },
		"bob":   func(m *hub.Message, t *hub.Tally) (history.Position, error) { return r.pub.User("bob", m, t) },
	} {
		if matched, written := r.tallied(publish); matched != 0 || written != 0 {
			t.Errorf("%s: matched %d, written %d, want none", name, matched, written)
		}
	}
}

// Several messages in one job: each tally is of its own message.
func TestTalliesOfOneJob(t *testing.T) {
	r := newRig(t, 1, nil)
	early, late := r.open(0, "u"), r.open(0, "u")
	r.check(r.shards[0].Join(early, "room"))
	var tallies []*hub.Tally
	for i := range 4 {
		if i == 2 {
			r.check(r.shards[0].Join(late, "room"))
		}
		tallies = append(tallies, hub.NewTally())
		_, err := r.pub.Channel("room", hub.NewMessage(frame.OpText, []byte("x")), tallies[i])
		r.check(err)
	}
	r.settle()
	for i, want := range []int{1, 1, 2, 2} {
		if got := tallies[i]; got.Matched() != want || got.Written() != want {
			t.Errorf("message %d: matched %d, written %d, want %d", i, got.Matched(), got.Written(), want)
		}
	}
}

// A paced publication reaches everybody once, a part of them at a time.
func TestSpread(t *testing.T) {
	r := newRig(t, 1, nil)
	var ids []netpoll.ID
	for i := range 40 {
		id := r.open(0, "u")
		if i%2 == 0 {
			r.check(r.shards[0].Join(id, "room"))
		}
		ids = append(ids, id)
	}
	r.settle()
	tally := hub.NewTally()
	r.check(r.pub.Spread(hub.ToChannel, "room", hub.NewMessage(frame.OpText, []byte("now")), 10*time.Second, tally))
	r.settle()
	got := func() (n int) {
		for _, id := range ids {
			for _, text := range r.received(id) {
				if text == "now" { // not a ping
					n++
				}
			}
		}
		return n
	}
	total := 0
	for step := range 4 {
		r.advance(2 * time.Second)
		n := got()
		if total += n; n < 3 || n > 5 {
			t.Errorf("in step %d %d connections got it, want 4", step, n)
		}
	}
	r.advance(3 * time.Second)
	if total += got(); total != 20 || tally.Matched() != 20 || tally.Written() != 20 {
		t.Errorf("%d got it, matched %d, written %d, want 20", total, tally.Matched(), tally.Written())
	}
	if n := r.shards[0].Waiting(); n != 0 || len(r.shards[0].spreads) != 0 {
		t.Errorf("%d messages wait at the end", n)
	}
}
