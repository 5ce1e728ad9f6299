package brokertest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// keep is what the tests keep of channels whose names begin with "h:"; of others nothing
// is kept.
var keep = broker.Keep{Messages: 300, Age: time.Minute}

// A window is a node: the least that makes the promise of exactness out of a broker's. For
// each channel it has a list of what it saw: the texts of messages, and "reset" where it
// may have missed some.
type window struct {
	t    *testing.T
	node broker.Broker

	mu   sync.Mutex
	cond sync.Cond
	// Guarded by mu.
	channels    map[string]*seen
	interrupted int
	slow        time.Duration // how long Deliver takes
}

// seen is what a window knows of a channel.
type seen struct {
	live     bool // attached, and read to the end
	attached bool
	reading  bool
	at       history.Position
	// wanted is the place of the last message that came by Deliver while the channel was
	// not live, and early what it was when the read began: one that came before, and is not
	// of the page's epoch, is of an epoch that is over.
	wanted, early history.Position
	texts         []string
	tags          []uint64
}

// start starts a node of the rig.
func start(t *testing.T, r *Rig) *window {
	t.Helper()
	w := &window{t: t, node: r.Node(), channels: map[string]*seen{}}
	w.cond.L = &w.mu
	if err := w.node.Start(w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.node.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		h := w.node.Health()
		if h.Publishing == nil && h.Partly == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not connect: %+v", h)
		}
	}
	return w
}

func (w *window) Deliver(m *broker.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slow > 0 {
		time.Sleep(w.slow) // it stands for work, and nothing waits for it to end
	}
	s := w.channels[m.Channel]
	if s == nil {
		return // detached
	}
	defer w.cond.Broadcast()
	if m.Position == (history.Position{}) {
		s.take(m)
		return
	}
	switch {
	case !s.live:
		s.wanted = m.Position
	case m.Position.Epoch == s.at.Epoch && m.Position.Offset <= s.at.Offset:
	case m.Position.Epoch == s.at.Epoch && m.Position.Offset == s.at.Offset+1:
		s.at = m.Position
		s.take(m)
	default:
		s.live, s.wanted = false, m.Position
		w.read(m.Channel, s)
	}
}

func (s *seen) take(m *broker.Message) {
	s.texts = append(s.texts, string(m.Payload))
	s.tags = append(s.tags, m.Tag)
}

func (w *window) Attached(channel string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.channels[channel]
	if s == nil {
		return
	}
	s.attached = true
	if kept(channel) {
		w.read(channel, s)
		return
	}
	s.live = true
	w.cond.Broadcast()
}

func (w *window) Interrupted(affected func(channel string) bool, _ error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupted++
	for channel, s := range w.channels {
		if affected == nil || affected(channel) {
			s.live, s.attached = false, false
		}
	}
	w.cond.Broadcast()
}

// read reads what comes after s. With mu held.
func (w *window) read(channel string, s *seen) {
	if s.reading || !s.attached {
		return
	}
	s.reading, s.early = true, s.wanted
	var since *history.Position
	if s.at.Epoch != "" {
		at := s.at
		since = &at
	}
	w.node.Read(channel, keep, since, func(page broker.Page, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.reading = false
		defer w.cond.Broadcast()
		if err != nil {
			if s.attached {
				time.AfterFunc(10*time.Millisecond, func() { w.Attached(channel) })
			}
			return
		}
		w.page(channel, s, page)
	})
}

// page takes what was read.
func (w *window) page(channel string, s *seen, page broker.Page) {
	first := page.Position.Offset + 1
	if len(page.Messages) > 0 {
		first = page.Messages[0].Position.Offset
	}
	switch {
	case s.at.Epoch == "":
		s.at = history.Position{Epoch: page.Position.Epoch, Offset: first - 1}
	case page.Position.Epoch != s.at.Epoch || first > s.at.Offset+1:
		s.texts = append(s.texts, "reset")
		s.at = history.Position{Epoch: page.Position.Epoch, Offset: first - 1}
	case page.Position.Offset < s.at.Offset:
		w.t.Errorf("%s went back to %v from %v", channel, page.Position, s.at)
	}
	for _, m := range page.Messages {
		if m.Position.Epoch != s.at.Epoch || m.Position.Offset > s.at.Offset+1 {
			w.t.Errorf("%s: a page has %v after %v", channel, m.Position, s.at)
		}
		if m.Position.Offset == s.at.Offset+1 {
			s.at = m.Position
			s.take(m)
		}
	}
	if s.live = s.at.Offset >= page.Position.Offset && s.complete(); !s.live {
		w.read(channel, s)
	}
}

// complete reports whether nothing that came by Deliver is missing.
func (s *seen) complete() bool {
	if s.wanted.Epoch != s.at.Epoch {
		return s.wanted == s.early
	}
	return s.at.Offset >= s.wanted.Offset
}

// attach attaches a channel and waits until it is live.
func (w *window) attach(channel string) {
	w.t.Helper()
	w.mu.Lock()
	w.channels[channel] = &seen{}
	w.mu.Unlock()
	w.node.Attach(channel)
	w.wait("attach "+channel, func() bool { return w.channels[channel].live })
}

func (w *window) detach(channel string) {
	w.mu.Lock()
	delete(w.channels, channel)
	w.mu.Unlock()
	w.node.Detach(channel)
}

// wait waits until done, which is called with mu held, returns true.
func (w *window) wait(what string, done func() bool) {
	w.t.Helper()
	over := false
	stop := time.AfterFunc(20*time.Second, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		over = true
		w.cond.Broadcast()
	})
	defer stop.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !done() {
		if over {
			w.t.Fatalf("%s: it takes too long", what)
		}
		w.cond.Wait()
	}
}

// texts returns a copy of what was seen of a channel, when there are n.
func (w *window) texts(channel string, n int) (list []string) {
	w.t.Helper()
	w.wait(fmt.Sprintf("%d messages of %s", n, channel), func() bool {
		list = append([]string(nil), w.channels[channel].texts...)
		return len(list) >= n
	})
	return list
}

// kept reports whether something is kept of a channel.
func kept(channel string) bool { return len(channel) > 2 && channel[:2] == "h:" }

// publication is one to a channel, with or without history.
func publication(channel, text string) *broker.Publication {
	p := &broker.Publication{Message: broker.Message{Channel: channel, Type: 1, Payload: []byte(text)}}
	if kept(channel) {
		p.Keep = keep
	}
	return p
}

type result struct {
	placed broker.Placed
	err    error
}

// send publishes and waits.
func (w *window) send(p *broker.Publication) (broker.Placed, error) {
	w.t.Helper()
	c := make(chan result, 1)
	w.node.Publish(p, func(placed broker.Placed, err error) { c <- result{placed, err} })
	select {
	case r := <-c:
		return r.placed, r.err
	case <-time.After(20 * time.Second):
		w.t.Fatal("a publication is not answered")
		return broker.Placed{}, nil
	}
}

// publish publishes what must be taken.
func (w *window) publish(channel, text string) broker.Placed {
	w.t.Helper()
	placed, err := w.send(publication(channel, text))
	if err != nil {
		w.t.Fatalf("publish %q to %s: %v", text, channel, err)
	}
	return placed
}

// insist publishes until it is taken, once.
func (w *window) insist(channel, text string) broker.Placed {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		p := publication(channel, text)
		p.IdempotencyKey, p.IdempotencyAge = text, time.Minute
		placed, err := w.send(p)
		if err == nil {
			return placed
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("publish %q to %s: %v", text, channel, err)
		}
	}
}

// pageOf reads, and waits.
func (w *window) pageOf(channel string, k broker.Keep, since *history.Position) (page broker.Page) {
	w.t.Helper()
	c := make(chan error, 1)
	w.node.Read(channel, k, since, func(p broker.Page, err error) { page = p; c <- err })
	select {
	case err := <-c:
		if err != nil {
			w.t.Fatalf("read %s: %v", channel, err)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatal("a read is not answered")
	}
	return page
}
