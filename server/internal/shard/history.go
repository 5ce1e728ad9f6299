package shard

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Namespace is what the shards know of a namespace's settings.
type Namespace struct {
	// Messages is how many messages of a channel are kept; 0 is no history.
	Messages int
	// Age is how long they are kept at most.
	Age time.Duration
	// Policy is what happens to a connection that lags by more than that.
	Policy Policy
}

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

// A Position is a place in a channel's history, behind the message Offset.
type Position struct {
	Epoch  string
	Offset uint64
}

// history keeps the last messages of each channel that has history: encoded, in
// order, once for all who resume, lag behind, or ask. Channels are spread over
// stripes, whose locks are held while a message gets its offset and goes into
// every inbox, so that offsets, inboxes and history are of one order.
//
// All positions have one epoch, that of the process. A channel of which nothing
// is kept any more takes no memory: its stripe remembers the highest offset
// that any such channel had (floor), and offsets go on from there if the
// channel comes back, so that an offset never means two messages.
type history struct {
	epoch    string
	maxBytes int64 // of all that is kept
	maxExtra int64 // of all that is kept for laggers beyond the settings

	// Atomic: any goroutine.
	channels, messages, bytes, extra atomic.Int64
	evicted                          atomic.Uint64
}

// A log is the history of one channel. Guarded by its stripe's lock, but for
// what does not change.
type log struct {
	stripe *stripe // immutable
	ns     *Namespace
	name   string

	ring  []*Message // from ring[taken] on
	taken int
	first uint64 // the offset of ring[taken], or of the next message
	bytes int
	// extra are the bytes of those messages that are older than the newest
	// ns.Messages.
	extra int
	// readers are connections that read on from here.
	readers int
	touched time.Duration // when the last message came
}

// messageOverheadBytes is what a kept message is counted with beside its frame.
const messageOverheadBytes = 256

func (m *Message) kept() int { return m.size() + messageOverheadBytes }

// A stripe is a lock and the logs of the channels that hash to it.
type stripe struct {
	mu sync.Mutex
	// Guarded by mu.
	logs  map[string]*log
	floor uint64
	// occupied counts, by channel, the shards with subscribers, if anybody wants to
	// know.
	occupied map[string]int
	_        [64]byte // a cache line each
}

func (l *log) len() int { return len(l.ring) - l.taken }

// tip is the offset of the newest message.
func (l *log) tip() uint64 { return l.first + uint64(l.len()) - 1 }

// append gives m its offset and keeps it.
func (h *history) append(l *log, m *Message, now time.Duration) {
	m.Offset = l.tip() + 1
	l.ring = append(l.ring, m)
	l.touched = now
	size := m.kept()
	l.bytes += size
	h.messages.Add(1)
	h.bytes.Add(int64(size))
	if older := l.len() - l.ns.Messages; older > 0 {
		older := l.ring[l.taken+older-1].kept()
		l.extra += older
		h.extra.Add(int64(older))
	}
	h.evict(l, m.Time)
}

// evict drops what is not to be kept any more: beyond the settings, unless some
// shard has still to fan it out, or somebody reads on from there and the bound
// for laggers is not reached.
func (h *history) evict(l *log, nowMillis int64) {
	oldest := nowMillis - l.ns.Age.Milliseconds()
	for l.len() > 0 {
		m := l.ring[l.taken]
		switch {
		case m.inFlight.Load() > 0:
			return
		case m.Time < oldest:
		case h.bytes.Load() > h.maxBytes:
			h.evicted.Add(1)
		case l.len() <= l.ns.Messages:
			return
		case l.readers > 0 && h.extra.Load() <= h.maxExtra:
			return
		}
		h.dropOldest(l)
	}
}

func (h *history) dropOldest(l *log) {
	m := l.ring[l.taken]
	size := m.kept()
	if l.len() > l.ns.Messages {
		l.extra -= size
		h.extra.Add(-int64(size))
	}
	l.ring[l.taken] = nil
	l.taken++
	l.first++
	l.bytes -= size
	h.messages.Add(-1)
	h.bytes.Add(-int64(size))
	if 2*l.taken >= len(l.ring) {
		n := copy(l.ring, l.ring[l.taken:])
		clear(l.ring[n:])
		l.ring, l.taken = l.ring[:n], 0
	}
}

// since answers up to max messages from offset next on, of together at most
// maxBytes (but one at least), appended to dst.
func (l *log) since(dst []*Message, next uint64, max, maxBytes int) []*Message {
	if next < l.first || next > l.tip() {
		return dst
	}
	for _, m := range l.ring[l.taken+int(next-l.first):] {
		if maxBytes -= m.size(); max == 0 || maxBytes < 0 && len(dst) > 0 {
			break
		}
		dst = append(dst, m)
		max--
	}
	return dst
}

// latest answers the newest message of each key from offset next on.
func (l *log) latest(dst []*Message, next uint64) []*Message {
	if next > l.tip() {
		return dst
	}
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

// log answers the log of a channel, made if need be. With the lock held.
func (h *history) log(st *stripe, name string, ns *Namespace) *log {
	l := st.logs[name]
	if l == nil {
		if st.logs == nil {
			st.logs = map[string]*log{}
		}
		l = &log{stripe: st, ns: ns, name: name, first: st.floor + 1}
		st.logs[name] = l
		h.channels.Add(1)
	}
	return l
}

// tip answers the offset of the channel's newest message. With the lock held.
func (st *stripe) tip(name string) uint64 {
	if l := st.logs[name]; l != nil {
		return l.tip()
	}
	return st.floor
}

// resume tells whether everything behind offset is still there. With the lock held.
func (st *stripe) resume(name string, offset uint64) bool {
	l := st.logs[name]
	if l == nil {
		return offset == st.floor
	}
	return offset <= l.tip() && offset+1 >= l.first
}

// sweep drops what is too old, and the logs that are empty.
func (h *history) sweep(st *stripe, now time.Duration, nowMillis int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for name, l := range st.logs {
		h.evict(l, nowMillis)
		if l.len() == 0 && l.readers == 0 && now-l.touched > l.ns.Age {
			st.floor = max(st.floor, l.tip())
			delete(st.logs, name)
			h.channels.Add(-1)
		}
	}
}
