package hub

import (
	"time"

	"github.com/roostws/roost/server/history"
)

// A Place is where a channel with history stands.
//
// Shards note for each subscriber from where on messages are for it, and compare that
// with the offsets of what is still on its way. Offsets of another epoch may be lower,
// so what is compared is Seq, which goes on over a change of the epoch: offsets of a
// history that took the place of another are shifted behind those.
type Place struct {
	history.Position
	begin, shift uint64
}

// Seq is what stands for the place's offset where offsets of several epochs are
// compared.
func (p Place) Seq() uint32 { return uint32(p.Offset + p.shift) }

// Near returns the offset that a Seq near to the place stands for. It is of another epoch
// unless ok.
func (p Place) Near(seq uint32) (offset uint64, ok bool) {
	behind := p.Seq() - seq
	return p.Offset - uint64(int64(int32(behind))), int64(p.Offset-p.begin) >= int64(int32(behind))
}

// place is where a channel stands. With the lock held.
func (h *Hub) place(st *stripe, floor *uint64, channel string) Place {
	if l := st.histories[channel]; l != nil {
		return l.place()
	}
	return Place{Position: history.Position{Epoch: h.epochOf(*floor), Offset: *floor}}
}

// Place is where a channel stands; empty without history. It keeps nothing of the
// name.
func (h *Hub) Place(channel string) Place {
	if h.Namespace(channel) == nil {
		return Place{}
	}
	st, floor := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	return h.place(st, floor, channel)
}

// AtTip calls f with the place of a channel with history. No message of the channel is
// published until f returns.
func (h *Hub) AtTip(channel string, f func(at Place) error) error {
	st, floor := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	return f(h.place(st, floor, channel))
}

// Resume returns where a channel with history stands. If everything after the
// position since is kept, recovered is true, and the reader, unless it is empty,
// begins there: the caller has to read it to its end, or to close it. since may be
// nil. What is published from now on goes into the inboxes as always.
func (h *Hub) Resume(channel string, since *history.Position) (at Place, r Reader, recovered bool) {
	st, floor := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	at = h.place(st, floor, channel)
	switch l := st.histories[channel]; {
	case since == nil || since.Epoch != at.Epoch || since.Offset > at.Offset:
		return at, Reader{}, false
	case since.Offset == at.Offset:
		return at, Reader{}, true
	case l == nil || since.Offset+1 < l.first:
		return at, Reader{}, false
	default:
		return at, l.read(since.Offset + 1), true
	}
}

// Query returns a part of a channel's history: nothing where it has none.
func (h *Hub) Query(channel string, q history.Query) history.Page {
	if h.Namespace(channel) == nil {
		return history.Page{}
	}
	st, floor := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	page := history.Page{Position: h.place(st, floor, channel).Position}
	known := q.Since == nil || q.Since.Epoch == page.Epoch
	l := st.histories[channel]
	if l != nil {
		l.evict(h.cfg.Now().UnixMilli())
	}
	if l == nil || l.len() == 0 {
		page.Gap = !known || q.Since != nil && q.Since.Offset != page.Offset && !q.Reverse || q.Reverse && l != nil && l.tip() > l.start
		return page
	}
	from, to := l.first, l.tip()+1 // [from, to) is what may be shown
	if kept := uint64(l.ns.Messages); to-from > kept {
		from = to - kept // what is kept for laggers only is not history
	}
	switch since := q.Since; {
	case !known:
		page.Gap = true
	case since != nil && !q.Reverse:
		page.Gap = since.Offset+1 < from || since.Offset >= to
		if since.Offset < to {
			from = max(from, since.Offset+1)
		}
	case since != nil:
		page.Gap = since.Offset > to
		to = min(to, max(since.Offset, from))
	}
	to = max(to, from)
	n := min(uint64(q.Limit), to-from)
	page.More = n < to-from
	if q.Reverse && !page.More && from > l.start+1 {
		page.Gap = true // the page ends where messages were forgotten, and not at the beginning
	}
	if n > 0 {
		page.Messages = make([]history.Message, n)
	}
	for i := range n {
		offset := from + i
		if q.Reverse {
			offset = to - 1 - i
		}
		m := l.ring[l.taken+int(offset-l.first)]
		page.Messages[i] = history.Message{
			Offset: m.Offset, Time: time.UnixMilli(m.Time), Type: m.Opcode(), Payload: m.Payload(), Key: m.Key, From: m.From,
		}
	}
	return page
}
