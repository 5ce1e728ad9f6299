package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/server/history"
)

// Policy is what happens to a slow consumer of a channel with history.
type Policy uint8

const (
	// PolicyDisconnect closes it.
	PolicyDisconnect Policy = iota
	// PolicySkip tells it of the gap and goes on with the newest message.
	PolicySkip
	// PolicyLatest gives it the newest message of each key only.
	PolicyLatest
)

// A Namespace is what the hub knows of a namespace's settings.
type Namespace struct {
	// Messages is how many messages of a channel are kept.
	Messages int
	// Age is how long they are kept at most.
	Age time.Duration
	// Policy is what happens to a connection that lags by more than that.
	Policy Policy
}

// A stripe is a lock, and the histories of the channels that hash to it.
type stripe struct {
	mu sync.Mutex
	// Guarded by mu.
	histories map[string]*History
	// floors are the highest offsets of histories that were forgotten, by a hash of
	// their channels.
	floors [floorsPerStripe]uint64
	// occupied counts, by channel, the shards with subscribers, if Config.Occupancy
	// is set.
	occupied map[string]int
	// mirrors are by channel, with a broker.
	mirrors map[string]*mirror
	_       [64]byte // a cache line each
}

// A History is the last messages of one channel: encoded, in order, once for all
// connections that resume, lag or ask. Guarded by its stripe's lock, but for what
// is immutable.
type History struct {
	// Immutable.
	hub    *Hub
	stripe *stripe
	ns     *Namespace
	name   string
	epoch  string
	floor  *uint64 // in the stripe
	start  uint64  // the offset before the first message of the epoch
	begin  uint64  // the offset at which this node began to have messages of the epoch
	shift  uint64  // see Place

	ended bool // another history has taken this one's place, see Reset

	ring  []*Message // from ring[taken] on
	taken int
	first uint64 // the offset of ring[taken], or of the next message
	bytes int
	// extra is the bytes of those messages that are older than the newest
	// ns.Messages.
	extra int
	// readers are connections that read on from here.
	readers int
	touched int64 // when the last message came, in Unix milliseconds
}

// kept is what all histories keep. Atomic: any goroutine.
type kept struct {
	channels, messages, bytes, extra, readers atomic.Int64
	evicted                                   atomic.Uint64
	// With a broker.
	mirrors                                    atomic.Int64
	reads, holes, interruptions, publishErrors atomic.Uint64
}

// Channel is the name of the history's channel. Any goroutine.
func (l *History) Channel() string { return l.name }

// Policy is that of the channel's namespace. Any goroutine.
func (l *History) Policy() Policy { return l.ns.Policy }

// Epoch names this history. Any goroutine.
func (l *History) Epoch() string { return l.epoch }

// At is the place of the channel after its message at offset. Any goroutine.
func (l *History) At(offset uint64) Place {
	return Place{history.Position{Epoch: l.epoch, Offset: offset}, l.begin, l.shift}
}

// Seq returns what stands for an offset where offsets of several epochs are compared:
// see Place. Any goroutine.
func (l *History) Seq(offset uint64) uint32 { return uint32(offset + l.shift) }

func (l *History) len() int { return len(l.ring) - l.taken }

// tip is the offset of the newest message.
func (l *History) tip() uint64 { return l.first + uint64(l.len()) - 1 }

func (l *History) place() Place { return l.At(l.tip()) }

// append gives m its place and keeps it.
func (l *History) append(m *Message, now time.Time) {
	l.add(m, now.UnixMilli())
	l.evict(m.Time)
}

// add is append without dropping anything.
func (l *History) add(m *Message, millis int64) {
	m.Epoch, m.Offset, m.Time = l.epoch, l.tip()+1, millis
	m.Begins = m.Offset == max(l.start, l.begin)+1
	l.ring = append(l.ring, m)
	l.touched = m.Time
	size := m.keptBytes()
	l.bytes += size
	k := &l.hub.kept
	k.messages.Add(1)
	k.bytes.Add(int64(size))
	if older := l.len() - l.ns.Messages; older > 0 {
		size := l.ring[l.taken+older-1].keptBytes()
		l.extra += size
		k.extra.Add(int64(size))
	}
}

// evict drops what is not to be kept any more: what is beyond the settings, unless
// a shard has still to fan it out, or a connection reads on from there and the
// bound for laggers is not reached.
func (l *History) evict(nowMillis int64) {
	oldest := nowMillis - l.ns.Age.Milliseconds()
	k := &l.hub.kept
	for l.len() > 0 {
		m := l.ring[l.taken]
		switch {
		case m.unserved.Load() > 0:
			return
		case m.Time < oldest:
		case k.bytes.Load() > int64(l.hub.cfg.HistoryMaxBytes):
			k.evicted.Add(1)
		case l.len() <= l.ns.Messages:
			return
		case l.readers > 0 && k.extra.Load() <= int64(l.hub.cfg.LagMaxBytes):
			return
		}
		l.dropOldest()
	}
}

func (l *History) dropOldest() {
	size := l.ring[l.taken].keptBytes()
	k := &l.hub.kept
	if l.len() > l.ns.Messages {
		l.extra -= size
		k.extra.Add(-int64(size))
	}
	l.ring[l.taken] = nil
	l.taken++
	l.first++
	l.bytes -= size
	k.messages.Add(-1)
	k.bytes.Add(-int64(size))
	if 2*l.taken >= len(l.ring) {
		n := copy(l.ring, l.ring[l.taken:])
		clear(l.ring[n:])
		l.ring, l.taken = l.ring[:n], 0
	}
}

// since appends up to frames messages from offset next on to dst, of together at
// most maxBytes (but one at least).
func (l *History) since(dst []*Message, next uint64, frames, maxBytes int) []*Message {
	if next < l.first || next > l.tip() {
		return dst
	}
	for _, m := range l.ring[l.taken+int(next-l.first):] {
		if maxBytes -= m.Size(); frames == 0 || maxBytes < 0 && len(dst) > 0 {
			break
		}
		dst = append(dst, m)
		frames--
	}
	return dst
}

// latest appends the newest message of each key from offset next on to dst.
func (l *History) latest(dst []*Message, next uint64) []*Message {
	rest := l.ring[l.taken+int(max(next, l.first)-l.first):]
	newest := make(map[string]uint64, 16)
	for _, m := range rest {
		newest[m.Key] = m.Offset
	}
	for _, m := range rest {
		if newest[m.Key] == m.Offset {
			dst = append(dst, m)
		}
	}
	return dst
}

// Clear drops the messages of a channel's history and returns how many there were.
// Those that a shard has still to fan out stay, and all after them. Positions go on: a
// connection that resumes behind a dropped message is not recovered, and one that reads
// on from there falls under Namespace.Policy. Any goroutine.
func (h *Hub) Clear(channel string) (n int) {
	st, _ := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	for l := st.histories[channel]; l != nil && l.len() > 0 && l.ring[l.taken].unserved.Load() == 0; n++ {
		l.dropOldest()
	}
	return n
}

// idle reports whether the history may be forgotten.
func (l *History) idle(nowMillis int64) bool {
	return l.len() == 0 && l.readers == 0 && nowMillis-l.touched > l.ns.Age.Milliseconds()
}

// Sweep drops what is too old, and the histories that are empty, of one stripe
// after the other: 64 calls look at all of them. One goroutine.
func (h *Hub) Sweep() {
	st := &h.stripes[h.swept]
	h.swept = (h.swept + 1) % len(h.stripes)
	now := h.cfg.Now().UnixMilli()
	st.mu.Lock()
	defer st.mu.Unlock()
	for name, l := range st.histories {
		l.evict(now)
		if l.idle(now) && st.mirrors[name] == nil {
			h.forget(st, l)
		}
	}
	if h.broker != nil {
		h.sweepMirrors(st, now)
	}
}

// forget drops a history. With the lock held.
func (h *Hub) forget(st *stripe, l *History) {
	for l.len() > 0 {
		l.dropOldest()
	}
	*l.floor = max(*l.floor, l.tip()+l.shift)
	delete(st.histories, l.name)
	h.kept.channels.Add(-1)
}
