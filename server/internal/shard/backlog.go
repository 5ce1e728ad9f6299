package shard

import (
	"github.com/roostws/roost/netpoll"

	"github.com/roostws/roost/server/internal/counters"
)

// Back-pressure for publishers on connections: while more than PublishPauseBytes wait
// for any loop, a connection that publishes is not read. Its messages stay in its own
// socket, TCP slows its sender, nothing is dropped and no queue grows. Publishers in
// the process get ErrBusy at the inbox's bounds instead.

// backlog is what waits to be fanned out by this shard. Any goroutine.
func (s *Shard) backlog() int64 { return s.inbox.bytes.Load() + s.jobs.bytes.Load() }

// Full reports whether as much waits here as Config allows, in the inbox and on
// its way from there to the subscribers. Any goroutine.
func (s *Shard) Full() bool {
	return s.inbox.entries.Load()+s.jobs.frames.Load() >= int64(s.cfg.InboxMaxEntries) || s.backlog() >= int64(s.cfg.InboxMaxBytes)
}

// MaySubscribe reports that something waits in the inbox that may make connections
// subscribers. Any goroutine.
func (s *Shard) MaySubscribe() bool { return s.inbox.subscribing.Load() > 0 }

// congested reports whether any shard has too much to fan out.
func (g *Group) congested(limit int64) bool {
	for _, s := range g.shards {
		if s.backlog() >= limit {
			return true
		}
	}
	return false
}

// HoldPublisher pauses id, which has just published, if the fan-out is behind.
// Loop only.
func (s *Shard) HoldPublisher(id netpoll.ID) {
	c, ok := s.find(id)
	if !ok || c.flags&flagPausedPublish != 0 || !s.group.congested(int64(s.cfg.PublishPauseBytes)) {
		return
	}
	s.count.Inc(counters.PublishersHeld)
	s.heldPublishers = append(s.heldPublishers, id)
	s.group.held.Add(1)
	c.pause(flagPausedPublish)
	// The backlog may have gone between the check and the registration; then no other
	// shard would wake this one.
	if !s.group.congested(int64(s.cfg.PublishPauseBytes)) {
		s.loop.Wake()
	}
}

// resumePublishers reads held publishers again when the fan-out has caught up, here and
// on the other shards.
func (s *Shard) resumePublishers() {
	if s.group.held.Load() == 0 || s.group.congested(int64(s.cfg.PublishPauseBytes)) {
		return
	}
	for _, other := range s.group.shards {
		if other != s {
			other.loop.Wake()
		}
	}
	held := s.heldPublishers
	s.heldPublishers = nil
	s.group.held.Add(-int64(len(held)))
	for _, id := range held {
		if c, ok := s.find(id); ok {
			c.resume(flagPausedPublish)
		}
	}
}
