package nodes

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/leaktest"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/memory"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// rest is the rest of a server.
type rest struct{}

func (rest) Deliver(*broker.Message)              {}
func (rest) Attached(string)                      {}
func (rest) Interrupted(func(string) bool, error) {}

// A line is a node's way to the broker, which can be cut in one direction.
type line struct {
	broker.Broker
	cut atomic.Bool
}

func (l *line) Publish(p *broker.Publication, done func(broker.Placed, error)) {
	if l.cut.Load() {
		go done(broker.Placed{}, broker.ErrUnavailable)
		return
	}
	l.Broker.Publish(p, done)
}

// A party is a node with a record of what happened to it.
type party struct {
	*Nodes
	own *line

	mu  sync.Mutex
	log []string
}

func (p *party) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

// took returns the record, and begins it anew.
func (p *party) took() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	log := strings.Join(p.log, ", ")
	p.log = nil
	return log
}

// join starts a node which notes what it is told as "text" and answers "echo" with its name
// and the question.
func join(t *testing.T, h *memory.Hub, name string) *party {
	t.Helper()
	p := &party{own: &line{Broker: h.Node()}}
	p.Nodes = New(p.own, func() Info { return Info{Name: name, Version: "1.2", Connections: 7} })
	p.OnChange(func(i Info, up bool) { p.note("%s up %v", i.Label(), up) })
	p.Handle("text", func(from string, b []byte) []byte {
		p.note("%s", b)
		return nil
	})
	p.Handle("echo", func(from string, b []byte) []byte { return append([]byte(name+" "), b...) })
	p.Handle("slow", func(from string, b []byte) []byte {
		time.Sleep(time.Minute)
		return nil
	})
	if err := p.Broker().Start(rest{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// leave ends a node.
func (p *party) leave(t *testing.T) {
	t.Helper()
	if err := p.Broker().Close(); err != nil {
		t.Error(err)
	}
}

// die ends a node without a goodbye.
func (p *party) die(t *testing.T) {
	t.Helper()
	p.own.cut.Store(true)
	p.leave(t)
}

// names are the nodes that p sees.
func (p *party) names() string {
	synctest.Wait()
	var names []string
	for _, i := range p.All() {
		names = append(names, i.Label())
	}
	return strings.Join(names, " ")
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// Nodes know each other as soon as they have joined, and describe themselves; one that says
// goodbye is gone at once, one that dies when its lease is over.
func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b := join(t, h, "a"), join(t, h, "b")
		want(t, "a sees", a.names(), "a b")
		want(t, "b sees", b.names(), "a b")
		c := join(t, h, "c")
		for _, p := range []*party{a, b, c} {
			want(t, "with a third", p.names(), "a b c")
		}
		if i := c.All()[0]; i.ID != a.ID() || i.Version != "1.2" || i.Connections != 7 {
			t.Errorf("c knows of a: %+v", i)
		}
		want(t, "a was told", a.took(), "b up true, c up true")
		time.Sleep(time.Hour)
		want(t, "after an hour", a.names()+", "+b.names()+", "+c.names()+a.took(), "a b c, a b c, a b c")
		b.leave(t)
		want(t, "after a goodbye", a.names(), "a c")
		want(t, "a was told", a.took(), "b up false")
		c.die(t)
		time.Sleep(Lease - Beat)
		want(t, "before the lease is over", a.names(), "a c")
		time.Sleep(3 * Beat)
		want(t, "after the lease", a.names(), "a")
		want(t, "a was told", a.took(), "c up false")
		if c := a.Counts(); c.Nodes != 1 || c.Dropped != 0 || c.Received == 0 || c.Sent == 0 {
			t.Errorf("counted: %+v", c)
		}
		a.leave(t)
	})
}

// While the broker is away nobody's lease runs out; one that died meanwhile is gone a lease
// after the return. What is told meanwhile is counted as lost.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b, c := join(t, h, "a"), join(t, h, "b"), join(t, h, "c")
		time.Sleep(time.Minute)
		a.took()
		h.Interrupt()
		time.Sleep(5 * time.Minute)
		c.die(t)
		a.Tell("", "text", []byte("lost"))
		want(t, "during the outage", a.names()+", "+b.names(), "a b c, a b c")
		begin := time.Now()
		if _, missing := a.Ask(t.Context(), nil, "echo", nil); len(missing) != 2 || time.Since(begin) > 0 {
			t.Errorf("asked during the outage: %v are missing, after %v", missing, time.Since(begin))
		}
		h.Restore()
		time.Sleep(2 * Beat)
		want(t, "after the return", a.names()+", "+b.names(), "a b c, a b c")
		time.Sleep(Lease)
		want(t, "a lease later", a.names()+", "+b.names(), "a b, a b")
		want(t, "a was told", a.took(), "c up false")
		if c := a.Counts(); c.Dropped != 2 || c.Undecided != 1 {
			t.Errorf("counted: %+v", c)
		}
		a.leave(t)
		b.leave(t)
	})
}

// A node that is cut off for longer than its lease goes, and comes again.
func TestComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b := join(t, h, "a"), join(t, h, "b")
		synctest.Wait()
		b.own.Detach(everyone) // it does not hear, and is not heard
		b.own.Detach(nodeChannel(b.ID()))
		b.own.cut.Store(true)
		time.Sleep(time.Minute)
		want(t, "a sees", a.names(), "a")
		want(t, "b, which is deaf, sees", b.names(), "a b")
		b.own.cut.Store(false)
		b.own.Attach(everyone)
		b.own.Attach(nodeChannel(b.ID()))
		time.Sleep(Beat)
		want(t, "a was told", a.took(), "b up true, b up false, b up true")
		want(t, "b was told", b.took(), "a up true")
		a.leave(t)
		b.leave(t)
	})
}

// What is told arrives once, in order, at whom it is for, however long it is.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b, c := join(t, h, "a"), join(t, h, "b"), join(t, h, "c")
		synctest.Wait()
		a.took()
		b.took()
		c.took()
		var all []string
		for i := range 100 {
			all = append(all, fmt.Sprint(i))
			a.Tell("", "text", []byte(all[i]))
		}
		want(t, "b was told", b.took(), strings.Join(all, ", "))
		want(t, "c was told", c.took(), strings.Join(all, ", "))
		a.Tell(b.ID(), "text", []byte("b alone"))
		a.Tell(b.ID(), "of another release", nil)
		a.Tell("nobody", "text", nil)
		long := strings.Repeat("0123456789", partBytes/4)
		a.Tell(b.ID(), "text", []byte(long))
		c.Tell(b.ID(), "text", []byte("from c"))
		a.Tell(b.ID(), "text", make([]byte, BodyMaxBytes+1))
		got := b.took()
		if !strings.Contains(got, "b alone, "+long) || !strings.Contains(got, "from c") || len(got) != len("b alone, , from c"+long) {
			t.Errorf("b was told %d bytes: %.100q", len(got), got)
		}
		want(t, "c and a were told", c.took()+a.took(), "")
		if n := a.Counts().Dropped; n != 1 {
			t.Errorf("%d dropped", n)
		}
		for _, p := range []*party{a, b, c} {
			p.leave(t)
		}
	})
}

// A node that is silent for more than SilentMax holds up no question: it is missing at once,
// until it is heard again, or gone.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b, c := join(t, h, "a"), join(t, h, "b"), join(t, h, "c")
		time.Sleep(time.Minute)
		c.own.cut.Store(true) // it was heard up to Beat ago
		if got, took := a.ask(t.Context(), "echo", "?"); got != "b ?; 1 missing" || took != AskTimeout {
			t.Errorf("of one that has just died: %s, after %v", got, took)
		}
		time.Sleep(SilentMax + Beat/6 - AskTimeout) // silent for SilentMax at least, and for less than Lease
		if got, took := a.ask(t.Context(), "echo", "?"); got != "b ?; 1 missing" || took > 0 {
			t.Errorf("of a silent one: %s, after %v", got, took)
		}
		begin := time.Now()
		if _, missing := a.Ask(t.Context(), []string{c.ID()}, "echo", nil); !slices.Equal(missing, []string{c.ID()}) || time.Since(begin) > 0 {
			t.Errorf("missing: %v, after %v", missing, time.Since(begin))
		}
		want(t, "within its lease a sees", a.names(), "a b c")
		c.own.cut.Store(false)
		time.Sleep(Beat)
		got, _ := a.ask(t.Context(), "echo", "?")
		want(t, "when it is heard again", got, "b ?, c ?; 0 missing")
		for _, p := range []*party{a, b, c} {
			p.leave(t)
		}
	})
}

// ask asks all others, and returns the answers by name, who is missing, and how long it took.
func (p *party) ask(ctx context.Context, kind Kind, question string) (text string, took time.Duration) {
	begin := time.Now()
	answers, missing := p.Ask(ctx, nil, kind, []byte(question))
	var lines []string
	for _, i := range p.All() {
		if body, ok := answers[i.ID]; ok {
			lines = append(lines, string(body))
		}
	}
	return fmt.Sprintf("%s; %d missing", strings.Join(lines, ", "), len(missing)), time.Since(begin)
}

func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b, c := join(t, h, "a"), join(t, h, "b"), join(t, h, "c")
		synctest.Wait()
		got, took := a.ask(t.Context(), "echo", "?")
		want(t, "all were asked", got, "b ?, c ?; 0 missing")
		if took > 0 {
			t.Errorf("it took %v", took)
		}
		answers, missing := a.Ask(t.Context(), []string{c.ID(), "nobody", a.ID()}, "echo", []byte("!"))
		if len(answers) != 1 || string(answers[c.ID()]) != "c !" || !slices.Equal(missing, []string{"nobody"}) {
			t.Errorf("one was asked: %q, %v are missing", answers, missing)
		}
		// A kind that they do not know is answered at once, one that takes too long not.
		got, took = a.ask(t.Context(), "of another release", "?")
		if want(t, "an unknown kind", got, "; 2 missing"); took > 0 {
			t.Errorf("it took %v", took)
		}
		got, took = a.ask(t.Context(), "slow", "?")
		if want(t, "too slow", got, "; 2 missing"); took != AskTimeout {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if got, took = a.ask(ctx, "slow", "?"); took != time.Millisecond {
			t.Errorf("%s after %v", got, took)
		}
		// Those that go, or a broker that goes, end the wait.
		for _, c := range []struct {
			what string
			end  func()
		}{
			{"a goodbye", func() { b.leave(t); c.leave(t) }},
			{"the broker goes", func() { h.Interrupt(); h.Restore() }},
			{"its own end", func() { a.leave(t) }},
		} {
			time.AfterFunc(time.Second, c.end)
			got, took = a.ask(t.Context(), "slow", "?")
			if want(t, c.what, got, "; 2 missing"); took != time.Second {
				t.Errorf("%s: it took %v", c.what, took)
			}
			if c.what == "a goodbye" {
				b, c := join(t, h, "b"), join(t, h, "c")
				synctest.Wait()
				defer b.leave(t)
				defer c.leave(t)
			}
		}
		got, took = a.ask(t.Context(), "echo", "?")
		if want(t, "after its end", got, "; 2 missing"); took > 0 {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Minute) // the slow ones end
	})
}

// An answer of many parts arrives; one that is too long is missing, at once.
func TestLongAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a := join(t, h, "a")
		length := BodyMaxBytes
		b := New(h.Node(), func() Info { return Info{} })
		b.Handle("long", func(string, []byte) []byte { return bytes.Repeat([]byte("x"), length) })
		if err := b.Broker().Start(rest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		answers, missing := a.Ask(t.Context(), nil, "long", nil)
		if len(answers[b.ID()]) != BodyMaxBytes || missing != nil {
			t.Errorf("%d bytes, missing: %v", len(answers[b.ID()]), missing)
		}
		length++
		begin := time.Now()
		if answers, missing = a.Ask(t.Context(), nil, "long", nil); len(answers) != 0 || len(missing) != 1 || time.Since(begin) > 0 {
			t.Errorf("too long: %d answers, missing: %v, after %v", len(answers), missing, time.Since(begin))
		}
		if n := b.Counts().Dropped; n != 1 {
			t.Errorf("%d dropped", n)
		}
		a.leave(t)
		_ = b.Broker().Close()
	})
}

// What handlers cannot take in time is bounded: what is told then is dropped and counted,
// and a question is refused.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a, b := join(t, h, "a"), join(t, h, "b")
		synctest.Wait()
		a.Tell(b.ID(), "slow", nil)
		synctest.Wait()
		body := make([]byte, BodyMaxBytes)
		for range 5 {
			a.Tell(b.ID(), "text", body)
			synctest.Wait()
		}
		if n := b.Counts().Dropped; n != 2 {
			t.Errorf("%d dropped", n)
		}
		begin := time.Now()
		if _, missing := a.Ask(t.Context(), nil, "echo", body); len(missing) != 1 || time.Since(begin) > 0 {
			t.Errorf("missing: %v, after %v", missing, time.Since(begin))
		}
		a.leave(t)
		b.leave(t)
	})
}

// raw publishes a message as another release may write it.
func raw(t *testing.T, n broker.Broker, channel, text string) {
	t.Helper()
	done := make(chan error, 1)
	n.Publish(&broker.Publication{Message: broker.Message{Channel: channel, Type: frame.OpBinary, Payload: []byte(text)}}, func(_ broker.Placed, err error) { done <- err })
	if err := <-done; err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// A node of a newer release says more than this one understands.
func TestNewerNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.New()
		a := join(t, h, "a")
		newer := h.Node()
		if err := newer.Start(rest{}); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = newer.Close() }()
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"here","mood":"good"}`+"\n"+`{"id":"n1","name":"newer","version":"9","weather":[1,{}]}`)
		want(t, "a sees", a.names(), "a newer")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"sing","kind":"text"}`+"\nlala")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"song"}`+"\nlala")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"text","key":"d minor"}`+"\nhello")
		want(t, "a was told", a.took(), "newer up true, hello")
		if n := a.Counts().Dropped; n != 0 {
			t.Errorf("%d dropped", n)
		}
		// What it must not even try to read, and what nobody can.
		for _, text := range []string{`{"v":2,"from":"n1","op":"tell","kind":"text"}` + "\nhello", "", "{}", "{}\n", "\n\n", `{"v":1,"from":7}` + "\n", `{"v":1,"from":"n1","op":"here"}` + "\n7"} {
			raw(t, newer, everyone, text)
		}
		want(t, "a was told", a.took(), "")
		if n := a.Counts().Dropped; n != 7 {
			t.Errorf("%d dropped", n)
		}
		// Parts that do not follow each other.
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"text","more":true}`+"\none ")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"text","part":2}`+"\nthree")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"text","part":1}`+"\ntwo")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"text","more":true}`+"\none ")
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"tell","kind":"text","part":1}`+"\ntwo")
		want(t, "a was told", a.took(), "one two")
		// A message after the goodbye is no sign of life.
		raw(t, newer, everyone, `{"v":1,"from":"n1","op":"bye"}`+"\n")
		raw(t, newer, nodeChannel(a.ID()), `{"v":1,"from":"n1","op":"tell","kind":"text"}`+"\nlate")
		want(t, "a was told", a.took(), "newer up false")
		a.leave(t)
	})
}

// Without a broker there are no others, and nothing waits.
func TestAlone(t *testing.T) {
	n := New(nil, func() Info { return Info{Name: "alone"} })
	n.Tell("", "text", []byte("x"))
	answers, missing := n.Ask(t.Context(), nil, "echo", nil)
	if len(answers) != 0 || len(missing) != 0 || n.Broker() != nil || !n.Alone() {
		t.Errorf("%v, %v", answers, missing)
	}
	if _, missing = n.Ask(t.Context(), []string{"x", n.ID()}, "echo", nil); !slices.Equal(missing, []string{"x"}) {
		t.Errorf("missing: %v", missing)
	}
	if all := n.All(); len(all) != 1 || all[0].ID != n.ID() || all[0].Name != "alone" {
		t.Errorf("all: %+v", all)
	}
}
