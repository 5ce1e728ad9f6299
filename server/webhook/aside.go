package webhook

import (
	"slices"
	"time"
)

// asideMaxEvents is how many events may be set aside at a time: what fails so often is
// no exception, and is dropped.
const asideMaxEvents = 100

// asideShare bounds the time that attempts at events that were set aside take from
// the others, each of which may run into Timeout: to one part in so many.
const asideShare = 10

// An asideEvent is a batch of one event that the application fails on, while it
// accepts others. It is tried again after RetryMaxDelay, then after twice that, and so
// on, until RetryMaxAge has passed since the first attempt.
type asideEvent struct {
	*batch
	due  time.Time
	wait time.Duration // before the next attempt but one
	held int64         // counted in queuedBytes
}

// putAside sets a batch of one event aside, or drops it if there are too many.
func (s *Sender) putAside(b *batch, reason string) {
	size := int64(len(b.body))
	if len(s.aside) >= asideMaxEvents || s.queuedBytes.Load()+size > int64(s.cfg.QueueMaxBytes) {
		s.giveUp(b, "too many events are set aside; this one failed with: "+reason)
		return
	}
	b.setLate()
	s.aside = append(s.aside, &asideEvent{batch: b, due: time.Now().Add(s.cfg.RetryMaxDelay), wait: 2 * s.cfg.RetryMaxDelay, held: size})
	if held, ok := s.asides.Pass(); ok {
		e := b.events[0]
		s.cfg.Logger.Error("an event is set aside: the web hook fails on it and accepts others; it is tried again later", "url", s.endpoint.shown,
			"reason", reason, "type", e.kind, "client", e.client, "channel", e.channel, "set_aside", len(s.aside), "lines_held", held)
	}
	s.queuedBytes.Add(size)
	s.asideEvents.Add(1)
	s.setAside.Add(1)
}

// nextAside returns the place of the event that is due first, and when; -1 if none
// is set aside.
func (s *Sender) nextAside() (i int, due time.Time) {
	i = -1
	for j, a := range s.aside {
		if i < 0 || a.due.Before(due) {
			i, due = j, a.due
		}
	}
	if due.Before(s.asideAfter) {
		due = s.asideAfter
	}
	return i, due
}

// asideAlarm returns a Go channel that gets a value when it is time for retryAside.
func (s *Sender) asideAlarm() <-chan time.Time {
	i, due := s.nextAside()
	if i < 0 {
		return nil
	}
	return time.After(time.Until(due))
}

// retryAside tries the event that is due, unless the application fails altogether.
func (s *Sender) retryAside() {
	begin := time.Now()
	i, due := s.nextAside()
	if i < 0 || due.After(begin) || s.failures > 0 && len(s.line) > 0 || s.ctx.Err() != nil {
		return
	}
	a := s.aside[i]
	o := s.attempt(a.batch)
	now := time.Now()
	s.asideAfter = now.Add((asideShare - 1) * now.Sub(begin))
	switch left := s.cfg.RetryMaxAge - now.Sub(a.begin); {
	case o.accepted:
		s.takeAside(i)
		s.accepted(a.batch)
	case o.refused:
		s.giveUp(s.takeAside(i), o.reason)
	case left <= 0:
		s.giveUp(s.takeAside(i), "it failed for "+s.cfg.RetryMaxAge.String()+", last with: "+o.reason)
	default:
		a.due = now.Add(max(min(a.wait, left), min(o.after, s.cfg.RetryMaxAge)))
		a.wait *= 2
	}
}

// takeAside removes an event from those that are set aside.
func (s *Sender) takeAside(i int) *batch {
	a := s.aside[i]
	s.aside = slices.Delete(s.aside, i, i+1)
	s.queuedBytes.Add(-a.held)
	s.asideEvents.Add(-1)
	return a.batch
}

// endAside tries each event that is still set aside for the last time.
func (s *Sender) endAside() {
	for len(s.aside) > 0 {
		b := s.takeAside(0)
		reason := "no time was left when it was closed"
		if s.ctx.Err() == nil {
			o := s.attempt(b)
			if o.accepted {
				s.accepted(b)
				continue
			}
			reason = "it was set aside, and failed again when it was closed: " + o.reason
		}
		s.giveUp(b, reason)
	}
}
