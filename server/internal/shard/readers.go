package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/wire"
)

// Reading on from a channel's history. A connection that resumes, or whose socket
// is full when a message of a channel with history comes, gets a reader: the offset
// that it goes on with. Until it has read everything, live messages of the channel
// pass it by (its subscriber's from is parked far ahead), so that it gets each once
// and in order. That costs 16 bytes beside its ext.

const (
	// readBytes is what one connection reads on at once, and readFrames as how many
	// messages; then others have their turn.
	readBytes  = 64 << 10
	readFrames = 64
	// readTurns is how many connections do so in a turn of the shard.
	readTurns = 16
	// parkedAhead is how far beyond the next offset the from of a connection with a
	// reader is set, so that the live fan-out skips it. No socket stays full for a
	// billion messages, and the difference to the current offset, in startFor, never
	// overflows.
	parkedAhead = 1 << 30
)

// readerQueue is the connections that read on, in order. Some may have ended.
type readerQueue struct {
	waiting  []netpoll.ID
	messages []*hub.Message // scratch of readOn
}

// fromOf is where the connection notes from which offset on live messages of the
// channel are for it; nil if it is not in that channel any more.
func (c conn) fromOf(channel string) *uint32 {
	s := c.s
	for i := c.subs; i != 0; i = s.members.sub(i).next {
		if ch := s.members.channels[s.members.sub(i).channel]; ch.name == channel {
			return &ch.subscribers.at(s.members.sub(i).pos).from
		}
	}
	if c.user != 0 && channel == hub.UserChannel(string(s.users.name(c.user))) {
		return &c.userFrom
	}
	return nil
}

// startReading lets the connection read on with r.
func (c conn) startReading(r hub.Reader) {
	from := c.fromOf(r.History.Channel())
	if from == nil {
		r.Close()
		return
	}
	*from = r.Seq() + parkedAhead
	x := c.makeExt()
	if len(x.readers) == 0 {
		c.s.count.Inc(counters.Reading)
	}
	x.readers = append(x.readers, r)
	if c.flags&flagStalled == 0 {
		c.s.readSoon(c.id)
	}
}

// fallBehind lets the connection, whose socket is full, go on with message next of
// j from its history.
func (c conn) fallBehind(j *job, next int) {
	if j.reset {
		c.startReading(j.history.ReadAnew())
		return
	}
	c.startReading(j.history.Read(j.offset + uint64(next)))
}

// stopReading ends the reader at place k.
func (s *Shard) stopReading(x *ext, k int) {
	x.readers[k].Close()
	last := len(x.readers) - 1
	x.readers[k] = x.readers[last]
	x.readers[last] = hub.Reader{}
	if x.readers = x.readers[:last]; last == 0 {
		x.readers = nil
		s.count.Add(counters.Reading, -1)
	}
}

// stopReadingAll ends all readers of a connection that is about to end.
func (c conn) stopReadingAll() {
	for x := c.ext(); c.reads(); {
		c.s.stopReading(x, len(x.readers)-1)
	}
}

// stopReadingOf ends the reader of a channel that the connection leaves.
func (c conn) stopReadingOf(channel string) {
	x := c.ext()
	if x == nil {
		return
	}
	for k := range x.readers {
		if x.readers[k].History.Channel() == channel {
			c.s.stopReading(x, k)
			return
		}
	}
}

// readSoon puts id last in the queue of connections that read on.
func (s *Shard) readSoon(id netpoll.ID) {
	s.readers.waiting = append(s.readers.waiting, id)
	s.loop.Wake()
}

// readOnAll lets the first connections in the queue read on, and reports whether
// more wait.
func (s *Shard) readOnAll() (again bool) {
	if len(s.readers.waiting) == 0 {
		return false
	}
	n := min(len(s.readers.waiting), readTurns)
	for _, id := range s.readers.waiting[:n] {
		if c, ok := s.find(id); ok && c.reads() && c.flags&flagStalled == 0 && c.state == stateOpen && c.readOn() {
			s.readers.waiting = append(s.readers.waiting, id)
		}
	}
	s.readers.waiting = append(s.readers.waiting[:0], s.readers.waiting[n:]...)
	if len(s.readers.waiting) == 0 && cap(s.readers.waiting) > 1024 {
		s.readers.waiting = nil
	}
	s.countDelivered()
	return len(s.readers.waiting) > 0
}

// readOn writes the next messages of one channel and reports whether more can be
// done now.
func (c conn) readOn() (more bool) {
	s, x := c.s, c.ext()
	r := &x.readers[0]
	history := r.History
	p := r.Take(s.readers.messages[:0], readFrames, readBytes)
	s.readers.messages = p.Messages
	switch policy := history.Policy(); {
	case p.End || p.Anew:
		// What is in an inbox or a job by now, up to p.At, has been read from here.
		if from := c.fromOf(history.Channel()); from != nil {
			*from = p.At.Seq()
		}
		if ch := s.members.byName[history.Channel()]; ch != nil {
			ch.moveTo(p.At)
		}
		s.stopReading(x, 0)
		if p.Anew {
			c.tellReset(history.Channel(), p.At)
		}
		return c.readAll()
	case policy == hub.PolicyLatest:
		return c.readLatest(r, p)
	case r.Next < p.First && policy == hub.PolicyDisconnect:
		s.count.Inc(counters.SlowDisconnects)
		c.startClose(frame.CloseTryAgainLater, slowReason)
		return false
	case r.Next < p.First:
		from, to := r.Next, max(p.Tip-1, p.First-1)
		r.Next = to + 1
		c.tellGap(history, from, to, to-from+1)
		return c.flags&flagStalled == 0
	}
	n := c.writeMessages(history, s.readers.messages)
	r.Next += uint64(n)
	return n == len(s.readers.messages) && c.flags&flagStalled == 0 && c.state == stateOpen
}

// readLatest writes the newest message of each key, p.Messages. What the socket
// does not take of them begins the next round.
func (c conn) readLatest(r *hub.Reader, p hub.Passage) (more bool) {
	messages := p.Messages
	from, to := r.Next, p.Tip
	if left := to - from + 1 - uint64(len(messages)); left > 0 {
		c.tellGap(r.History, from, to, left)
		if c.flags&flagStalled != 0 {
			// The survivors are looked for again, among newer ones, when there is room:
			// what comes before the first of them is accounted for.
			if r.Next = to + 1; len(messages) > 0 {
				r.Next = messages[0].Offset
			}
			return false
		}
	}
	n := c.writeMessages(r.History, messages)
	if n == len(messages) {
		r.Next = to + 1
		return c.flags&flagStalled == 0 && c.state == stateOpen
	}
	r.Next = messages[n].Offset
	return false
}

// tellGap counts messages that the connection does not get, and reports them to it.
func (c conn) tellGap(history *hub.History, from, to, missed uint64) {
	c.ext().missed += missed
	c.s.count.Add(counters.SlowDrops, int64(missed))
	if c.protocol() != 0 {
		c.s.hooks.Gap(c.s, c.id, history.Channel(), history.Epoch(), from, to)
	}
}

// tellReset tells a connection that its channel has a new epoch.
func (c conn) tellReset(channel string, at hub.Place) {
	c.s.count.Inc(counters.Resets)
	if c.protocol() != 0 {
		c.s.hooks.Reset(c.s, c.id, channel, at.Position)
	}
}

// readAll is called when a reader has ended.
func (c conn) readAll() (more bool) {
	if c.reads() {
		return true
	}
	c.mayAnswer()
	c.closeIfRead()
	if c, ok := c.s.find(c.id); ok {
		c.dropExt()
	}
	return false
}

// writeMessages writes messages of a history and returns how many of them are on
// their way. If one was cut in two, its rest waits in pending and it counts as on
// its way.
func (c conn) writeMessages(history *hub.History, messages []*hub.Message) (done int) {
	s := c.s
	if c.streams(history) {
		p := c.appendEvents(s.output.arena[:0], history, messages, nil, 0)
		s.output.arena = p[:0]
		n, err := c.write(p)
		if err != nil {
			return 0 // OnClose follows
		}
		return c.sentEvents(p, n, len(messages))
	}
	variant := c.variant()
	vector := s.output.vector[:0]
	defer func() { clear(s.output.vector[:]) }()
	want := 0
	for _, m := range messages {
		p := s.encoded(m, variant)
		if m.Except != nil && c.excepted(m.Except) {
			p = nil
		}
		vector = append(vector, p)
		want += len(p)
	}
	n, err := 0, error(nil)
	if c.flags&flagTLS != 0 || c.kind() == wire.Poll {
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
	s.output.delivered += uint64(done)
	if x := c.makeExt(); progress {
		x.pending.progressTick = s.deadlines.tick
	}
	if c.windowBits() != 0 {
		for _, m := range messages[:done] {
			c.remember(m)
		}
	}
	return done
}
