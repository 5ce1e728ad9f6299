package hub

import (
	"strings"

	"github.com/roostws/roost/server/history"
)

// Reset is the Notice of the message that tells subscribers that messages of their channel
// may be lost. The message's Epoch and Offset are the position after which delivery goes
// on.
type Reset struct{}

// Reset ends the history of a channel and begins another one at a position of another
// epoch: what was published in between may be lost. In the order of the channel's
// messages, subscribers are told so by a message with the Notice Reset; a connection that
// still has to read the old history is told when it has room, and goes on behind what
// has been published until then.
func (h *Hub) Reset(channel string, to history.Position) {
	st, _ := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	h.begin(st, channel, to, nil)
}

// begin is Reset to a history that has some messages already, which are those up to the
// position. With the lock held.
func (h *Hub) begin(st *stripe, channel string, to history.Position, kept []*Message) *History {
	_, floor := h.stripe(channel)
	at := h.place(st, floor, channel)
	old := st.histories[channel]
	delete(st.histories, channel)
	l := h.history(st, floor, channel, h.Namespace(channel))
	l.epoch, l.start, l.begin = to.Epoch, 0, to.Offset
	l.first = to.Offset + 1 - uint64(len(kept))
	for _, m := range kept {
		l.add(m, m.Time)
	}
	l.touched = h.cfg.Now().UnixMilli()
	l.evict(l.touched)
	// The notice counts as one in the order of the channel: who subscribes from now on
	// is behind it.
	l.shift = at.Offset + at.shift + 1 - to.Offset
	if old != nil {
		old.end()
	}
	e := Entry{To: ToChannel, Name: channel, Message: NewNotice(Reset{}), History: l}
	if user, ok := strings.CutPrefix(channel, UserPrefix); ok {
		e.To, e.Name = ToUser, user
	}
	e.Message.Channel, e.Message.Epoch, e.Message.Offset = channel, to.Epoch, to.Offset
	_ = h.deliver(e) // an error is the end of the server
	return l
}

// end drops everything that is kept: another history takes this one's place.
func (l *History) end() {
	for l.ended = true; l.len() > 0; {
		l.dropOldest()
	}
	l.hub.kept.channels.Add(-1)
}
