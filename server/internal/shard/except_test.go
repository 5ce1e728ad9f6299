package shard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
)

// TestOnlyGroups: a message for some groups of a channel reaches their connections that
// are in the channel, once each and in the channel's order, with and without history, also
// while connections leave in the middle of the fan-out, and for those that read on later.
func TestOnlyGroups(t *testing.T) {
	for _, history := range []bool{false, true} {
		t.Run(fmt.Sprintf("history=%v", history), func(t *testing.T) { testOnlyGroups(t, history) })
	}
}

func testOnlyGroups(t *testing.T, withHistory bool) {
	names := map[string]netpoll.ID{}
	r := newRig(t, 1, func(c *Config) {
		c.FanoutSlice = 1
		c.Named = func(_ *Shard, name string) netpoll.ID { return names[name] }
		if withHistory {
			c.Hub = hub.Config{Namespaces: map[string]*hub.Namespace{"io": {Messages: 100}}, HistoryMaxBytes: 1 << 20, LagMaxBytes: 1 << 20}
		}
	})
	s, l := r.shards[0], r.loops[0]
	var ids []netpoll.ID
	enter := func(id netpoll.ID, channels ...string) {
		for _, channel := range channels {
			if _, _, err := s.Subscribe(id, channel, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 20 {
		id := r.open(0, "")
		enter(id, "io:all")
		ids = append(ids, id)
	}
	for i := range 4 {
		enter(ids[i], "room a")
	}
	enter(ids[3], "room b")
	names["nine"], names["gone"] = ids[9], 0
	outside := r.open(0, "")
	enter(outside, "room a")
	publish := func(text string, e *hub.Except) {
		t.Helper()
		m := hub.NewMessage(frame.OpText, []byte(text))
		m.Except = e
		if _, err := r.pub.Channel("io:all", m, nil); err != nil {
			t.Fatal(err)
		}
	}
	l.SetRoom(ids[2], 0) // it stalls, and reads on later
	publish("first", nil)
	publish("rooms", &hub.Except{Only: &hub.Group{Channels: []string{"room b", "room a"}, Names: []string{"nine", "gone"}}, Names: []string{"gone"}})
	publish("one", &hub.Except{Only: &hub.Group{Names: []string{"nine"}}})
	publish("nobody", &hub.Except{Only: &hub.Group{Names: []string{"gone"}}})
	publish("but nine", &hub.Except{Channels: []string{"room a"}, Names: []string{"nine"}})
	publish("many", &hub.Except{Only: &hub.Group{Channels: []string{"io:all"}}})
	publish("last", nil)
	// In the middle of the second job, some of its connections leave.
	for range 21 {
		l.Turn()
	}
	for s.jobs.active == nil || !s.jobs.active.few {
		if !l.Turn() {
			t.Fatal("the job has not begun")
		}
	}
	l.Turn()
	left := s.jobs.active.chosen[len(s.jobs.active.chosen)-2] // the last one is outside
	s.Unsubscribe(left, "io:all")
	r.settle()
	l.SetRoom(ids[2], -1)
	r.settle()
	for i, id := range append(ids, outside) {
		want := []string{"first", "but nine", "many", "last"}
		switch {
		case id == left:
			want = []string{"first"}
		case i < 4:
			want = []string{"first", "rooms", "many", "last"}
		case i == 9:
			want = []string{"first", "rooms", "one", "many", "last"}
		case id == outside:
			want = nil
		}
		var got []string
		for p := l.TakeReceived(id); len(p) > 0; {
			h, n, err := frame.ParseHeader(p)
			if err != nil || n == 0 {
				t.Fatalf("%x, %v", p, err)
			}
			got = append(got, string(p[n:n+int(h.Length)]))
			p = p[n+int(h.Length):]
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("connection %d got %q, want %q", i, got, want)
		}
	}
}
