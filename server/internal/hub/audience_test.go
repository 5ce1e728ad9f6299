package hub

import (
	"testing"

	"github.com/roostws/roost/frame"
)

// A message goes to the shards that listen to its channel, or to its user, and to all of
// them if it is for everybody. The receipt counts those, and a history waits for no others.
func TestAudience(t *testing.T) {
	r := newRig(t, 1, PolicyDisconnect, nil)
	clear(r.audience)
	r.Interest(0, "plain", 1)
	r.Interest(1, "h:1", 1)
	r.InterestUser(1, "ann", 1)
	for _, test := range []struct {
		name    string
		publish func(m *Message, tally *Tally) error
		want    [2]int
	}{
		{"plain", func(m *Message, tally *Tally) error { _, err := r.Channel("plain", m, tally); return err }, [2]int{1, 0}},
		{"history", func(m *Message, tally *Tally) error { _, err := r.Channel("h:1", m, tally); return err }, [2]int{0, 1}},
		{"user", func(m *Message, tally *Tally) error { _, err := r.User("ann", m, tally); return err }, [2]int{0, 1}},
		{"all", r.All, [2]int{1, 1}},
		{"spread", func(m *Message, tally *Tally) error { return r.Spread(ToUser, "ann", m, 1, tally) }, [2]int{0, 1}},
		{"nobody", func(m *Message, tally *Tally) error { _, err := r.Channel("nobody", m, tally); return err }, [2]int{}},
		{"no reader", func(m *Message, tally *Tally) error { _, err := r.Channel("h:2", m, tally); return err }, [2]int{}},
	} {
		tally := NewTally()
		if err := test.publish(NewMessage(frame.OpText, []byte("x")), tally); err != nil {
			t.Fatal(test.name, err)
		}
		if got := [2]int{len(r.inboxes[0].entries), len(r.inboxes[1].entries)}; got != test.want {
			t.Errorf("%s: the shards got %v entries, want %v", test.name, got, test.want)
		}
		r.serve()
		select {
		case <-tally.Done():
		default:
			t.Errorf("%s: the receipt is not complete", test.name)
		}
		if n := test.want[0] + test.want[1]; tally.Matched() != n {
			t.Errorf("%s: matched %d, want %d", test.name, tally.Matched(), n)
		}
	}
	r.publish("h:2", 1, 3)
	if n := r.Clear("h:2"); n != 1 {
		t.Errorf("%d messages were kept without a reader, want 1", n)
	}
	r.Interest(0, "plain", -1)
	for _, subscribes := range []bool{false, true} {
		r.inboxes[0].subscribes = subscribes
		if _, err := r.Channel("plain", NewMessage(frame.OpText, []byte("x")), nil); err != nil {
			t.Fatal(err)
		}
		if got := len(r.inboxes[0].entries) > 0; got != subscribes {
			t.Errorf("a shard without subscribers, subscribing %v: it got the message: %v", subscribes, got)
		}
	}
}
