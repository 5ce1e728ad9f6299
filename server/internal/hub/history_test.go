package hub

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
)

func TestResume(t *testing.T) {
	r := newRig(t, 5, PolicyDisconnect, nil)
	epoch := r.publish("h:1", 1, 20).Epoch
	for _, c := range []struct {
		since     *history.Position
		recovered bool
		want      []uint64
	}{
		{nil, false, nil},
		{&history.Position{Epoch: epoch, Offset: 20}, true, nil},
		{&history.Position{Epoch: epoch, Offset: 17}, true, []uint64{18, 19, 20}},
		{&history.Position{Epoch: epoch, Offset: 15}, true, []uint64{16, 17, 18, 19, 20}},
		{&history.Position{Epoch: epoch, Offset: 14}, false, nil},
		{&history.Position{Epoch: epoch, Offset: 0}, false, nil},
		{&history.Position{Epoch: epoch, Offset: 21}, false, nil}, // never published
		{&history.Position{Epoch: epoch, Offset: 1<<64 - 1}, false, nil},
		{&history.Position{Epoch: "other", Offset: 20}, false, nil},
		{&history.Position{Epoch: "", Offset: 20}, false, nil},
	} {
		at, reader, recovered := r.Resume("h:1", c.since)
		var got []uint64
		if reader.History != nil {
			got = offsets(reader.Take(nil, 100, 1<<20).Messages)
			reader.Close()
		}
		if recovered != c.recovered || at.Position != (history.Position{Epoch: epoch, Offset: 20}) || !slices.Equal(got, c.want) {
			t.Errorf("resume at %v: recovered %v at %v, %v", c.since, recovered, at, got)
		}
	}
	if at := r.Place("none"); at != (Place{}) {
		t.Errorf("a channel without history is at %v", at)
	}
}

// A forgotten history never fits a position of its former life, whatever has been
// published since; a position of a silent channel fits its first life.
func TestEpochOfEachHistory(t *testing.T) {
	r := newRig(t, 5, PolicyDisconnect, nil)
	silent := r.Place("h:1").Position
	if silent.Epoch == "" || silent.Offset != 0 {
		t.Fatalf("a silent channel is at %v", silent)
	}
	first := r.publish("h:1", 1, 3)
	if _, reader, recovered := r.Resume("h:1", &silent); !recovered || reader.Behind() != 3 {
		t.Errorf("from the silent position: recovered %v", recovered)
	} else {
		reader.Close()
	}
	other := r.publish("h:2", 1, 7)

	r.forget()
	if s := r.Stats(); s.Channels != 0 || s.Messages != 0 || s.Bytes != 0 {
		t.Fatalf("after an age of silence %+v is kept", s)
	}
	// Anything may be published until the old position would fit by its offset.
	for n := range 6 {
		if n > 0 {
			r.publish("h:1", n, n)
		}
		for _, stale := range []history.Position{silent, first, other, {Epoch: first.Epoch, Offset: 3 + uint64(n)}} {
			if at, _, recovered := r.Resume("h:1", &stale); recovered {
				t.Errorf("%d messages in the second life: resumed at %v of the first, at %v", n, stale, at)
			}
		}
	}
	second := r.Place("h:1")
	if second.Epoch == first.Epoch || second.Epoch == silent.Epoch {
		t.Errorf("the second life has epoch %q, as the first", second.Epoch)
	}
	r.forget()
	if third := r.publish("h:1", 1, 1); third.Epoch == second.Epoch || third.Epoch == first.Epoch || third.Offset <= second.Offset {
		t.Errorf("the third life begins at %v, after %v and %v", third, first, second)
	}
}

// An eviction because of HistoryMaxBytes that leaves nothing ends a history, too.
func TestEpochAfterEviction(t *testing.T) {
	r := newRig(t, 1000, PolicyDisconnect, func(c *Config) { c.HistoryMaxBytes = 1 })
	first := r.publish("h:1", 1, 10)
	if _, _, recovered := r.Resume("h:1", &first); !recovered {
		t.Error("nothing was missed: recovered is false")
	}
	r.forget()
	if _, _, recovered := r.Resume("h:1", &first); recovered || r.Stats().Channels != 0 {
		t.Errorf("resumed at %v after the history had ended", first)
	}
}

// A subscriber of a silent channel learns the epoch from the first message of a
// history, and passes over no message.
func TestBegins(t *testing.T) {
	r := newRig(t, 5, PolicyDisconnect, nil)
	begins := func() (list []bool) {
		for _, e := range r.inboxes[0].entries {
			list = append(list, e.Message.Begins)
		}
		r.serve()
		return list
	}
	last := history.Position{}
	for life := range 3 {
		for range 12 {
			at, err := r.Channel("h:1", NewMessage(frame.OpText, nil), nil)
			if err != nil || at.Offset != last.Offset+1 {
				t.Fatalf("life %d: %v after %v, %v", life, at, last, err)
			}
			last = at
		}
		if got := begins(); !got[0] || slices.Contains(got[1:], true) {
			t.Errorf("life %d: Begins is %v", life, got)
		}
		r.forget()
	}
}

// Age counts from when a message came, and a reader keeps a history alive.
func TestAge(t *testing.T) {
	r := newRig(t, 5, PolicyDisconnect, nil)
	first := r.publish("h:1", 1, 3)
	_, reader, _ := r.Resume("h:1", &history.Position{Epoch: first.Epoch, Offset: 1})
	r.forget()
	if p := reader.Take(nil, 10, 1<<20); p.First != 4 || p.Tip != 3 || len(p.Messages) != 0 || p.End {
		t.Errorf("after the age: %+v", p)
	}
	if s := r.Stats(); s.Messages != 0 || s.Channels != 1 {
		t.Errorf("%+v", s)
	}
	if at, _, recovered := r.Resume("h:1", &first); !recovered || at.Position != first {
		t.Errorf("nothing was missed: recovered %v at %v", recovered, at)
	}
	reader.Close()
	r.sweepAll()
	if s := r.Stats(); s.Channels != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHistoryMaxBytes(t *testing.T) {
	r := newRig(t, 1000, PolicyDisconnect, func(c *Config) { c.HistoryMaxBytes = 10_000 })
	r.publish("h:1", 1, 250)
	for n := range 250 {
		r.publish("h:1", n, n)
	}
	if s := r.Stats(); s.Bytes > 11_000 || s.Messages == 0 || s.Messages+int64(s.Evicted) != 500 {
		t.Errorf("%+v", s)
	}
}

// What a shard has not served yet is kept, however little the settings keep, and
// so is what a reader has to read, within its bound.
func TestKeptForShardsAndReaders(t *testing.T) {
	for _, lagMaxBytes := range []int{1 << 20, 1} {
		r := newRig(t, 1, PolicyDisconnect, func(c *Config) { c.LagMaxBytes = lagMaxBytes })
		var last history.Position
		for n := range 50 {
			last, _ = r.Channel("h:1", NewMessage(frame.OpText, fmt.Append(nil, n)), nil)
		}
		if s := r.Stats(); s.Messages != 50 {
			t.Errorf("%d messages are kept before they are served", s.Messages)
		}
		_, reader, recovered := r.Resume("h:1", &history.Position{Epoch: last.Epoch, Offset: 10})
		if !recovered {
			t.Fatal("not recovered")
		}
		r.serve()
		r.publish("h:1", 51, 51)
		want := int64(51)
		if lagMaxBytes == 1 {
			want = 1
		}
		if s := r.Stats(); s.Messages != want {
			t.Errorf("LagMaxBytes %d: %d messages are kept for the reader, want %d", lagMaxBytes, s.Messages, want)
		}
		if n := reader.Behind(); n != 41 {
			t.Errorf("the reader is %d behind", n)
		}
		reader.Close()
		r.publish("h:1", 52, 52)
		if s := r.Stats(); s.Messages != 1 || r.kept.extra.Load() != 0 {
			t.Errorf("%d messages, %d extra bytes are kept at the end", s.Messages, r.kept.extra.Load())
		}
	}
}

func TestReader(t *testing.T) {
	r := newRig(t, 100, PolicyDisconnect, nil)
	at := r.publish("h:1", 1, 20)
	_, reader, _ := r.Resume("h:1", &history.Position{Epoch: at.Epoch, Offset: 5})
	p := reader.Take(nil, 4, 1<<20)
	if got := offsets(p.Messages); !slices.Equal(got, []uint64{6, 7, 8, 9}) || p.End || p.Tip != 20 || p.First != 1 {
		t.Fatalf("%+v %v", p, got)
	}
	if got := offsets(reader.Take(nil, 4, 1).Messages); !slices.Equal(got, []uint64{6}) {
		t.Errorf("with one byte at most: %v", got)
	}
	reader.Next = 21
	r.publish("h:1", 21, 21)
	if p := reader.Take(nil, 4, 1<<20); p.End || len(p.Messages) != 1 {
		t.Errorf("%+v", p)
	}
	reader.Next = 22
	if p := reader.Take(nil, 4, 1<<20); !p.End || p.Tip != 21 || reader.History != nil {
		t.Errorf("%+v", p)
	}
	reader.Close() // closed already
}

func TestReaderOfLatest(t *testing.T) {
	r := newRig(t, 10, PolicyLatest, nil)
	for n := range 25 {
		m := NewMessage(frame.OpText, fmt.Append(nil, n))
		m.Key = fmt.Sprint(n % 3)
		if _, err := r.Channel("h:1", m, nil); err != nil {
			t.Fatal(err)
		}
	}
	r.serve()
	st, _ := r.stripe("h:1")
	reader := st.histories["h:1"].Read(2)
	if got := offsets(reader.Take(nil, 1, 1).Messages); !slices.Equal(got, []uint64{23, 24, 25}) {
		t.Errorf("%v", got)
	}
	reader.Close()
}

func TestQuery(t *testing.T) {
	r := newRig(t, 10, PolicyDisconnect, nil)
	if page := r.Query("plain", history.Query{Limit: 5}); page.Epoch != "" || page.Messages != nil {
		t.Errorf("without history: %+v", page)
	}
	empty := r.Query("h:1", history.Query{Limit: 5})
	if empty.Messages != nil || empty.Gap || empty.Epoch == "" {
		t.Errorf("an empty history is %+v", empty)
	}
	epoch := r.publish("h:1", 1, 25).Epoch
	at := func(offset uint64) *history.Position { return &history.Position{Epoch: epoch, Offset: offset} }
	for _, c := range []struct {
		since     *history.Position
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
		{at(22), 100, true, []uint64{21, 20, 19, 18, 17, 16}, false, true},
		{at(22), 2, true, []uint64{21, 20}, true, false},
		{at(25), 100, false, nil, false, false},
		{at(15), 1, false, []uint64{16}, true, false},
		{at(14), 1, false, []uint64{16}, true, true},
		{at(99), 1, false, []uint64{16}, true, true},
		{&history.Position{Epoch: "other", Offset: 22}, 1, false, []uint64{16}, true, true},
		{at(16), 5, true, nil, false, true},
		{nil, 100, true, []uint64{25, 24, 23, 22, 21, 20, 19, 18, 17, 16}, false, true},
	} {
		page := r.Query("h:1", history.Query{Since: c.since, Limit: c.limit, Reverse: c.reverse})
		var got []uint64
		for _, m := range page.Messages {
			got = append(got, m.Offset)
			if string(m.Payload) != fmt.Sprint(m.Offset) || !m.Time.Equal(r.now) || m.Type != frame.OpText {
				t.Errorf("offset %d is %+v", m.Offset, m)
			}
		}
		if !slices.Equal(got, c.want) || page.More != c.more || page.Gap != c.gap || page.Position != *at(25) {
			t.Errorf("since %v, limit %d, reverse %v: %v, more %v, gap %v, at %v", c.since, c.limit, c.reverse, got, page.More, page.Gap, page.Position)
		}
	}
	// Backwards to the beginning, of which nothing was forgotten.
	r.publish("h:2", 1, 3)
	if page := r.Query("h:2", history.Query{Limit: 5, Reverse: true}); len(page.Messages) != 3 || page.Gap || page.More {
		t.Errorf("all of a history: %+v", page)
	}
	r.now = r.now.Add(2 * time.Hour)
	if page := r.Query("h:1", history.Query{Limit: 5, Reverse: true}); !page.Gap || page.Messages != nil {
		t.Errorf("backwards when all are too old: %+v", page)
	}
	if page := r.Query("h:1", history.Query{Since: at(20), Limit: 5}); !page.Gap || page.Messages != nil || page.Offset != 25 {
		t.Errorf("when all are too old: %+v", page)
	}
}

// A cleared history is empty and goes on from its position.
func TestClear(t *testing.T) {
	r := newRig(t, 5, PolicyDisconnect, nil)
	at := r.publish("h:1", 1, 3)
	for _, want := range []int{3, 0} {
		if n := r.Clear("h:1"); n != want {
			t.Errorf("%d messages were dropped, want %d", n, want)
		}
	}
	if n := r.Clear("h:none"); n != 0 {
		t.Errorf("%d messages of a silent channel were dropped", n)
	}
	if st := r.Stats(); st.Messages != 0 || st.Bytes != 0 {
		t.Errorf("%d messages of %d bytes are kept", st.Messages, st.Bytes)
	}
	if now := r.Place("h:1"); now.Position != at {
		t.Errorf("the channel is at %v, want %v", now, at)
	}
	if next := r.publish("h:1", 4, 4); next != (history.Position{Epoch: at.Epoch, Offset: at.Offset + 1}) {
		t.Errorf("the next message is at %v", next)
	}
	if _, _, recovered := r.Resume("h:1", &history.Position{Epoch: at.Epoch, Offset: at.Offset - 1}); recovered {
		t.Error("a position of a dropped message is recovered")
	}
}
