package redis

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/broker"
)

// A sequencer is one Redis server that orders the messages of some channels, or of all:
// the one there is, the primary that Sentinels name, one of several side by side, or one
// primary of a cluster. It lives one life of its connections after the other.
type sequencer struct {
	// Immutable.
	b       *Broker
	name    string
	options rueidis.ClientOption
	trusted bool
	// address finds the server.
	address func(context.Context) (string, error)
	// moves: where the server is found may change, and is asked again and again.
	moves  bool
	closec chan struct{}

	// Guarded by b.mu.
	life   *life // nil while there is none
	health broker.Health
	closed bool
}

// newSequencer makes one that is not started.
func (b *Broker) newSequencer(name string, t *target, address func(context.Context) (string, error)) *sequencer {
	return &sequencer{
		b: b, name: name, options: t.client, trusted: t.trusted, address: address, moves: t.mode == "sentinel", closec: make(chan struct{}),
		health: broker.Health{Publishing: errConnecting, Receiving: errConnecting, Since: time.Now()},
	}
}

// fixed is an address that does not change.
func fixed(address string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return address, nil }
}

// run lives one life after the other.
func (s *sequencer) run() {
	tries := retry.Backoff{Min: retryMin, Max: retryMax}
	for {
		if l, err := s.connect(); err != nil {
			s.fail(err)
		} else {
			born := time.Now()
			s.live(l)
			if time.Since(born) > shortLife {
				tries.Reset()
			}
		}
		select {
		case <-s.closec:
			return
		case <-time.After(tries.Next()):
		}
	}
}

// live uses l until it breaks.
func (s *sequencer) live(l *life) {
	b := s.b
	b.mu.Lock()
	s.life = l
	s.health = broker.Health{Since: time.Now()}
	l.subscribeTo(b.attachedAt(func(channel string) bool { return b.owner(channel) == s }))
	b.mu.Unlock()
	l.begin()
	select {
	case <-l.broken.Done():
	case <-s.closec:
	}
	b.mu.Lock()
	s.failed(l.err())
	s.life = nil
	b.mu.Unlock()
	l.end()
	b.interrupt(func() (func(string) bool, error) { return b.ownedBy(s), l.err() })
	b.look()
}

// fail notes why nothing works.
func (s *sequencer) fail(err error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.failed(err)
}

// failed is fail, with b.mu held.
func (s *sequencer) failed(err error) {
	if s.health.Receiving == nil && s.health.Publishing == nil {
		s.health.Since = time.Now()
	}
	s.health.Publishing, s.health.Receiving = err, err
}

// refused notes that the server of l refuses what is published, or, with nil, that it does
// not any more. What others publish still arrives.
func (s *sequencer) refused(l *life, err error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if s.life != l || s.health.Receiving != nil {
		return
	}
	if (s.health.Publishing == nil) != (err == nil) {
		s.health.Since = time.Now()
	}
	s.health.Publishing = err
}

// refuses reports whether what is published is refused.
func (s *sequencer) refuses() bool {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.health.Publishing != nil
}

// close ends the connections. It does not wait for that.
func (s *sequencer) close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.closec)
	}
}

// attachedAt returns the attached channels that are wanted, those of one part of a cluster
// beside each other. With mu held.
func (b *Broker) attachedAt(wanted func(channel string) bool) (channels []string) {
	for channel := range b.attached {
		if wanted(channel) {
			channels = append(channels, channel)
		}
	}
	if b.cluster != nil {
		slices.SortFunc(channels, func(x, y string) int { return partOf(x) - partOf(y) })
	}
	return channels
}

// interrupt says that messages may be missing. affected, which is called with mu held,
// returns of which channels, nil for all, and why; no error, and nothing is said. No channel
// becomes attached anew between the two.
func (b *Broker) interrupt(affected func() (of func(channel string) bool, why error)) {
	b.inbound.Lock()
	defer b.inbound.Unlock()
	select {
	case <-b.closec:
		return
	default:
	}
	b.mu.Lock()
	of, why := affected()
	b.mu.Unlock()
	if why != nil {
		b.in.Interrupted(of, why)
	}
}

// together returns the health of all sequencers. With mu held.
func together(list []*sequencer) (h broker.Health) {
	var publishing, receiving []error
	failing := false
	for _, s := range list {
		one := s.health
		fails := one.Publishing != nil || one.Receiving != nil
		switch {
		case fails && (!failing || one.Since.Before(h.Since)), !failing && one.Since.After(h.Since):
			h.Since = one.Since
		}
		failing = failing || fails
		for _, part := range []struct {
			list *[]error
			err  error
		}{{&publishing, one.Publishing}, {&receiving, one.Receiving}} {
			if part.err != nil && len(list) > 1 {
				part.err = fmt.Errorf("%s: %w", s.name, part.err)
			}
			if part.err != nil {
				*part.list = append(*part.list, part.err)
			}
		}
	}
	for _, part := range []struct {
		whole *error
		list  []error
	}{{&h.Publishing, publishing}, {&h.Receiving, receiving}} {
		switch {
		case len(part.list) == 0:
		case len(part.list) == len(list):
			*part.whole = part.list[0]
		default:
			h.Partly = part.list[0]
		}
	}
	return h
}
