package socketio

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Recovery is connection state recovery: a client whose connection is lost, and that comes
// back in time, is the same socket, with its ID, its rooms and its Data, and gets the
// events that it has missed. All that is emitted in a namespace, to rooms and single
// sockets too, goes through one history then (its channel, see Channel), with a position
// behind the arguments of each event: that of the last one that a client has got tells what
// it has missed. Volatile events, and those that want an acknowledgement, are in no history.
// The middleware is not asked about a client that comes back.
type Recovery struct {
	// MaxDisconnection is how long a client may be away, from 1 s on. If zero, there is no
	// recovery.
	MaxDisconnection time.Duration
	// SessionsMax is how many clients may be away at a time: the one that is away longest
	// is given up for one more. If zero, 10,000. Each costs some 300 bytes, its rooms and
	// its Data.
	SessionsMax int
	// HistoryMessages is how many events of a namespace are kept, unless the
	// configuration has a namespace for the channels (ChannelNamespace). If zero, 10,000.
	// Limits.HistoryMaxBytes bounds them, too.
	HistoryMessages int
}

func (r *Recovery) on() bool { return r.MaxDisconnection > 0 }

// recovers reports whether clients of the namespace may come back. Those of namespaces that
// the application serves may not.
func (ns *Namespace) recovers() bool { return ns.io.options.Recovery.on() && !ns.application }

// name is what hub.Except knows a socket by.
func (s *Socket) name() string { return Channel(s.ns.name, s.ID()) }

// A lostSocket is one whose client may come back.
type lostSocket struct {
	id    string
	rooms []string
	user  string
	data  any
	began history.Position
	until time.Time
}

// lost is the sockets whose clients may come back. Any goroutine.
type lost struct {
	max, age int64 // immutable
	// cipher turns the ID of a socket, which others may know, into what its client alone
	// has, its pid.
	cipher cipher.Block

	mu sync.Mutex
	// Guarded by mu.
	away  map[string]*lostSocket
	order []*lostSocket // the oldest first; some are not away any more
	// backs are sockets that have come back, by their ID, with the connection on which they
	// did.
	backs map[string]netpoll.ID
	some  atomic.Bool // backs has some
}

func (l *lost) init(r *Recovery) {
	if !r.on() {
		return
	}
	if r.SessionsMax == 0 {
		r.SessionsMax = 10_000
	}
	if r.HistoryMessages == 0 {
		r.HistoryMessages = 10_000
	}
	l.max, l.age, l.cipher = int64(r.SessionsMax), int64(r.MaxDisconnection), newCipher()
	l.away, l.backs = map[string]*lostSocket{}, map[string]netpoll.ID{}
}

// lostSlack is how many sockets that are not away any more may be in the order, beside as
// many as are away.
const lostSlack = 64

// put adds a socket, and returns how many were given up for it.
func (l *lost) put(k *lostSocket) (givenUp int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	k.until = now.Add(time.Duration(l.age))
	l.away[k.id] = k
	l.order = append(l.order, k)
	if len(l.order) > 2*len(l.away)+lostSlack { // most have come back
		l.order = slices.DeleteFunc(l.order, func(k *lostSocket) bool { return l.away[k.id] != k })
	}
	for len(l.order) > 0 {
		first := l.order[0]
		away := l.away[first.id] == first
		switch {
		case away && now.Before(first.until) && len(l.away) <= int(l.max):
			return givenUp
		case away && now.Before(first.until):
			givenUp++
		}
		if away {
			delete(l.away, first.id)
		}
		l.order[0] = nil
		l.order = l.order[1:]
	}
	return givenUp
}

// has returns a socket that is away; nil if there is none.
func (l *lost) has(id string) *lostSocket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.away[id]; k != nil && time.Now().Before(k.until) {
		return k
	}
	return nil
}

// take does the same, and forgets the socket.
func (l *lost) take(id string) *lostSocket {
	k := l.has(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if k == nil || l.away[id] != k {
		return nil // another connection was first
	}
	delete(l.away, id)
	return k
}

// back notes that a socket has come back on a connection, and forget that it has ended.
func (l *lost) back(id string, on netpoll.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.backs[id] = on
	l.some.Store(true)
}

func (l *lost) forget(id string, on netpoll.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backs[id] == on { // not if it has come back on yet another one
		delete(l.backs, id)
	}
	l.some.Store(len(l.backs) > 0)
}

// at returns the connection on which a socket has come back, 0 if it has not.
func (l *lost) at(id string) netpoll.ID {
	if !l.some.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backs[id]
}

// mayComeBack reports whether a client whose connection has ended may go on: neither it nor
// the application has ended it.
func mayComeBack(why shard.Closed) bool {
	return why.ByPeer || why.Err != nil || why.Code == frame.CloseAbnormal || why.Code == frame.CloseGoingAway || why.Code == frame.CloseTryAgainLater
}

// asLost returns what is kept of a socket, which is gone then. Loop only.
func (s *Socket) asLost(sh *shard.Shard, id netpoll.ID) *lostSocket {
	k := &lostSocket{id: s.ID(), user: sh.User(id), data: s.Data()}
	if r := s.peek(); r != nil {
		k.began = r.began
	}
	whole := Channel(s.ns.name, "")
	sh.Channels(id, func(name string) bool {
		if isOf(name, s.ns.name) && name != whole {
			k.rooms = append(k.rooms, strings.TrimPrefix(name, whole+"#"))
		}
		return true
	})
	for _, m := range s.missing() {
		switch i := slices.Index(k.rooms, m.room); {
		case m.leave && i >= 0:
			k.rooms = slices.Delete(k.rooms, i, i+1)
		case !m.leave && i < 0 && m.room != "":
			k.rooms = append(k.rooms, m.room)
		}
	}
	return k
}

// keep keeps a socket for its client. Loop only.
func (io *Server) keep(k *lostSocket, sh *shard.Shard) {
	sh.Count(counters.SessionsKept)
	io.put(k, sh)
}

// put puts a socket among those that are away. Loop only.
func (io *Server) put(k *lostSocket, sh *shard.Shard) {
	for range io.lost.put(k) {
		sh.Count(counters.SessionsGivenUp)
	}
}

// pid returns what the client of a socket shows when it comes back.
func (io *Server) pid(id string) string {
	var b [aes.BlockSize]byte
	_, _ = base64.RawURLEncoding.Decode(b[:], []byte(id))
	io.lost.cipher.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// socketOf returns the ID of the socket of a pid; ok is false if it is none of ours.
func (io *Server) socketOf(pid string) (id string, ok bool) {
	var b [aes.BlockSize]byte
	if len(pid) != socketIDChars {
		return "", false
	}
	if _, err := base64.RawURLEncoding.Decode(b[:], []byte(pid)); err != nil {
		return "", false
	}
	io.lost.cipher.Decrypt(b[:], b[:])
	id = base64.RawURLEncoding.EncodeToString(b[:])
	_, _, ok = io.decodeSocketID(id)
	return id, ok
}

// connectData is what the client of a socket gets that is connected.
func (io *Server) connectData(s *Socket) string {
	id := s.ID()
	if !s.ns.recovers() {
		return `{"sid":"` + id + `"}`
	}
	return `{"sid":"` + id + `","pid":"` + io.pid(id) + `"}`
}

// A position stands behind the arguments of an event as EPOCH:OFFSET.

// appendPlace appends a position to the arguments of an event.
func appendPlace(args []byte, at history.Position) []byte {
	args = bytes.TrimRight(args, " \t\r\n")
	args = append(args[:len(args)-1:len(args)-1], `,"`...)
	args = strconv.AppendUint(append(append(args, at.Epoch...), ':'), at.Offset, 10)
	return append(args, `"]`...)
}

func parsePlace(text string) (at history.Position, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return at, false
	}
	offset, err := strconv.ParseUint(text[i+1:], 10, 64)
	return history.Position{Epoch: text[:i], Offset: offset}, err == nil
}

// A place is where a client that comes back says that it stands.
type place struct {
	at    history.Position
	empty bool // it has got no event
}

// since returns after which position events are missing to the client of a socket: not what was
// before the socket began, whatever the client shows.
func (p place) since(k *lostSocket) history.Position {
	if p.empty || p.at.Epoch == k.began.Epoch && p.at.Offset < k.began.Offset {
		return k.began
	}
	return p.at
}

// returning reads what a client shows that comes back: its socket, empty if it is none that
// may do so, and where it stands.
func (io *Server) returning(ns *Namespace, auth []byte) (id string, at place) {
	if !ns.recovers() || !bytes.Contains(auth, []byte(`"pid"`)) {
		return "", at
	}
	var shown struct {
		PID    string  `json:"pid"`
		Offset *string `json:"offset"`
	}
	if json.Unmarshal(auth, &shown) != nil {
		return "", at
	}
	id, ok := io.socketOf(shown.PID)
	if _, number, _ := io.decodeSocketID(id); number != ns.number {
		return "", at
	}
	if at.empty = shown.Offset == nil; ok && !at.empty {
		at.at, ok = parsePlace(*shown.Offset)
	}
	if !ok {
		return "", at
	}
	return id, at
}

// comeBack connects a client again as the socket that it was, if that can be, and else as a
// new one. Until it is connected the socket may be had by another connection. Loop only.
func (x *clients) comeBack(cl *client, s *Socket, id string, at place) bool {
	x.io().fetch(id, s.conn.Shard().User(s.conn.ID()), func(k *lostSocket) {
		known := func() { s.conn.Do(func(sh *shard.Shard, conn netpoll.ID) { x.cameBack(sh, conn, cl, s, id, at, k) }) }
		if k == nil || !x.rules.Host.Remote() {
			known()
			return
		}
		// With a broker it may take a moment to know the history.
		since := at.since(k)
		var once sync.Once
		forgo := x.rules.Host.Want(Channel(s.ns.name, ""), &since, func() { once.Do(known) })
		if forgo == nil {
			known()
			return
		}
		time.AfterFunc(x.rules.Timeout/2, func() {
			forgo()
			once.Do(known)
		})
	})
	return true
}

// cameBack is what follows when it is known whether a client may be the socket that it was. Loop
// only.
func (x *clients) cameBack(sh *shard.Shard, conn netpoll.ID, cl *client, s *Socket, id string, at place, k *lostSocket) {
	if !sh.Stays(conn) {
		return // the client may try once more
	}
	if user := sh.User(conn); k != nil && user != "" && user != k.user {
		k = nil
	}
	if k != nil && x.io().lost.take(id) != k {
		x.comeBack(cl, s, id, at) // another connection of the client was quicker, and may be lost by now
		return
	}
	if cl.rest != nil {
		delete(cl.rest.connecting, s.ns.name)
	}
	if k == nil || !x.restore(sh, conn, cl, s, k, at) {
		sh.Count(counters.SessionsNotRecovered)
		if !x.beginAdmission(cl, s) {
			sh.HangUp(conn, true)
		}
	}
}

// fetch calls f with a socket whose client comes back as a user, if it has said who it is; nil if
// the socket can't be had. The server may not have noticed yet that its connection is dead: then
// the socket ends now, and is among those that are away.
func (io *Server) fetch(id, user string, f func(k *lostSocket)) {
	if k := io.lost.has(id); k != nil {
		f(k)
		return
	}
	conn, _, _ := io.decodeSocketID(id)
	if at := io.lost.at(id); at != 0 {
		conn = at
	}
	sh := io.ShardOf(conn.Loop())
	if sh == nil {
		f(nil)
		return
	}
	_ = sh.Call(func(sh *shard.Shard) {
		if sh == nil {
			return
		}
		s := io.socketNamed(sh, id)
		if s == nil {
			f(io.lost.has(id)) // it has ended meanwhile
			return
		}
		if why, ends := sh.Ends(s.conn.ID()); s.isLeaving() || ends && !mayComeBack(why) || user != "" && user != sh.User(s.conn.ID()) {
			f(nil)
			return
		}
		k := s.asLost(sh, s.conn.ID())
		s.leave(sh, s.conn.ID(), "transport close")
		io.put(k, sh)
		if cl, _ := s.conn.App.(*client); cl.first == nil {
			sh.Shut(s.conn.ID(), frame.CloseNormal, "the client has come back")
		}
		f(k)
	})
}

// restore makes s the socket that a client had. It returns false if not all that it has
// missed is kept. Loop only.
func (x *clients) restore(sh *shard.Shard, id netpoll.ID, cl *client, s *Socket, k *lostSocket, at place) bool {
	since := at.since(k)
	if since.Epoch == "" {
		return false
	}
	sessions := x.Sessions(sh)
	if !sessions.ResumeByServer(sh, id, Channel(s.ns.name, ""), since, func() {
		if k.user != "" && sh.User(id) == "" {
			sh.SetUser(id, k.user, nil)
		}
		sh.Ready(id)
		s.with(func(r *rare) { r.id, r.data, r.began = k.id, k.data, since })
		if x.rules.Listens() {
			sessions.Tell(sh, id, protocol.Event{Type: protocol.EventConnected, Namespace: s.ns.name, Socket: k.id})
		}
	}) {
		return false
	}
	for _, room := range k.rooms {
		sessions.SubscribeByServer(sh, id, Channel(s.ns.name, room))
	}
	x.io().lost.back(k.id, s.conn.Began())
	sh.Count(counters.SessionsRecovered)
	x.connected(cl, s)
	return true
}

// emitKept sends an event to the socket by way of its namespace's history: it is there when
// emitKept returns, whatever happens to the connection then.
func (s *Socket) emitKept(m message) error {
	if s.isGone() {
		return ErrGone
	}
	b := Broadcast{namespace: s.ns}
	if b.publish(Channel(s.ns.name, ""), m, except{Only: &hub.Group{Names: []string{s.name()}}}) == nil {
		return nil
	}
	return s.behind(func(sh *shard.Shard, id netpoll.ID) { // it gets it, if only now
		sh.Push(id, s.packet(typeEvent, m, nil), m.blobs)
	})
}

// behind calls f on the socket's loop, in order with what is emitted to it.
func (s *Socket) behind(f doer) error {
	if !s.ns.recovers() {
		return s.do(f)
	}
	// Not through the queue of the connection: what is emitted does not wait there.
	if s.isGone() || s.conn.Shard().Behind(func(sh *shard.Shard) {
		if !s.isGone() {
			f(sh, s.conn.ID())
		}
	}) != nil {
		return ErrGone
	}
	return nil
}

// A move is a room that the socket joins, or leaves, as soon as its loop comes to it. If the
// connection ends before that, the socket comes back so all the same.
type move struct {
	room  string
	leave bool
}

// moveKept has f, on the loop, make the moves, which are noted until then.
func (s *Socket) moveKept(rooms []string, leave bool, f doer) error {
	s.mu.Lock()
	defer s.mu.Unlock() // so that the moves and the queue of the connection have one order
	if s.gone || s.do(func(sh *shard.Shard, id netpoll.ID) {
		f(sh, id)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.rare.moves = s.rare.moves[len(rooms):]; len(s.rare.moves) == 0 {
			s.rare.moves = nil
		}
	}) != nil {
		return ErrGone
	}
	if s.rare == nil {
		s.rare = &rare{}
	}
	for _, room := range rooms {
		s.rare.moves = append(s.rare.moves, move{room, leave})
	}
	return nil
}

// missing ends the socket for those who want to move it, and returns the moves that are not
// made.
func (s *Socket) missing() []move {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	if s.rare == nil {
		return nil
	}
	return s.rare.moves
}
