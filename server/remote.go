package server

import (
	"bytes"
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/protocol"
)

// Publishing through a broker.

// publication returns p for the broker. It keeps p's payload.
func (s *Server) publication(p *Publication) *broker.Publication {
	channel := p.Channel
	if p.User != "" {
		channel = hub.UserChannel(p.User)
	}
	out := &broker.Publication{
		Message:        broker.Message{Channel: channel, Type: p.Type, Payload: p.Payload, Key: p.Key, From: p.From, Spread: p.Spread},
		IdempotencyKey: p.IdempotencyKey, IdempotencyAge: s.cfg.Limits.IdempotencyAge,
	}
	if running := s.parts.Load(); running != nil && p.except != nil {
		out.From = running.hub.Carry(p.except)
	}
	if running := s.parts.Load(); running != nil && p.Spread == 0 && !p.All {
		out.Keep = running.hub.Keep(channel)
	}
	if p.IdempotencyKey != "" {
		h := fnv.New64a() // the same on all nodes
		p.hash(h)
		out.Digest = h.Sum64()
	}
	return out
}

// putLater hands a publication to the broker. done is called at once or later, on another
// goroutine.
func (s *Server) putLater(p *broker.Publication, tally *hub.Tally, done func(broker.Placed, error)) {
	// Shutdown closes the connections after what was published until then.
	s.publishing.RLock()
	defer s.publishing.RUnlock()
	running := s.parts.Load()
	switch {
	case running == nil:
		done(broker.Placed{}, errNotStarted)
	case s.draining:
		done(broker.Placed{}, ErrServerClosed)
	default:
		running.hub.Publish(p, tally, done)
	}
}

// remoteResult is what a broker has answered.
type remoteResult struct {
	placed broker.Placed
	err    error
}

// countsWait bounds how long a receipt waits for the counts of all nodes.
const countsWait = 5 * time.Second

// beginRemote hands p to the broker. What it returns waits for the result, and for the counts
// of all nodes that have attached the channel until ctx is done. With NoWait it waits for
// nothing.
func (s *Server) beginRemote(ctx context.Context, p *Publication) func() (Receipt, error) {
	own := *p
	own.Payload = bytes.Clone(p.Payload)
	out := s.publication(&own)
	results := make(chan remoteResult, 1)
	done := func(placed broker.Placed, err error) { results <- remoteResult{placed, err} }
	if ctx == NoWait {
		if s.cfg.Broker.Health().Publishing != nil && s.parts.Load() != nil && (out.Channel == "" || !s.goesOnAlone(out.Channel)) {
			return refused(broker.ErrUnavailable)
		}
		s.putLater(out, nil, done)
		return func() (Receipt, error) {
			select {
			case r := <-results:
				return Receipt{Position: r.placed.Position}, r.err
			default:
				return Receipt{}, nil
			}
		}
	}
	var tally *hub.Tally
	if ctx.Err() == nil { // else nothing is waited for, and nothing has to be counted
		tally = hub.NewTally()
	}
	s.putLater(out, tally, done)
	spread := p.Spread
	return func() (Receipt, error) { return s.remoteReceipt(ctx, out, tally, spread, results) }
}

// remoteReceipt waits for the result of a publication through the broker, and for its
// counts, if there is a tally.
func (s *Server) remoteReceipt(ctx context.Context, out *broker.Publication, tally *hub.Tally, spread time.Duration, results <-chan remoteResult) (Receipt, error) {
	if running := s.parts.Load(); running != nil {
		defer running.hub.Forgo(out)
	}
	var r remoteResult
	select {
	case r = <-results:
	case <-s.donec:
		return Receipt{}, ErrServerClosed
	}
	if r.err != nil {
		return Receipt{}, r.err
	}
	if tally == nil {
		return Receipt{Position: r.placed.Position, Duplicate: r.placed.Duplicate}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, countsWait+spread) // a message, or counts, may be lost on the way
	defer cancel()
	known := true
	if r.placed.Nodes == broker.NodesUnknown {
		var others int
		others, known = s.cluster.attached(ctx, out.Channel)
		tally.Expect(others)
	}
	receipt := s.receipt(ctx, sent{r.placed.Position, tally})
	receipt.Complete = receipt.Complete && known && !r.placed.Duplicate
	receipt.Duplicate = r.placed.Duplicate
	return receipt, nil
}

// goesOnAlone reports whether what is published to a channel while the broker is away is
// delivered to this server's connections.
func (s *Server) goesOnAlone(channel string) bool {
	name := protocol.NamespaceOf(channel)
	return slices.ContainsFunc(s.cfg.Namespaces, func(ns Namespace) bool { return ns.Name == name && ns.Outage == OutageLocal })
}

// BrokerHealth returns how Config.Broker is doing; without one, or before Start, ok is
// false. Any goroutine.
func (s *Server) BrokerHealth() (h broker.Health, ok bool) {
	if s.cfg.Broker == nil || s.parts.Load() == nil {
		return h, false
	}
	return s.cfg.Broker.Health(), true
}

// failure is why a broker fails, nil if it does not.
func failure(h broker.Health) error { return cmp.Or(h.Publishing, h.Receiving, h.Partly) }

// watchBroker logs that the broker fails, once in brokerLogInterval while it does, and that it
// works again, until the server ends.
func (s *Server) watchBroker() {
	const lookInterval, brokerLogInterval = time.Second, time.Minute
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	var logged time.Time
	for failing := false; ; {
		select {
		case <-s.donec:
			return
		case now := <-tick.C:
			h := s.cfg.Broker.Health()
			err := failure(h)
			switch {
			case err != nil && now.Sub(logged) >= brokerLogInterval:
				s.cfg.Logger.Warn("the broker fails", "err", err, "since", h.Since)
				failing, logged = true, now
			case err == nil && failing:
				s.cfg.Logger.Info("the broker works again")
				failing, logged = false, time.Time{}
			}
		}
	}
}
