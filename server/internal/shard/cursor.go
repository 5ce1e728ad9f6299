package shard

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/wire"
)

// Event streams say with each event of a channel with history, and with each reply, at
// which positions of all its channels the client is then: the event's ID. An
// EventSource comes back with the last one, and resumes exactly, wherever its stream
// was cut. The ID is a connection's own; the rest of an event is the same bytes for
// all.
//
// The positions are where they are for all connections: a subscriber's from (kept at
// the last message that was delivered, see keepPosition), a reader's Next, and, what is
// the same for all subscribers, the channel's epoch.

// arenaMaxBytes bounds the events of one batch that were copied behind their IDs.
const arenaMaxBytes = 256 << 10

// keepPosition notes that an event stream has got the messages of a job before next.
func (c conn) keepPosition(j *job, next int) {
	last := j.history.Seq(j.offset + uint64(next) - 1)
	if j.channel == nil {
		c.userFrom = last
	} else if sub := c.s.members.of(c.subs, j.channel); sub != nil {
		j.channel.subscribers.at(sub.pos).from = last
	}
}

// A cursor is a wire's cursor while it is written. The offset of history is the given
// one, and stands in dst[from:to].
type cursor struct {
	dst      []byte
	start    int
	history  *hub.History
	offset   uint64
	from, to int
}

// lostEpoch is no channel's. It is in the cursor of a connection that has not been told
// of its channel's new epoch yet: it has missed what was between the two.
const lostEpoch = "lost"

// add appends the position of a channel that stands at a place: the one near to it that
// seq stands for, unless the connection reads on there.
func (w *cursor) add(x *ext, name string, at hub.Place, seq uint32) {
	epoch := at.Epoch
	offset, ok := at.Near(seq)
	if !ok {
		epoch, offset = lostEpoch, 0
	}
	mine := w.history != nil && w.history.Channel() == name
	if mine {
		epoch, offset = w.history.Epoch(), w.offset
	} else if x != nil {
		for i := range x.readers {
			if r := &x.readers[i]; r.History.Channel() == name {
				if epoch, offset = r.History.Epoch(), r.Next-1; r.Next == 0 {
					epoch, offset = lostEpoch, 0
				}
			}
		}
	}
	w.dst = wire.AppendCursor(w.dst, len(w.dst) == w.start, name, epoch, offset)
	if mine {
		w.from, w.to = len(w.dst)-digits(offset), len(w.dst)
	}
}

func digits(n uint64) (d int) {
	for d = 1; n > 9; n /= 10 {
		d++
	}
	return d
}

// writeCursor appends the positions of all the connection's channels with history.
func (c conn) writeCursor(w *cursor) {
	s, x := c.s, c.ext()
	w.start = len(w.dst)
	for i := c.subs; i != 0; i = s.members.sub(i).next {
		sub := s.members.sub(i)
		if ch := s.members.channels[sub.channel]; ch.ns != nil {
			w.add(x, ch.name, ch.at, ch.subscribers.at(sub.pos).from)
		}
	}
	if c.user != 0 && s.userHistory {
		// A view of the scratch, which nothing keeps.
		s.output.name = append(append(s.output.name[:0], hub.UserPrefix...), s.users.name(c.user)...)
		name := unsafe.String(unsafe.SliceData(s.output.name), len(s.output.name))
		w.add(x, name, s.hub().Place(name), c.userFrom)
	}
	switch {
	case x == nil:
	case x.opening != nil:
		w.addOld(x.opening.Cursor)
	case x.old != "":
		w.addOld(x.old)
	}
}

// partsOf returns the parts of a cursor that are of these channels.
func partsOf(cursor string, channels []string) string {
	var parts []string
	for _, channel := range channels {
		name := string(wire.AppendEscaped(nil, channel))
		for part := range strings.SplitSeq(cursor, ",") {
			if of, _, _ := strings.Cut(part, "@"); of == name && !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
	}
	return strings.Join(parts, ",")
}

// addOld appends the parts of a cursor that are of other channels.
func (w *cursor) addOld(old string) {
	var names []string
	for part := range strings.SplitSeq(string(w.dst[w.start:]), ",") {
		name, _, _ := strings.Cut(part, "@")
		names = append(names, name)
	}
	for part := range strings.SplitSeq(old, ",") {
		if name, _, ok := strings.Cut(part, "@"); ok && !slices.Contains(names, name) {
			if len(w.dst) > w.start {
				w.dst = append(w.dst, ',')
			}
			w.dst = append(w.dst, part...)
		}
	}
}

// cursorFits reports whether a request whose head has the cursor, and the names once
// more, fits into HandshakeMaxBytes if the connection enters another channel.
func (c conn) cursorFits(channel string) bool {
	s := c.s
	size := func(name string) int {
		s.output.name = wire.AppendEscaped(s.output.name[:0], name)
		return len(s.output.name) + wire.CursorPartMaxBytes
	}
	sum := size(channel)
	for i := c.subs; i != 0; i = s.members.sub(i).next {
		if ch := s.members.channels[s.members.sub(i).channel]; ch.ns != nil {
			sum += size(ch.name)
		}
	}
	return sum <= s.cfg.HandshakeMaxBytes/3
}

const idField = "id: "

// appendID appends the ID of an event that changes no position, nothing if the
// connection has no channel with history. While a request is carried out, each of its
// replies may have the client's old positions in its ID: an ID that is the same as that
// of the reply before is left out, which changes nothing for the client.
func (c conn) appendID(dst []byte) []byte {
	w := cursor{dst: append(dst, idField...)}
	if c.writeCursor(&w); len(w.dst) == w.start {
		return dst
	}
	if x := c.ext(); x != nil && x.opening != nil {
		if id := w.dst[w.start:]; string(id) != string(x.opening.lastID) {
			x.opening.lastID = append(x.opening.lastID[:0], id...)
		} else {
			return dst
		}
	}
	return append(w.dst, '\n')
}

// appendEvents appends messages of a history, in order, as events with their IDs. e
// has them encoded, from the message first on; without it, they are encoded here.
func (c conn) appendEvents(dst []byte, history *hub.History, messages []*hub.Message, e *encoding, first int) []byte {
	if len(messages) == 0 {
		return dst
	}
	w := cursor{dst: append(dst, idField...), history: history, offset: messages[0].Offset}
	line := len(dst)
	c.writeCursor(&w)
	dst = append(w.dst, '\n')
	end := len(dst)
	for k, m := range messages {
		if k > 0 && w.to > 0 { // the same positions again, but for one
			dst = append(dst, dst[line:w.from]...)
			dst = strconv.AppendUint(dst, m.Offset, 10)
			dst = append(dst, dst[w.to:end]...)
		}
		if e != nil {
			dst = append(dst, e.message(first+k)...)
		} else {
			dst = c.s.appendEncoded(dst, m, c.variant())
		}
	}
	return dst
}

// streams reports whether messages of this history go to the connection with IDs of
// its own.
func (c conn) streams(history *hub.History) bool {
	return history != nil && c.kind() == wire.EventStream
}

// appendJob appends the messages of a job with history, from start on, as events.
func (c conn) appendJob(dst []byte, j *job, start int) []byte {
	return c.appendEvents(dst, j.history, j.messages[start:], c.s.encoding(j, c.variant()), start)
}

// serveStream is serve for an event stream. Its events are copied into the arena,
// behind their IDs, unless those are the same for other subscribers.
func (c conn) serveStream(j *job, start int) {
	s, out := c.s, &c.s.output
	var p []byte
	if start == 0 && c.onlyIn(j.channel) {
		e := s.encoding(j, c.variant())
		if e.events == nil {
			e.events = c.appendEvents(make([]byte, 0, j.bytes+len(j.messages)*sharedIDBytes), j.history, j.messages, e, 0)
		}
		p = e.events
	} else {
		from := len(out.arena)
		out.arena = c.appendJob(out.arena, j, start)
		p = out.arena[from:]
	}
	out.batch = append(out.batch, netpoll.Outgoing{ID: c.id, P: p})
	out.starts = append(out.starts, int32(start))
	if len(out.arena) > arenaMaxBytes {
		s.flushBatch(j)
	}
}

// sharedIDBytes is about what the ID adds to an event.
const sharedIDBytes = 64

// onlyIn reports whether ch is the connection's only channel with history, so that the
// IDs of its events are those of all such subscribers.
func (c conn) onlyIn(ch *channel) bool {
	s := c.s
	if ch == nil || c.user != 0 && s.userHistory {
		return false
	}
	if x := c.ext(); x != nil && (x.opening != nil || x.old != "" || len(x.readers) > 0) {
		return false
	}
	for i := c.subs; i != 0; i = s.members.sub(i).next {
		if other := s.members.channels[s.members.sub(i).channel]; other != ch && other.ns != nil {
			return false
		}
	}
	return true
}

// sentEvents is what follows the write of all events in p, of which n bytes are on
// their way. It returns how many events those are. If they are not all, the connection
// is stalled, and the rest of one that was cut in two waits in pending and counts.
func (c conn) sentEvents(p []byte, n, all int) (events int) {
	events = all
	if n < len(p) {
		start, end := wire.Of(wire.EventStream).Unit(p, n)
		events = bytes.Count(p[:start], blockEnd)
		c.markStalled()
		if n > start {
			c.stall(piece{p[start:end], n - start, wire.EventStream}, false)
			events++
		}
	}
	if x := c.ext(); x != nil && n > 0 {
		x.pending.progressTick = c.s.deadlines.tick
	}
	c.s.output.delivered += uint64(events)
	return events
}

// blockEnd ends each event.
var blockEnd = []byte("\n\n")
