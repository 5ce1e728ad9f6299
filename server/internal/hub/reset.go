package hub

import (
	"strings"

	"github.com/roostws/roost/server/history"
)

// Reset is the Notice of the message that tells subscribers of a new epoch. The
// message's Epoch and Offset are the position after which delivery goes on.
type Reset struct{}

// Reset ends the history of a channel and begins another one at a position of another
// epoch: what was published in between may be lost. In the order of the channel's
// messages, subscribers are told so by a message with the Notice Reset; a connection that
// still has to read the old history is told when it has room, and goes on behind what
// has been published until then.
func (h *Hub) Reset(channel string, to history.Position) error {
	e := Entry{To: ToChannel, Name: channel, Message: NewNotice(Reset{})}
	if user, ok := strings.CutPrefix(channel, UserPrefix); ok {
		e.To, e.Name = ToUser, user
	}
	ns := h.Namespace(channel)
	st, floor := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	at := h.place(st, floor, channel)
	old := st.histories[channel]
	delete(st.histories, channel)
	l := h.history(st, floor, channel, ns)
	l.epoch, l.start, l.begin, l.first, l.touched = to.Epoch, 0, to.Offset, to.Offset+1, h.cfg.Now().UnixMilli()
	// The notice counts as one in the order of the channel: who subscribes from now on
	// is behind it.
	l.shift = at.Offset + at.shift + 1 - to.Offset
	if old != nil {
		old.end()
	}
	e.History, e.Message.Channel, e.Message.Epoch, e.Message.Offset = l, channel, to.Epoch, to.Offset
	return h.deliver(e)
}

// end drops everything that is kept: another history takes this one's place.
func (l *History) end() {
	for l.ended = true; l.len() > 0; {
		l.dropOldest()
	}
	l.hub.kept.channels.Add(-1)
}
