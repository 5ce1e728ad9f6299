package shard

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"

	"github.com/roostws/roost/netpoll"
)

// A mailbox is a connection without a socket: a client that polls over HTTP, in a
// protocol whose clients are one client over many requests (Engine.IO). For the shard
// it is a connection like any other, open and with a row: what is written to it lies
// in its mailbox, of PendingMaxBytes, until a request fetches it; while it is full, the
// client is a slow consumer as one is whose socket is full. What the client posts is
// data that has arrived.
//
// mailboxes stands between a shard and its loop for that. The first rows of the shard's
// tables are mailboxes, and those of sockets follow: the IDs of the loop are shifted.

// Mailboxes are the settings of connections without a socket, and what a shard asks of
// their protocol. The functions are called on the loop.
type Mailboxes struct {
	// Max is how many each shard has at most; 0: none.
	Max int
	// Home returns the index of the shard that has to serve a request for a WebSocket,
	// the client of which has a mailbox there; -1 if any may.
	Home func(r *Request) int
	// Read returns what a request wants that came to the path of a Fallback of kind
	// wire.Mailbox. An error refuses it.
	Read func(r *Request) (Errand, error)
	// AppendFrames appends what a client has posted, as frames of a client.
	AppendFrames func(dst, body []byte) ([]byte, error)
	// AppendMail appends frames, whole ones, as a client fetches them, but for rest, which
	// wait for its next request. over reports that the connection ends with them.
	AppendMail func(dst, frames []byte) (mail, rest []byte, over bool)
	// Farewell is the mail of a client that has nothing more to expect; Nothing keeps
	// nobody waiting, and Unknown refuses a client whose mailbox does not exist.
	Farewell, Nothing string
	Unknown           error
}

// An Errand is what a request to a mailbox wants.
type Errand struct {
	// Mailbox is that of the client, 0 if it asks for one; Key proves that it is its own.
	Mailbox netpoll.ID
	Key     uint64
	// Post: it brings something, and fetches nothing.
	Post bool
}

// box is a mailbox.
type box struct {
	id     netpoll.ID
	key    uint64
	mail   []byte // frames
	waiter asker  // the request that waits for mail
	remote netip.AddrPort
	// full: a write was cut short, and OnWritable is due.
	full, queued bool
	// busy: the client tries another connection, and no request of it is to wait.
	busy bool
	// gone: the shard has closed the connection; OnClose is due.
	gone bool
	last string // the mail of the request that waits then
}

// An asker is a request that waits for its response.
type asker struct {
	shard *Shard
	id    netpoll.ID
	lines []byte // header lines of the response
}

// respond gives the asker its response and forgets it.
func (a *asker) respond(response []byte, keep bool) {
	if a.shard != nil {
		a.shard.Respond(a.id, response, keep)
	}
	*a = asker{}
}

// mailboxes is the shard's loop, where there are any.
type mailboxes struct {
	netpoll.Loop
	max   uint32
	limit int // of the bytes in one
	boxes []*box
	// generations are the last ones of each row, free the rows that are not in use.
	generations []uint32
	free        []uint32
	ready       []*box // something happened that a request may wait for
	// origins are the mailboxes in which sessions began that have moved, by their
	// WebSocket, and moved is the other way round: a session keeps its first name, and is
	// found by either ID.
	origins, moved map[netpoll.ID]netpoll.ID
}

// noteOrigin notes that the session of a mailbox is on a WebSocket now.
func (m *mailboxes) noteOrigin(socket, mailbox netpoll.ID) {
	if m.origins == nil {
		m.origins, m.moved = map[netpoll.ID]netpoll.ID{}, map[netpoll.ID]netpoll.ID{}
	}
	m.origins[socket], m.moved[mailbox] = mailbox, socket
}

// Origin returns the ID by which the application knows a connection: that in which its
// session began. Loop only.
func (s *Shard) Origin(id netpoll.ID) netpoll.ID {
	if s.boxes != nil {
		if from := s.boxes.origins[id]; from != 0 {
			return from
		}
	}
	return id
}

// Current returns the connection of a session that is known by this ID. Loop only.
func (s *Shard) Current(id netpoll.ID) netpoll.ID {
	if s.boxes != nil && s.boxes.owns(id) {
		if to := s.boxes.moved[id]; to != 0 {
			return to
		}
	}
	return id
}

// forgetOrigin is for a connection that has ended. A map that many have made large goes with
// the last one.
func (m *mailboxes) forgetOrigin(id netpoll.ID) {
	if m == nil || m.origins == nil {
		return
	}
	delete(m.moved, m.origins[id])
	if delete(m.origins, id); len(m.origins) == 0 {
		m.origins, m.moved = nil, nil
	}
}

// shift is the distance between the loop's IDs and the shard's.
func (m *mailboxes) shift() netpoll.ID { return netpoll.ID(m.max) << 32 }

// find returns a mailbox, nil if id is another connection or has ended.
func (m *mailboxes) find(id netpoll.ID) *box {
	if m == nil || int(id.Slot()) >= len(m.boxes) {
		return nil
	}
	if b := m.boxes[id.Slot()]; b != nil && b.id == id {
		return b
	}
	return nil
}

// owns reports whether an ID is that of a mailbox, if only of one that has ended.
func (m *mailboxes) owns(id netpoll.ID) bool { return id.Slot() < m.max }

// open makes a mailbox, nil if there is no room. opened is the generation of the
// connection that opened last: mailboxes have no count of their own, since generations
// tell which of two connections is older.
func (m *mailboxes) open(opened uint32) *box {
	var row uint32
	switch {
	case len(m.free) > 0:
		row = m.free[0]
		m.free = m.free[1:]
	case len(m.boxes) < int(m.max):
		row = uint32(len(m.boxes))
		m.boxes, m.generations = append(m.boxes, nil), append(m.generations, 0)
	default:
		return nil
	}
	generation := max(opened, m.generations[row]+1, 1)
	m.generations[row] = generation
	var key [8]byte
	_, _ = rand.Read(key[:]) // it never fails
	b := &box{id: netpoll.MakeID(m.Index(), row, generation), key: binary.LittleEndian.Uint64(key[:])}
	m.boxes[row] = b
	return b
}

// release ends a mailbox.
func (m *mailboxes) release(b *box) {
	m.boxes[b.id.Slot()] = nil
	m.free = append(m.free, b.id.Slot())
}

// note has a mailbox looked at before the loop waits again.
func (m *mailboxes) note(b *box) {
	if !b.queued {
		b.queued = true
		m.ready = append(m.ready, b)
		m.Loop.Wake()
	}
}

// take takes the mail out.
func (b *box) take() (mail []byte) {
	mail, b.mail = b.mail, nil
	return mail
}

// Write puts p into a mailbox, all of it unless there is as much already as a client may
// leave there.
func (m *mailboxes) Write(id netpoll.ID, p []byte) (n int, err error) {
	if !m.owns(id) {
		return m.Loop.Write(id-m.shift(), p)
	}
	b := m.find(id)
	switch {
	case b == nil || b.gone:
		return 0, netpoll.ErrClosed
	case len(b.mail) >= m.limit:
		b.full = true
		return 0, nil
	}
	b.mail = append(b.mail, p...)
	m.note(b)
	return len(p), nil
}

// Writev does the same for several slices.
func (m *mailboxes) Writev(id netpoll.ID, bufs [][]byte) (n int, err error) {
	if !m.owns(id) {
		return m.Loop.Writev(id-m.shift(), bufs)
	}
	for _, p := range bufs {
		k, err := m.Write(id, p)
		if n += k; err != nil || k < len(p) {
			return n, err
		}
	}
	return n, nil
}

// WriteBatch gives runs of writes to sockets to the loop.
func (m *mailboxes) WriteBatch(batch []netpoll.Outgoing) {
	for len(batch) > 0 {
		if o := &batch[0]; m.owns(o.ID) {
			o.N, o.Err = m.Write(o.ID, o.P)
			batch = batch[1:]
			continue
		}
		n := 0
		for ; n < len(batch) && !m.owns(batch[n].ID); n++ {
			batch[n].ID -= m.shift()
		}
		m.Loop.WriteBatch(batch[:n])
		for i := range batch[:n] {
			batch[i].ID += m.shift()
		}
		batch = batch[n:]
	}
}

// PauseRead does nothing for a mailbox: what is posted meanwhile is held.
func (m *mailboxes) PauseRead(id netpoll.ID) {
	if !m.owns(id) {
		m.Loop.PauseRead(id - m.shift())
	}
}

// ResumeRead undoes PauseRead.
func (m *mailboxes) ResumeRead(id netpoll.ID) {
	if !m.owns(id) {
		m.Loop.ResumeRead(id - m.shift())
	}
}

// Close ends a mailbox.
func (m *mailboxes) Close(id netpoll.ID) {
	if !m.owns(id) {
		m.Loop.Close(id - m.shift())
	} else if b := m.find(id); b != nil && !b.gone {
		b.gone = true
		m.note(b)
	}
}

// Abort does the same for a mailbox as Close, and drops what is in it.
func (m *mailboxes) Abort(id netpoll.ID) {
	if !m.owns(id) {
		m.Loop.Abort(id - m.shift())
		return
	}
	if b := m.find(id); b != nil {
		b.mail = nil
	}
	m.Close(id)
}

// Renew is for sockets.
func (m *mailboxes) Renew(id netpoll.ID) netpoll.ID {
	if m.owns(id) {
		return 0
	}
	if renewed := m.Loop.Renew(id - m.shift()); renewed != 0 {
		return renewed + m.shift()
	}
	return 0
}

// RemoteAddr returns the address from which a mailbox was asked for.
func (m *mailboxes) RemoteAddr(id netpoll.ID) netip.AddrPort {
	if !m.owns(id) {
		return m.Loop.RemoteAddr(id - m.shift())
	}
	if b := m.find(id); b != nil {
		return b.remote
	}
	return netip.AddrPort{}
}

// FD returns -1 for a mailbox.
func (m *mailboxes) FD(id netpoll.ID) int {
	if m.owns(id) {
		return -1
	}
	return m.Loop.FD(id - m.shift())
}

// Handler returns what the engine has to call.
func (s *Shard) Handler() netpoll.Handler {
	if s.boxes == nil {
		return s
	}
	return shifted{s}
}

// shifted is a shard that has mailboxes, as its loop sees it.
type shifted struct{ *Shard }

func (h shifted) OnOpen(id netpoll.ID, tag uint64) { h.Shard.OnOpen(id+h.boxes.shift(), tag) }
func (h shifted) OnData(id netpoll.ID, p []byte)   { h.Shard.OnData(id+h.boxes.shift(), p) }
func (h shifted) OnWritable(id netpoll.ID)         { h.Shard.OnWritable(id + h.boxes.shift()) }
func (h shifted) OnClose(id netpoll.ID, err error) { h.Shard.OnClose(id+h.boxes.shift(), err) }
