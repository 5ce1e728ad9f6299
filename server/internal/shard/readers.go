package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// Reading on from a channel's history. A connection that resumes, or whose
// socket is full when a message of a channel with history comes, gets a reader: the
// offset that it has to go on with. Until it has read everything, live messages
// of the channel pass it by (its subscriber's from is parked far ahead), so it
// has each once and in order, and costs 24 bytes beside its ext.

// A reader is a place in the history of a channel that a connection is in.
type reader struct {
	log  *log
	next uint64
}

const (
	// readBytes is what one connection reads on at once, and readFrames as how many
	// messages; then others have their turn.
	readBytes  = 64 << 10
	readFrames = 64
	// readTurns is how many connections do so in a turn of the shard.
	readTurns = 16
	// parkedAhead is how far ahead of what is published the from of a connection with
	// a reader is: nobody is passed by a billion messages while its socket is full.
	parkedAhead = 1 << 30
)

// from is where the connection notes from which offset on live messages of the
// log's channel are for it; nil if it is not there any more.
func (c conn) fromOf(l *log) *uint32 {
	s := c.s
	for i := c.subs; i != 0; i = s.sub(i).next {
		if ch := s.channels[s.sub(i).channel]; ch.name == l.name {
			return &ch.subscribers.at(s.sub(i).pos).from
		}
	}
	if c.user != 0 && l.name == userChannel(string(s.users.name(c.user))) {
		return &c.userFrom
	}
	return nil
}

// startReading lets a connection go on with offset next of l. With the lock of l held.
func (c conn) startReading(l *log, next uint64) {
	from := c.fromOf(l)
	if from == nil {
		return
	}
	*from = uint32(l.tip()) + parkedAhead
	x := c.makeExt()
	if len(x.readers) == 0 {
		c.s.count.Reading.Add(1)
	}
	x.readers = append(x.readers, reader{l, next})
	l.readers++
	if c.flags&flagStalled == 0 {
		c.s.readSoon(c.id)
	}
}

// fallBehind lets a connection whose socket is full go on with frame next of j
// from history.
func (c conn) fallBehind(j *job, next int) {
	j.log.stripe.mu.Lock()
	defer j.log.stripe.mu.Unlock()
	c.startReading(j.log, j.offset+uint64(next))
}

// stopReading ends the reader at place k.
func (s *Shard) stopReading(x *ext, k int) {
	l := x.readers[k].log
	last := len(x.readers) - 1
	x.readers[k] = x.readers[last]
	x.readers[last] = reader{}
	if x.readers = x.readers[:last]; last == 0 {
		x.readers = nil
		s.count.Reading.Add(-1)
	}
	if l.readers--; l.readers == 0 && l.len() > 0 {
		s.group.publisher.history.evict(l, time.Now().UnixMilli())
	}
}

// stopReadingAll ends all readers of a connection that is about to end.
func (c conn) stopReadingAll() {
	x := c.ext()
	for c.reads() {
		st := x.readers[len(x.readers)-1].log.stripe
		st.mu.Lock()
		c.s.stopReading(x, len(x.readers)-1)
		st.mu.Unlock()
	}
}

// stopReadingOf ends the reader of a channel that the connection leaves.
func (c conn) stopReadingOf(channel string) {
	x := c.ext()
	if x == nil {
		return
	}
	for k := range x.readers {
		if l := x.readers[k].log; l.name == channel {
			l.stripe.mu.Lock()
			c.s.stopReading(x, k)
			l.stripe.mu.Unlock()
			return
		}
	}
}

// readSoon has id read on when those before it had their turn.
func (s *Shard) readSoon(id netpoll.ID) {
	s.reading = append(s.reading, id)
	s.loop.Wake()
}

// readOnAll gives those who wait for it their turn.
func (s *Shard) readOnAll() (again bool) {
	if len(s.reading) == 0 {
		return false
	}
	n := min(len(s.reading), readTurns)
	for _, id := range s.reading[:n] {
		if c, ok := s.find(id); ok && c.reads() && c.flags&flagStalled == 0 && c.state == stateOpen && c.readOn() {
			s.reading = append(s.reading, id)
		}
	}
	s.reading = append(s.reading[:0], s.reading[n:]...)
	if len(s.reading) == 0 && cap(s.reading) > 1024 {
		s.reading = nil
	}
	s.count.Delivered.Add(s.delivered)
	s.delivered = 0
	return len(s.reading) > 0
}

// readOn writes the next messages of one channel and tells whether there is more
// to do that can be done now.
func (c conn) readOn() (more bool) {
	s := c.s
	x := c.ext()
	r := &x.readers[0]
	l := r.log
	l.stripe.mu.Lock()
	switch {
	case r.next > l.tip():
		// Everything that is in an inbox or a job by now has been read from here.
		if from := c.fromOf(l); from != nil {
			*from = uint32(l.tip())
		}
		s.stopReading(x, 0)
		l.stripe.mu.Unlock()
		return c.readAll()
	case l.ns.Policy == PolicyLatest:
		return c.readLatest(r)
	case r.next < l.first && l.ns.Policy == PolicyDisconnect:
		l.stripe.mu.Unlock()
		s.count.SlowDisconnects.Add(1)
		c.startClose(frame.CloseTryAgainLater, slowReason)
		return false
	case r.next < l.first:
		from, to := r.next, max(l.tip()-1, l.first-1)
		r.next = to + 1
		l.stripe.mu.Unlock()
		c.tellGap(l.name, from, to, to-from+1)
		return c.flags&flagStalled == 0
	}
	s.read = l.since(s.read[:0], r.next, readFrames, readBytes)
	l.stripe.mu.Unlock()
	n := c.writeMessages(s.read)
	r.next += uint64(n)
	return n == len(s.read) && c.flags&flagStalled == 0 && c.state == stateOpen
}

// readLatest writes the newest message of each key; l's lock is held when it is
// called. What the socket does not take of them begins the next round.
func (c conn) readLatest(r *reader) (more bool) {
	s := c.s
	l := r.log
	from, to := r.next, l.tip()
	s.read = l.latest(s.read[:0], r.next)
	l.stripe.mu.Unlock()
	if left := to - from + 1 - uint64(len(s.read)); left > 0 {
		c.tellGap(l.name, from, to, left)
		if c.flags&flagStalled != 0 {
			// The survivors are looked for again, among newer ones, when there is room:
			// what is before the first of them is accounted for.
			if r.next = to + 1; len(s.read) > 0 {
				r.next = s.read[0].Offset
			}
			return false
		}
	}
	n := c.writeMessages(s.read)
	if n == len(s.read) {
		r.next = to + 1
		return c.flags&flagStalled == 0 && c.state == stateOpen
	}
	r.next = s.read[n].Offset
	return false
}

// tellGap tells a connection that messages will not come.
func (c conn) tellGap(channel string, from, to, missed uint64) {
	x := c.ext()
	x.missed += missed
	c.s.count.SlowDrops.Add(missed)
	if c.protocol() != 0 {
		c.s.hooks.Gap(c.s, c.id, channel, from, to)
	}
}

// readAll is called when a reader has ended.
func (c conn) readAll() (more bool) {
	if c.reads() {
		return true
	}
	c.settleWish()
	if c, ok := c.s.find(c.id); ok {
		c.dropExt()
	}
	return false
}

// writeMessages writes messages of history and answers how many of them are on
// their way; of one that was cut in two the rest waits in pending.
func (c conn) writeMessages(messages []*Message) (done int) {
	s := c.s
	variant := c.variant()
	vector := s.vector[:0]
	defer func() { clear(s.vector[:]) }()
	want := 0
	for _, m := range messages {
		p := s.encoded(m, variant)
		vector = append(vector, p)
		want += len(p)
	}
	n, err := 0, error(nil)
	if c.flags&flagTLS != 0 {
		for _, p := range vector {
			var k int
			k, err = c.write(p)
			if n += k; err != nil || k < len(p) {
				break
			}
		}
	} else {
		n, err = s.loop.Writev(c.id, vector)
	}
	if err != nil {
		return 0 // OnClose follows
	}
	progress := n > 0
	for done < len(vector) && n >= len(vector[done]) {
		n -= len(vector[done])
		done++
	}
	if done < len(vector) {
		c.markStalled()
		if n > 0 {
			c.stall(c.piece(vector[done], n), true)
			done++
		}
	}
	s.delivered += uint64(done)
	if x := c.makeExt(); progress {
		x.pending.progressTick = s.tick
	}
	if c.windowBits() != 0 {
		for _, m := range messages[:done] {
			c.remember(m)
		}
	}
	return done
}
