package engineio

import (
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Options are the settings of an Engine.
type Options struct {
	// Path is that of the requests.
	Path string
	// SessionsMax is how many clients may poll at a time, for each loop. If zero, 4,096. One
	// that is not asking costs some 600 bytes, and what waits for it.
	SessionsMax int
	// PingInterval and PingTimeout are what clients are told. If zero, the server's
	// (Timeouts.PingInterval, PongTimeout). A client ends a connection on which no ping
	// comes for both together.
	PingInterval, PingTimeout time.Duration
}

// An App is what lies above Engine.IO. Its methods run on the event loops and must not
// block.
type App interface {
	// Opened reports a new client. Query are the values of its request that are not
	// the protocol's, and parts those that Application.Parts selects, nil without.
	Opened(c *Conn, query url.Values, parts *protocol.UpgradeParts)
	// Message reports a message of a client: what is behind the packet's type, or binary
	// data. p is valid until it returns. It returns false if the client may not go on.
	Message(c *Conn, p []byte, binary bool) bool
	// Closed reports that a client is gone. clean: it has said so, or the application.
	Closed(c *Conn, why shard.Closed)
}

// An Engine is Engine.IO for one server. It has the methods of a protocol.Keeper but for
// those by which messages are encoded.
type Engine struct {
	options Options
	app     App
	rules   *protocol.Rules
	loops   [netpoll.MaxLoops]*loop                       // each made and used by its own loop
	shards  [netpoll.MaxLoops]atomic.Pointer[shard.Shard] // of loops that have had a client
}

// loop is what an Engine has for one event loop.
type loop struct {
	sessions *protocol.Sessions
	conns    table
	// probes are connections on which the client of a mailbox tries a WebSocket.
	probes map[netpoll.ID]probe
}

// A probe is a WebSocket to which a client may move that polls.
type probe struct {
	mailbox netpoll.ID
	probed  bool
}

// New makes an Engine.
func New(options Options, app App) *Engine {
	if options.SessionsMax == 0 {
		options.SessionsMax = 4096
	}
	return &Engine{options: options, app: app}
}

// Start takes the server's rules.
func (e *Engine) Start(rules *protocol.Rules) {
	e.rules = rules
	if e.options.PingInterval == 0 {
		e.options.PingInterval = rules.PingInterval
	}
	if e.options.PingTimeout == 0 {
		e.options.PingTimeout = rules.PongTimeout
	}
}

// Path is that of the requests.
func (e *Engine) Path() string { return e.options.Path }

// Heartbeat returns the heartbeats: the server asks, and the client answers.
func (e *Engine) Heartbeat() protocol.Heartbeat {
	return protocol.Heartbeat{Ask: string(rune(packetPing)), Answer: string(rune(packetPong)), Paced: true}
}

// Mailboxes are the clients that poll.
func (e *Engine) Mailboxes() shard.Mailboxes {
	return shard.Mailboxes{
		Max:          e.options.SessionsMax,
		Home:         e.home,
		Read:         e.read,
		AppendFrames: appendFrames,
		AppendMail:   appendMail,
		Farewell:     string(rune(packetClose)),
		Nothing:      string(rune(packetNoop)),
		Unknown:      errUnknown,
	}
}

// home returns the loop that has the mailbox of a client that wants a WebSocket.
func (e *Engine) home(r *handshake.Request) int {
	if string(r.Path) != e.options.Path {
		return -1
	}
	q, err := readQuery(r, true)
	if err != nil || q.errand.Mailbox == 0 {
		return -1
	}
	return q.errand.Mailbox.Loop()
}

// read returns what a request wants that polls.
func (e *Engine) read(r *handshake.Request) (shard.Errand, error) {
	q, err := readQuery(r, false)
	return q.errand, err
}

// Admit checks a request for a session, or for a WebSocket to move one to.
func (e *Engine) Admit(r *handshake.Request) (kept any, err error) {
	q, err := readQuery(r, handshake.IsUpgrade(r))
	if err != nil {
		return nil, err
	}
	if a := e.rules.Application; a != nil && q.errand.Mailbox == 0 {
		q.parts = a.Parts.Of(func(name string) string { return string(r.Get(name)) }, string(r.RawQuery))
	}
	return q, nil
}

// loop returns what belongs to the loop of s.
func (e *Engine) loop(s *shard.Shard) *loop {
	at := &e.loops[s.Loop().Index()]
	if *at == nil {
		*at = &loop{probes: map[netpoll.ID]probe{}}
		e.shards[s.Loop().Index()].Store(s)
	}
	return *at
}

// Open opens a session, or notes where a client may move to.
func (e *Engine) Open(x *protocol.Sessions, s *shard.Shard, id netpoll.ID, kept any) (client bool) {
	q, _ := kept.(request)
	l := e.loop(s)
	l.sessions = x
	if m := q.errand.Mailbox; m != 0 {
		if key, ok := s.MailboxKey(m); !ok || key != q.errand.Key || l.tried(s, m) {
			s.Shut(id, frame.ClosePolicyViolation, "no such session")
			return false
		}
		l.probes[id] = probe{mailbox: m}
		s.SetExpiry(id, e.rules.Timeout)
		return false
	}
	c := &Conn{shard: s, began: id, id: id}
	l.conns.put(id, c)
	e.sayOpen(s, id)
	e.on(s, c, func() bool { e.app.Opened(c, q.values, q.parts); return true })
	return true
}

// tried reports whether a client tries a WebSocket already.
func (l *loop) tried(s *shard.Shard, mailbox netpoll.ID) bool {
	for id, p := range l.probes {
		if p.mailbox == mailbox && s.IsOpen(id) {
			return true
		}
	}
	return false
}

// sayOpen sends the first packet.
func (e *Engine) sayOpen(s *shard.Shard, id netpoll.ID) {
	key, polls := s.MailboxKey(id)
	p := appendSID([]byte(`0{"sid":"`), id, key)
	p = append(p, `","upgrades":[`...)
	if polls {
		p = append(p, `"websocket"`...)
	}
	p = strconv.AppendInt(append(p, `],"pingInterval":`...), e.options.PingInterval.Milliseconds(), 10)
	p = strconv.AppendInt(append(p, `,"pingTimeout":`...), e.options.PingTimeout.Milliseconds(), 10)
	p = strconv.AppendInt(append(p, `,"maxPayload":`...), int64(e.rules.MessageMaxBytes), 10)
	s.Reply(id, frame.OpText, append(p, '}'))
}

// Received acts on a packet.
func (e *Engine) Received(s *shard.Shard, id netpoll.ID, p []byte, binary bool) {
	l := e.loop(s)
	if pr, ok := l.probes[id]; ok {
		e.probe(s, l, id, pr, p, binary)
		return
	}
	c := l.conns.get(id)
	switch {
	case c == nil:
	case binary:
		e.message(s, c, p, true)
	case len(p) == 0:
		s.HangUp(id, true)
	default:
		switch p[0] {
		case packetMessage:
			e.message(s, c, p[1:], false)
		case packetClose:
			s.HangUp(id, false)
		case packetPong, packetNoop:
		default:
			s.HangUp(id, true)
		}
	}
}

func (e *Engine) message(s *shard.Shard, c *Conn, p []byte, binary bool) {
	if !e.on(s, c, func() bool { return e.app.Message(c, p, binary) }) {
		s.HangUp(c.id, true)
	}
	s.HoldPublisher(c.id)
}

// What an application of Engine.IO has no use for by itself.

// Name is what lists call the protocol.
func (e *Engine) Name() string { return "engine.io" }

// Dismissed says nothing: the close packet is all.
func (e *Engine) Dismissed(*shard.Shard, netpoll.ID, frame.CloseCode, string) {}

// Expired ends a connection.
func (e *Engine) Expired(s *shard.Shard, id netpoll.ID) { s.HangUp(id, true) }

// Conn returns the client of a connection, nil if there is none. Loop only.
func (e *Engine) Conn(s *shard.Shard, id netpoll.ID) *Conn { return e.loop(s).conns.get(id) }

// Sessions returns those of the loop of s, which has had a client. Loop only.
func (e *Engine) Sessions(s *shard.Shard) *protocol.Sessions { return e.loop(s).sessions }

// ShardOf returns the shard of a loop, nil if it has had no client. Any goroutine.
func (e *Engine) ShardOf(loop int) *shard.Shard {
	if loop < 0 || loop >= len(e.shards) {
		return nil
	}
	return e.shards[loop].Load()
}

// Each calls f for each client, on its loop, soon. Any goroutine.
func (e *Engine) Each(f func(s *shard.Shard, c *Conn)) {
	for i := range e.shards {
		if s := e.shards[i].Load(); s != nil {
			_ = s.Call(func(s *shard.Shard) {
				if s == nil {
					return
				}
				e.loop(s).conns.each(func(c *Conn) { f(s, c) })
			})
		}
	}
}

// probe acts on a packet on a WebSocket to which a client may move.
func (e *Engine) probe(s *shard.Shard, l *loop, id netpoll.ID, pr probe, p []byte, binary bool) {
	switch {
	case !binary && string(p) == "2probe" && !pr.probed && s.Busy(pr.mailbox, true):
		l.probes[id] = probe{pr.mailbox, true}
		s.Reply(id, frame.OpText, []byte("3probe"))
	case !binary && len(p) == 1 && p[0] == packetUpgrade && pr.probed:
		s.Pause(id) // what follows is for the session
		s.Move(pr.mailbox, id, func(ok bool) { e.moved(s, pr.mailbox, id, ok) })
	default:
		l.forgetProbe(s, id)
		s.HangUp(id, true)
	}
}

// forgetProbe lets the client of a mailbox go on polling, or try another WebSocket.
func (l *loop) forgetProbe(s *shard.Shard, id netpoll.ID) {
	mailbox := l.probes[id].mailbox
	if delete(l.probes, id); !l.tried(s, mailbox) {
		s.Busy(mailbox, false)
	}
}

// moved follows the move of a session.
func (e *Engine) moved(s *shard.Shard, from, to netpoll.ID, ok bool) {
	l := e.loop(s)
	c := l.conns.get(from)
	if !ok || c == nil {
		s.HangUp(to, true)
		return
	}
	delete(l.probes, to)
	l.conns.remove(from)
	l.conns.put(to, c)
	c.moveTo(to)
	l.sessions.Moved(from, to)
	s.Unpause(to)
}

// Closed ends a session, or a probe: then its client goes on polling.
func (e *Engine) Closed(s *shard.Shard, id netpoll.ID, why shard.Closed) (client bool) {
	l := e.loop(s)
	if _, ok := l.probes[id]; ok {
		l.forgetProbe(s, id)
		return false
	}
	c := l.conns.get(id)
	if c == nil {
		return false
	}
	l.conns.remove(id)
	if s.IsMailbox(id) {
		for other, pr := range l.probes {
			if pr.mailbox == id {
				s.HangUp(other, true)
			}
		}
	}
	e.app.Closed(c, why)
	c.end()
	return true
}
