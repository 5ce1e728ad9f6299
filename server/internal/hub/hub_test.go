package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
)

// fakeInbox is a shard that serves nothing by itself.
type fakeInbox struct {
	mu      sync.Mutex // as stripes deliver at the same time
	entries []Entry
	full    bool
	// subscribes: something waits here that may make subscribers.
	subscribes bool
}

func (f *fakeInbox) Full() bool         { return f.full }
func (f *fakeInbox) MaySubscribe() bool { return f.subscribes }
func (f *fakeInbox) Deliver(e Entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.entries = append(f.entries, e)
	return nil
}

// serve is what a shard does with its entries.
func (f *fakeInbox) serve() {
	for _, e := range f.entries {
		if e.History != nil {
			e.Message.Served()
		}
		if e.Tally != nil {
			e.Tally.Add(1, 1)
		}
	}
	f.entries = nil
}

// rig is a hub with two fake inboxes and a clock.
type rig struct {
	*Hub
	t       *testing.T
	now     time.Time
	inboxes [2]fakeInbox
}

// newRig makes a hub whose channels "h:…" and whose users keep n messages for an
// hour.
func newRig(t *testing.T, n int, policy Policy, adjust func(*Config)) *rig {
	r := &rig{t: t, now: time.Unix(1_800_000_000, 0)}
	ns := &Namespace{Messages: n, Age: time.Hour, Policy: policy}
	cfg := Config{
		Namespaces: map[string]*Namespace{"h": ns, "user": ns}, HistoryMaxBytes: 1 << 20, LagMaxBytes: 1 << 20,
		Now: func() time.Time { return r.now },
	}
	if adjust != nil {
		adjust(&cfg)
	}
	r.Hub = New(cfg, []Inbox{&r.inboxes[0], &r.inboxes[1]})
	for i := range r.audience {
		r.audience[i].Store(1) // both shards listen to everything, but in TestAudience
	}
	return r
}

// publish publishes messages from to to, with their numbers as text, and has them
// served.
func (r *rig) publish(channel string, from, to int) (at history.Position) {
	r.t.Helper()
	for n := from; n <= to; n++ {
		var err error
		if at, err = r.Channel(channel, NewMessage(frame.OpText, fmt.Append(nil, n)), nil); err != nil {
			r.t.Fatal(err)
		}
	}
	r.serve()
	return at
}

func (r *rig) serve() {
	for i := range r.inboxes {
		r.inboxes[i].serve()
	}
}

// sweepAll looks at all stripes.
func (r *rig) sweepAll() {
	for range stripes {
		r.Sweep()
	}
}

// forget lets so much time pass that the histories end.
func (r *rig) forget() {
	r.now = r.now.Add(3 * time.Hour)
	r.sweepAll()
}

func offsets(messages []*Message) (list []uint64) {
	for _, m := range messages {
		list = append(list, m.Offset)
	}
	return list
}

// Messages of one channel are in the order of their offsets in every inbox.
func TestOrder(t *testing.T) {
	r := newRig(t, 10_000, PolicyDisconnect, nil)
	const publishers, each = 8, 200
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for n := range each {
				target := fmt.Sprintf("h:%d", n%3)
				if _, err := r.Channel(target, NewMessage(frame.OpText, fmt.Appendf(nil, "%d %d", p, n)), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, channel := range []string{"h:0", "h:1", "h:2"} {
		var got [2][]uint64
		for i := range r.inboxes {
			for _, e := range r.inboxes[i].entries {
				if e.Name == channel {
					got[i] = append(got[i], e.Message.Offset)
				}
			}
			if !slices.IsSorted(got[i]) || len(got[i]) == 0 || got[i][0] != 1 || got[i][len(got[i])-1] != uint64(len(got[i])) {
				t.Errorf("%s, inbox %d: the offsets are %d numbers that are not 1, 2, …", channel, i, len(got[i]))
			}
		}
	}
}

func TestTargets(t *testing.T) {
	r := newRig(t, 3, PolicyDisconnect, nil)
	m := func() *Message { return NewMessage(frame.OpText, []byte("x")) }
	_, err := r.User("ann", m(), nil)
	_, errChannel := r.Channel("plain", m(), nil)
	for _, err := range []error{err, errChannel, r.All(m(), nil), r.Spread(ToUser, "ann", m(), time.Second, nil), r.Spread(ToAll, "", m(), time.Second, nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range r.inboxes {
		var got []string
		for _, e := range r.inboxes[i].entries {
			got = append(got, fmt.Sprintf("%d %s %q %d %v %v", e.To, e.Name, e.Message.Channel, e.Message.Offset, e.History != nil, e.Over))
		}
		want := []string{
			`1 ann "user:ann" 1 true 0s`, `0 plain "plain" 0 false 0s`, `2  "" 0 false 0s`,
			`1 ann "user:ann" 0 false 1s`, `2  "" 0 false 1s`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("inbox %d got\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// A full inbox refuses a message for all shards, and it has no place in a history.
func TestBusy(t *testing.T) {
	r := newRig(t, 3, PolicyDisconnect, nil)
	r.inboxes[1].full = true
	if _, err := r.Channel("h:1", NewMessage(frame.OpText, nil), nil); err != ErrBusy {
		t.Errorf("Channel: %v", err)
	}
	if err := r.Spread(ToAll, "", NewMessage(frame.OpText, nil), time.Second, nil); err != ErrBusy {
		t.Errorf("Spread: %v", err)
	}
	if s := r.Stats(); s.Refused != 2 || s.Messages != 0 || len(r.inboxes[0].entries) != 0 {
		t.Errorf("%+v, %d entries", s, len(r.inboxes[0].entries))
	}
}

func TestTallyCountsEachShardOnce(t *testing.T) {
	r := newRig(t, 3, PolicyDisconnect, nil)
	tally := NewTally()
	if err := r.All(NewMessage(frame.OpText, nil), tally); err != nil {
		t.Fatal(err)
	}
	r.inboxes[0].serve()
	select {
	case <-tally.Done():
		t.Fatal("done before the second shard has counted")
	default:
	}
	r.inboxes[1].serve()
	<-tally.Done()
	if tally.Matched() != 2 || tally.Written() != 2 {
		t.Errorf("matched %d, written %d", tally.Matched(), tally.Written())
	}
}

func TestOccupy(t *testing.T) {
	r := newRig(t, 3, PolicyDisconnect, func(c *Config) { c.Occupancy = true })
	var got []bool
	for _, change := range []int{1, 1, -1, 1, -1, -1, 1} {
		r.Occupy("c", change, func(occupied bool) { got = append(got, occupied) })
	}
	if want := []bool{true, false, true}; !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
}

// Publishing into a history that is full allocates nothing beside the message.
func TestPublishAllocates(t *testing.T) {
	r := newRig(t, 10, PolicyDisconnect, nil)
	r.publish("h:1", 1, 100)
	for i := range r.inboxes {
		r.inboxes[i].entries = make([]Entry, 0, 4)
	}
	messages := make([]*Message, 202)
	for i := range messages {
		messages[i] = NewMessage(frame.OpText, []byte("x"))
	}
	n := testing.AllocsPerRun(200, func() {
		_, _ = r.Channel("h:1", messages[0], nil)
		messages = messages[1:]
		for i := range r.inboxes {
			entries := r.inboxes[i].entries
			r.inboxes[i].serve()
			r.inboxes[i].entries = entries[:0]
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
