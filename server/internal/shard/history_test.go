package shard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// withHistory is a configuration whose channels "h:…" keep n messages.
func withHistory(n int, policy Policy, lagMaxBytes int) func(c *Config) {
	return func(c *Config) {
		c.Namespaces = map[string]*Namespace{"h": {Messages: n, Age: time.Hour, Policy: policy}, "user": {Messages: n, Age: time.Hour}}
		c.HistoryMaxBytes, c.LagMaxBytes = 1<<20, lagMaxBytes
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
	r := newRig(t, 2, withHistory(3, PolicyDisconnect, 1<<20))
	slow, quick := r.joined(0), r.joined(1)
	r.stall(slow)
	r.publishAll("h:1", 1, 100) // no turn in between
	r.settle()
	r.publishAll("h:1", 101, 200)
	r.settle()
	r.want(quick, texts(1, 200)...)
	if n := r.shards[0].count.Reading.Load(); n != 1 {
		t.Errorf("%d connections read on, want 1", n)
	}
	r.publishAll("h:1", 201, 201)
	r.drain(slow)
	r.want(slow, texts(1, 201)...)
	r.publishAll("h:1", 202, 202)
	r.settle()
	r.want(slow, "message 202")
	if kept := r.pub.History("h:1", nil, 100, false); len(kept.Messages) != 3 || kept.Offset != 202 {
		t.Errorf("%d messages are kept, tip %d", len(kept.Messages), kept.Offset)
	}
	if n, extra := r.shards[0].count.Reading.Load(), r.pub.history.extra.Load(); n != 0 || extra != 0 {
		t.Errorf("at the end %d read on, and %d bytes are kept for them", n, extra)
	}
}

// A message that no loop has served yet is kept, however little the settings keep.
func TestKeptUntilFannedOut(t *testing.T) {
	r := newRig(t, 1, withHistory(1, PolicyDisconnect, 1<<20))
	id := r.joined(0)
	r.stall(id)
	r.publishAll("h:1", 1, 50)
	r.settle()
	r.drain(id)
	r.want(id, texts(1, 50)...)
}

func TestFallingOffHistory(t *testing.T) {
	for policy, want := range map[Policy][]string{
		PolicyDisconnect: {"close " + string(frame.AppendClose(nil, frame.CloseTryAgainLater, slowReason)[2:])},
		PolicySkip:       {"message 40"},
		PolicyLatest:     {"message 38", "message 39", "message 40"},
	} {
		r := newRig(t, 1, withHistory(3, policy, 1))
		id := r.joined(0)
		r.stall(id)
		for n := 1; n <= 40; n++ {
			m := NewMessage(frame.OpText, fmt.Appendf(nil, "message %d", n))
			m.Key = fmt.Sprint(n % 5)
			r.check(r.pub.Channel("h:1", m, nil))
			r.settle()
		}
		r.drain(id)
		r.want(id, want...)
		drops, cut := r.shards[0].count.SlowDrops.Load(), r.shards[0].count.SlowDisconnects.Load()
		if missed := 40 - len(want); policy == PolicyDisconnect && (cut != 1 || drops != 0) || policy != PolicyDisconnect && (cut != 0 || drops != uint64(missed)) {
			t.Errorf("policy %d: %d messages counted as dropped, %d disconnects", policy, drops, cut)
		}
	}
}

// PolicyLatest leaves out what a newer message of the same key supersedes, though all of it is there.
func TestLatestOfEachKey(t *testing.T) {
	r := newRig(t, 1, withHistory(100, PolicyLatest, 1<<20))
	id := r.joined(0)
	r.stall(id)
	for n := 1; n <= 40; n++ {
		m := NewMessage(frame.OpText, fmt.Appendf(nil, "message %d", n))
		m.Key = fmt.Sprint(n % 2)
		r.check(r.pub.Channel("h:1", m, nil))
	}
	r.settle()
	r.drain(id)
	r.want(id, "message 39", "message 40")
	if n := r.shards[0].count.SlowDrops.Load(); n != 38 {
		t.Errorf("%d messages counted as left out, want 38", n)
	}
}

// A Close goes behind what was published before it, for laggers, too.
func TestCloseBehindHistory(t *testing.T) {
	r := newRig(t, 1, withHistory(10, PolicyDisconnect, 1<<20))
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
func (r *rig) subscribe(loop int, resume *Position) (id netpoll.ID, at Position, recovered bool) {
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
	r := newRig(t, 2, withHistory(5, PolicyDisconnect, 1<<20))
	r.publishAll("h:1", 1, 20)
	r.settle()
	epoch := r.pub.Epoch()
	for _, c := range []struct {
		resume    *Position
		recovered bool
		want      []string
	}{
		{nil, false, nil},
		{&Position{epoch, 20}, true, nil},
		{&Position{epoch, 17}, true, texts(18, 20)},
		{&Position{epoch, 15}, true, texts(16, 20)},
		{&Position{epoch, 14}, false, nil},
		{&Position{epoch, 0}, false, nil},
		{&Position{epoch, 21}, false, nil}, // never published
		{&Position{"other", 20}, false, nil},
		{&Position{"", 20}, false, nil},
	} {
		for loop := range 2 {
			id, at, recovered := r.subscribe(loop, c.resume)
			if recovered != c.recovered || at != (Position{epoch, 20}) {
				t.Errorf("resume at %v: recovered %v at %v", c.resume, recovered, at)
			}
			r.want(id, c.want...)
		}
	}
	if kept := r.pub.Position("none"); kept != (Position{}) {
		t.Errorf("a channel without history is at %v", kept)
	}
}

// What is published while a subscription is under way comes once.
func TestResumeWhilePublishing(t *testing.T) {
	r := newRig(t, 1, withHistory(50, PolicyDisconnect, 1<<20))
	r.publishAll("h:1", 1, 10)
	r.settle()
	other := r.joined(0)
	r.publishAll("h:1", 11, 12) // in the inbox, behind nothing
	id := r.open(0, "u")        // a turn: 11 and 12 are served to the other one
	r.publishAll("h:1", 13, 14)
	r.check(r.shards[0].Call(func(s *Shard) {
		if _, recovered, err := s.Subscribe(id, "h:1", &Position{r.pub.Epoch(), 9}); err != nil || !recovered {
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
	r := newRig(t, 2, withHistory(50, PolicyDisconnect, 1<<20))
	id := r.open(1, "u")
	r.publishAll("h:1", 1, 3)
	r.check(r.shards[1].Join(id, "h:1"))
	r.publishAll("h:1", 4, 6)
	r.settle()
	r.want(id, texts(4, 6)...)
}

func TestUserHistory(t *testing.T) {
	r := newRig(t, 2, withHistory(5, PolicyDisconnect, 1<<20))
	first := r.open(0, "ann")
	for _, text := range texts(1, 3) {
		r.check(r.pub.User("ann", NewMessage(frame.OpText, []byte(text)), nil))
	}
	r.settle()
	r.want(first, texts(1, 3)...)
	back := r.open(1, "")
	r.check(r.shards[1].Call(func(s *Shard) {
		at, recovered := s.SetUser(back, "ann", &Position{r.pub.Epoch(), 1})
		if !recovered || at.Offset != 4 { // published, and on its way to the inbox
			t.Errorf("recovered %v at %v", recovered, at)
		}
	}))
	r.check(r.pub.User("ann", NewMessage(frame.OpText, []byte("message 4")), nil))
	r.settle()
	r.want(back, texts(2, 4)...)
	r.want(first, "message 4")
}

// Old messages go, and then the channel; its offsets go on where they were, and
// nobody is told that nothing was missed.
func TestHistoryForgets(t *testing.T) {
	r := newRig(t, 1, withHistory(5, PolicyDisconnect, 1<<20))
	r.publishAll("h:1", 1, 3)
	r.settle()
	st := r.pub.stripe("h:1")
	later := time.Now().Add(2 * time.Hour).UnixMilli()
	r.pub.history.sweep(st, r.now, later)
	if l := st.logs["h:1"]; l == nil || l.len() != 0 || l.tip() != 3 {
		t.Fatalf("the log is %+v", l)
	}
	if id, at, recovered := r.subscribe(0, &Position{r.pub.Epoch(), 3}); !recovered || at.Offset != 3 {
		t.Errorf("%v: recovered %v at %v", id, recovered, at)
	}
	r.pub.history.sweep(st, r.now+2*time.Hour, later)
	if len(st.logs) != 0 || r.pub.history.channels.Load() != 0 || r.pub.history.bytes.Load() != 0 {
		t.Errorf("%d logs, %d channels, %d bytes are left", len(st.logs), r.pub.history.channels.Load(), r.pub.history.bytes.Load())
	}
	old := r.joined(0)
	r.publishAll("h:1", 4, 4)
	r.settle()
	r.want(old, "message 4")
	if at := r.pub.Position("h:1"); at.Offset != 4 {
		t.Errorf("the channel goes on at %v", at)
	}
	if _, _, recovered := r.subscribe(0, &Position{r.pub.Epoch(), 2}); recovered {
		t.Error("messages 3 and 4 were wanted, 3 is gone: recovered is true")
	}
}

func TestHistoryMaxBytes(t *testing.T) {
	r := newRig(t, 1, func(c *Config) {
		withHistory(1000, PolicyDisconnect, 1<<20)(c)
		c.HistoryMaxBytes = 10_000
	})
	for n := range 500 {
		r.publishAll("h:1", n, n)
		r.settle()
	}
	_, messages, bytes, evicted := r.pub.HistoryStats()
	if bytes > 11_000 || messages == 0 || messages+int64(evicted) != 500 {
		t.Errorf("%d messages of %d bytes are kept, %d were evicted", messages, bytes, evicted)
	}
}

func TestHistoryPages(t *testing.T) {
	r := newRig(t, 1, withHistory(10, PolicyDisconnect, 1<<20))
	empty := r.pub.History("h:1", nil, 5, false)
	if len(empty.Messages) != 0 || empty.Gap || empty.Epoch == "" {
		t.Errorf("an empty history is %+v", empty)
	}
	r.publishAll("h:1", 1, 25)
	r.settle()
	at := func(offset uint64) *Position { return &Position{r.pub.Epoch(), offset} }
	for _, c := range []struct {
		since     *Position
		limit     int
		reverse   bool
		want      []uint64
		more, gap bool
	}{
		{nil, 3, false, []uint64{16, 17, 18}, true, false},
		{nil, 3, true, []uint64{25, 24, 23}, true, false},
		{nil, 0, false, nil, true, false},
		{nil, 100, false, []uint64{16, 17, 18, 19, 20, 21, 22, 23, 24, 25}, false, false},
		{at(22), 100, false, []uint64{23, 24, 25}, false, false},
		{at(22), 100, true, []uint64{21, 20, 19, 18, 17, 16}, false, false},
		{at(22), 2, true, []uint64{21, 20}, true, false},
		{at(25), 100, false, nil, false, false},
		{at(15), 1, false, []uint64{16}, true, false},
		{at(14), 1, false, []uint64{16}, true, true},
		{at(99), 1, false, []uint64{16}, true, true},
		{&Position{"other", 22}, 1, false, []uint64{16}, true, true},
		{at(16), 5, true, nil, false, false},
	} {
		page := r.pub.History("h:1", c.since, c.limit, c.reverse)
		var got []uint64
		for _, m := range page.Messages {
			got = append(got, m.Offset)
			if string(m.Payload()) != fmt.Sprintf("message %d", m.Offset) {
				t.Errorf("offset %d is %q", m.Offset, m.Payload())
			}
		}
		if !slices.Equal(got, c.want) || page.More != c.more || page.Gap != c.gap || page.Offset != 25 {
			t.Errorf("since %v, limit %d, reverse %v: %v, more %v, gap %v, tip %d", c.since, c.limit, c.reverse, got, page.More, page.Gap, page.Offset)
		}
	}
}

// tallied publishes and answers what was counted.
func (r *rig) tallied(publish func(m *Message, t *Tally) error) (matched, written int) {
	r.t.Helper()
	tally := NewTally()
	r.check(publish(NewMessage(frame.OpText, []byte("hello")), tally))
	r.settle()
	select {
	case <-tally.Done():
	default:
		r.t.Fatal("the tally is not done")
	}
	return tally.Matched(), tally.Written()
}

func TestTally(t *testing.T) {
	r := newRig(t, 2, withHistory(5, PolicyDisconnect, 1<<20))
	var ids []netpoll.ID
	for i := range 6 {
		id := r.open(i%2, "ann")
		r.check(r.shards[i%2].Join(id, "h:1"), r.shards[i%2].Join(id, "plain"))
		ids = append(ids, id)
	}
	r.settle()
	r.stall(ids[0])
	for name, publish := range map[string]func(m *Message, t *Tally) error{
		"h:1":   func(m *Message, t *Tally) error { return r.pub.Channel("h:1", m, t) },
		"plain": func(m *Message, t *Tally) error { return r.pub.Channel("plain", m, t) },
		"ann":   func(m *Message, t *Tally) error { return r.pub.User("ann", m, t) },
		"all":   func(m *Message, t *Tally) error { return r.pub.Broadcast(m, t) },
		"slow":  func(m *Message, t *Tally) error { return r.pub.Spread("", "", m, 0, t) },
	} {
		r.drain(ids[0])
		r.stall(ids[0])
		if matched, written := r.tallied(publish); matched != 6 || written != 5 {
			t.Errorf("%s: matched %d, written %d, want 6 and 5", name, matched, written)
		}
	}
	for name, publish := range map[string]func(m *Message, t *Tally) error{
		"h:2":   func(m *Message, t *Tally) error { return r.pub.Channel("h:2", m, t) },
		"empty": func(m *Message, t *Tally) error { return r.pub.Channel("empty", m, t) },
		"bob":   func(m *Message, t *Tally) error { return r.pub.User("bob", m, t) },
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
	var tallies []*Tally
	for i := range 4 {
		if i == 2 {
			r.check(r.shards[0].Join(late, "room"))
		}
		tallies = append(tallies, NewTally())
		r.check(r.pub.Channel("room", NewMessage(frame.OpText, []byte("x")), tallies[i]))
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
	tally := NewTally()
	r.check(r.pub.Spread("room", "", NewMessage(frame.OpText, []byte("now")), 10*time.Second, tally))
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
