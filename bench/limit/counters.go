//go:build linux

package main

import "sync/atomic"

// counters are written by one loop and read by main: atomic, but never
// contended.
type counters struct {
	accepted, closed, messages, deliveries atomic.Uint64
	// dropped counts deliveries that the socket had no room for (EAGAIN): the
	// message is lost to that receiver. cut counts connections closed because
	// only part of a frame fitted.
	dropped, cut atomic.Uint64
}

func (c *counters) add(o *counters) {
	c.accepted.Add(o.accepted.Load())
	c.closed.Add(o.closed.Load())
	c.messages.Add(o.messages.Load())
	c.deliveries.Add(o.deliveries.Load())
	c.dropped.Add(o.dropped.Load())
	c.cut.Add(o.cut.Load())
}

func (c *counters) values() map[string]uint64 {
	return map[string]uint64{
		"accepted": c.accepted.Load(), "closed": c.closed.Load(),
		"messages": c.messages.Load(), "deliveries": c.deliveries.Load(),
		"dropped": c.dropped.Load(), "cut": c.cut.Load(),
	}
}
