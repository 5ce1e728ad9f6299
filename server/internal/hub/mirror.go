package hub

import (
	"strings"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// A mirror is this node's window on a channel of a broker: it exists while shards have
// subscribers of it, and for a while after. Guarded by its stripe's lock.
//
//	           Attach                 Attached                 read to the end
//	(nothing) ────────► asked ──────────────► reading ─────────────────────────► live
//	                      ▲                    │   ▲                              │
//	                      └── Interrupted ─────┘   └── a hole, another epoch ─────┤
//	                      └────────────────────────── Interrupted ────────────────┘
//
// Only a live mirror hands on what the broker delivers. While it reads, that waits in
// ahead: reading ends when there is no hole before it.
type mirror struct {
	asked, attached, live, reading bool
	// again: what is read now does not do; read once more.
	again bool
	// known: there was a time when the mirror was live, so that its history is one of the
	// broker's, and connections may subscribe.
	known bool
	// interest counts the shards that have subscribers.
	interest int
	// used is when it was last wanted, in Unix milliseconds.
	used int64
	// loading are the first pages of a history that takes the place of another.
	loading []*Message
	// ahead are messages without a hole between them that came while the mirror was not
	// live, and wanted is the place of the last one that came. Those that had come when the
	// read began, before early and wantedEarly, are of an epoch that is over if the page has
	// another one.
	ahead               []*broker.Message
	aheadBytes          int
	early               int
	wanted, wantedEarly history.Position
	// waiting are called when the mirror is known, and what is read by then has been
	// handed on.
	waiting map[*waiter]bool
}

// A waiter waits for a mirror.
type waiter struct{ done func() }

const (
	// aheadMaxBytes bounds ahead. Beyond it, everything is read.
	aheadMaxBytes = 1 << 20
	// lingerMillis is how long a channel without subscribers stays attached: clients
	// reconnect.
	lingerMillis = 60_000
	// readAgain is after how long a read that has failed is tried again.
	readAgain = 200 * time.Millisecond
)

// attach asks the broker for a channel, once.
func (h *Hub) attach(channel string, m *mirror) {
	if !m.asked && h.started.Load() {
		m.asked = true
		h.broker.Attach(channel)
	}
}

// want returns the mirror of a channel, made and asked for if need be. With its stripe's
// lock held.
func (h *Hub) want(channel string) *mirror {
	st, _ := h.stripe(channel)
	if st.mirrors == nil {
		st.mirrors = map[string]*mirror{}
	}
	m := st.mirrors[channel]
	if m == nil {
		m = &mirror{}
		st.mirrors[channel] = m
		h.kept.mirrors.Add(1)
	}
	m.used = h.cfg.Now().UnixMilli()
	h.attach(channel, m)
	return m
}

// Want asks for a channel of the broker. It returns nil if connections may subscribe to it
// now; if not, done is called when they may, unless the caller has called forgo, which it
// has to when it waits no longer. Where they resume at since, this node has to know first
// what was there. The channel stays for a while. Any goroutine.
func (h *Hub) Want(channel string, since *history.Position, done func()) (forgo func()) {
	st, _ := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	m := h.want(channel)
	switch l := st.histories[channel]; {
	case !m.known && h.goesOnAlone(channel):
		return nil
	case !m.known:
	case l != nil && since != nil && since.Epoch == l.epoch && since.Offset > l.tip():
		// The client comes from a node that was faster. Without the broker it has to wait.
		if m.attached {
			h.readOn(st, channel, m)
		}
	default:
		return nil
	}
	w := &waiter{done}
	if m.waiting == nil {
		m.waiting = map[*waiter]bool{}
	}
	m.waiting[w] = true
	return func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		delete(m.waiting, w)
	}
}

// Interest notes that a shard has begun (change 1) or ended (-1) to have subscribers of a
// channel. Any goroutine.
func (h *Hub) Interest(shard int, channel string, change int) {
	h.row("", channel)[shard].Add(int32(change))
	if h.broker != nil {
		h.concern(channel, change)
	}
}

// InterestUser is Interest for the channel of a user of whom a shard has connections.
func (h *Hub) InterestUser(shard int, user string, change int) {
	h.row(UserPrefix, user)[shard].Add(int32(change))
	if h.broker != nil {
		h.concern(UserChannel(user), change)
	}
}

// concern counts what a channel is attached for.
func (h *Hub) concern(channel string, change int) {
	st, _ := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	h.want(channel).interest += change
}

// sweepMirrors detaches the channels of a stripe that nothing wants. With its lock held.
func (h *Hub) sweepMirrors(st *stripe, now int64) {
	for channel, m := range st.mirrors {
		if m.interest > 0 || len(m.waiting) > 0 || m.reading || now-m.used < lingerMillis {
			continue
		}
		if l := st.histories[channel]; l != nil {
			if l.readers > 0 {
				continue
			}
			h.forget(st, l)
		}
		delete(st.mirrors, channel)
		h.kept.mirrors.Add(-1)
		if m.asked {
			h.broker.Detach(channel)
		}
	}
}

// inbound is the hub as its broker sees it.
type inbound struct{ h *Hub }

// Deliver takes a message of the broker. It waits while an inbox has no room: then the
// broker is not read.
func (in inbound) Deliver(bm *broker.Message) {
	h := in.h
	for h.anyFull() {
		select {
		case <-h.cfg.Done:
			return
		case <-time.After(time.Millisecond):
		}
	}
	if bm.Type == broker.TypeNotice {
		if h.cfg.Cluster != nil {
			h.cfg.Cluster.Notice(bm.Channel, bm.Payload)
		}
		return
	}
	st, _ := h.stripe(bm.Channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	m := st.mirrors[bm.Channel]
	if m == nil {
		return // detached
	}
	if bm.Position.Offset == 0 || h.Namespace(bm.Channel) == nil {
		h.pass(bm)
		return
	}
	l := st.histories[bm.Channel]
	switch {
	case !m.live || l == nil:
		m.keepAhead(bm)
	case bm.Position.Epoch == l.epoch && bm.Position.Offset <= l.tip():
	case bm.Position.Epoch == l.epoch && bm.Position.Offset == l.tip()+1:
		h.extend(l, bm)
	default:
		h.kept.holes.Add(1)
		m.keepAhead(bm)
		h.readOn(st, bm.Channel, m)
	}
}

// pass hands on a message without a place. With the stripe's lock held.
func (h *Hub) pass(bm *broker.Message) {
	e := h.entry(bm)
	e.Over = bm.Spread
	_ = h.deliver(e) // an error is the end of the server
}

// extend adds the next message to a history and hands it on. With the lock held.
func (h *Hub) extend(l *History, bm *broker.Message) {
	e := h.entry(bm)
	e.History = l
	m := e.Message
	to, n := h.listeners(&e)
	m.unserved.Store(int32(n))
	l.add(m, bm.Time)
	l.evict(h.cfg.Now().UnixMilli())
	_ = h.deliverTo(to, n, e)
}

// entry returns a broker's message as an entry of inboxes.
func (h *Hub) entry(bm *broker.Message) Entry {
	e := Entry{To: ToChannel, Name: bm.Channel, Message: h.mirrored(bm), Tally: h.takeTally(bm.Tag)}
	if user, ok := strings.CutPrefix(bm.Channel, UserPrefix); ok {
		e.To, e.Name = ToUser, user
	} else if bm.Channel == "" {
		e.To = ToAll
	}
	return e
}

// mirrored returns a broker's message without its place.
func (h *Hub) mirrored(bm *broker.Message) *Message {
	m := NewMessage(frame.Opcode(bm.Type), bm.Payload)
	m.Channel, m.Key = bm.Channel, bm.Key
	if m.Except = h.uncarry(bm.From); m.Except == nil {
		m.From = bm.From
	}
	return m
}

// Attached begins to read what came before. What comes from now on is in Deliver.
func (in inbound) Attached(channel string) {
	h := in.h
	st, _ := h.stripe(channel)
	st.mu.Lock()
	m := st.mirrors[channel]
	if m == nil {
		st.mu.Unlock()
		return
	}
	m.attached = true
	release := func() {}
	if h.Namespace(channel) != nil {
		h.readOn(st, channel, m)
	} else {
		m.live, m.known = true, true
		release = m.release()
	}
	st.mu.Unlock()
	if h.cfg.Cluster != nil {
		h.cfg.Cluster.Attached(channel)
	}
	release()
}

// Interrupted stops the affected mirrors: messages may be missing.
func (in inbound) Interrupted(affected func(channel string) bool, _ error) {
	h := in.h
	h.kept.interruptions.Add(1)
	h.tallies.Range(func(tag, t any) bool { // what they wait for may never arrive
		if affected == nil || affected(t.(awaited).channel) {
			h.endTally(tag.(uint64))
		}
		return true
	})
	if h.cfg.Cluster != nil {
		defer h.cfg.Cluster.Interrupted()
	}
	for i := range h.stripes {
		st := &h.stripes[i]
		st.mu.Lock()
		for channel, m := range st.mirrors {
			if affected == nil || affected(channel) {
				m.attached, m.live = false, false
				m.dropAhead()
				m.loading, m.wanted = nil, history.Position{}
			}
		}
		st.mu.Unlock()
	}
}

// release returns a function that calls what waits, without the lock.
func (m *mirror) release() func() {
	waiting := m.waiting
	m.waiting = nil
	return func() {
		for w := range waiting {
			w.done()
		}
	}
}

// keepAhead keeps a message that came too early.
func (m *mirror) keepAhead(bm *broker.Message) {
	if n := len(m.ahead); n > 0 {
		if last := m.ahead[n-1].Position; bm.Position.Epoch != last.Epoch || bm.Position.Offset != last.Offset+1 {
			m.dropAhead()
		}
	}
	if m.wanted = bm.Position; m.aheadBytes+len(bm.Payload) > aheadMaxBytes {
		m.dropAhead()
		return
	}
	m.ahead = append(m.ahead, bm)
	m.aheadBytes += len(bm.Payload) + overheadBytes
}

func (m *mirror) dropAhead() { m.ahead, m.aheadBytes, m.early = nil, 0, 0 }

// readOn reads what comes after a channel's history, or after the pages that are loaded.
// With the lock held.
func (h *Hub) readOn(st *stripe, channel string, m *mirror) {
	m.live = false
	if m.reading {
		m.again = true
		return
	}
	m.reading, m.again = true, false
	m.early, m.wantedEarly = len(m.ahead), m.wanted
	h.kept.reads.Add(1)
	var since *history.Position
	if n := len(m.loading); n > 0 {
		since = &history.Position{Epoch: m.loading[n-1].Epoch, Offset: m.loading[n-1].Offset}
	} else if l := st.histories[channel]; l != nil && m.known {
		since = &history.Position{Epoch: l.epoch, Offset: l.tip()}
	}
	h.whenRoom(func() {
		h.broker.Read(channel, h.Keep(channel), since, func(page broker.Page, err error) {
			h.read(st, channel, m, page, err)
			h.pageTaken()
		})
	})
}

// read takes a page.
func (h *Hub) read(st *stripe, channel string, m *mirror, page broker.Page, err error) {
	st.mu.Lock()
	m.reading = false
	release := func() {}
	switch {
	case st.mirrors[channel] != m || !m.attached:
		// Detached, or read when it is attached again.
	case m.again:
		h.readOn(st, channel, m)
	case err != nil:
		time.AfterFunc(readAgain, func() {
			st.mu.Lock()
			defer st.mu.Unlock()
			if st.mirrors[channel] == m && m.attached && !m.live {
				h.readOn(st, channel, m)
			}
		})
	case h.take(st, channel, m, page):
		m.live, m.known = true, true
		m.wanted = history.Position{}
		release = m.release()
	default:
		h.readOn(st, channel, m)
	}
	st.mu.Unlock()
	release()
}

// take adds a page to a channel's history, or begins another one with it, and reports
// whether nothing is missing now. With the lock held.
func (h *Hub) take(st *stripe, channel string, m *mirror, page broker.Page) bool {
	l := st.histories[channel]
	first, last := page.Position.Offset+1, page.Position.Offset
	if n := len(page.Messages); n > 0 {
		first, last = page.Messages[0].Position.Offset, page.Messages[n-1].Position.Offset
	}
	goesOn := l != nil && m.known && page.Position.Epoch == l.epoch && first <= l.tip()+1 && page.Position.Offset >= l.tip()
	switch n := len(m.loading); {
	case n > 0 && (m.loading[n-1].Epoch != page.Position.Epoch || m.loading[n-1].Offset+1 < first):
		m.loading = nil // what was to follow is not kept any more: from the beginning
		return false
	case n > 0 || !goesOn:
		for _, bm := range page.Messages {
			if k := len(m.loading); k == 0 || bm.Position.Offset == m.loading[k-1].Offset+1 {
				one := h.mirrored(bm)
				one.Epoch, one.Offset, one.Time = bm.Position.Epoch, bm.Position.Offset, bm.Time
				m.loading = append(m.loading, one)
				h.endTally(bm.Tag)
			}
		}
		if last < page.Position.Offset && len(page.Messages) > 0 {
			return false
		}
		loaded := m.loading
		m.loading = nil
		l = h.begin(st, channel, page.Position, loaded)
	default:
		for _, bm := range page.Messages {
			if bm.Position.Offset == l.tip()+1 {
				h.extend(l, bm)
			}
		}
		if l.tip() < page.Position.Offset {
			return false
		}
	}
	return h.catchUp(l, m)
}

// catchUp adds what came while l was read, and reports whether nothing is missing now.
func (h *Hub) catchUp(l *History, m *mirror) bool {
	ahead, early := m.ahead, m.early
	m.dropAhead()
	for k, bm := range ahead {
		switch at := bm.Position; {
		case at.Epoch != l.epoch && k < early:
		case at.Epoch == l.epoch && at.Offset <= l.tip():
		case at.Epoch == l.epoch && at.Offset == l.tip()+1:
			h.extend(l, bm)
		default:
			wanted := m.wanted
			for _, bm := range ahead[k:] {
				m.keepAhead(bm)
			}
			m.wanted = wanted
			return false
		}
	}
	if m.wanted.Epoch != l.epoch {
		return m.wanted == m.wantedEarly
	}
	return m.wanted.Offset <= l.tip()
}
