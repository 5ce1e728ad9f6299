package demo

import (
	"errors"
	"sync"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// A feed publishes at an interval while its channel has subscribers. Without them it
// has no goroutine and no timer, so a demo that is not open costs nothing.
type feed struct {
	// Immutable.
	channel  string
	interval time.Duration
	// linger is how long the feed goes on without subscribers: long polls come and go.
	linger time.Duration
	// step publishes. Only the feed's goroutine calls it.
	step func(now time.Time) error

	// Guarded by mu.
	mu       sync.Mutex
	occupied bool
	running  bool
	until    time.Time // where the channel is not occupied
}

// event starts the feed with its channel's first subscriber. It is a part's event.
func (f *feed) event(e *protocol.Event) {
	if e.Channel != f.channel || e.Type != protocol.EventOccupied && e.Type != protocol.EventVacated {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.occupied, f.until = e.Type == protocol.EventOccupied, e.Time.Add(f.linger)
	if f.occupied && !f.running {
		f.running = true
		go f.run()
	}
}

// run ends a while after the last subscriber, or with the server.
func (f *feed) run() {
	ticker := time.NewTicker(f.interval)
	defer ticker.Stop()
	for now := range ticker.C {
		if f.ended(now) {
			return
		}
		// A server that is too busy leaves a step out.
		if err := f.step(now); errors.Is(err, server.ErrServerClosed) {
			return
		}
	}
}

// ended reports whether the feed ends now: the next subscriber starts another goroutine.
func (f *feed) ended(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = f.occupied || now.Before(f.until)
	return !f.running
}

// publish sends a value to the subscribers of a channel. It is for feeds: it does not
// wait for the event loops.
func (d *Demo) publish(channel, key string, value any) error {
	_, err := d.srv.PublishMessage(server.NoWait, server.Publication{Channel: channel, Key: key, Payload: encode(value)})
	return err
}
