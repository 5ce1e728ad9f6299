package protocol

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/gcra"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/internal/throttle"
)

// Rules are what all the loops of a server have in common. Immutable but for what
// is said otherwise.
type Rules struct {
	Host        Host
	Codecs      []Codec
	Application *Application
	// Namespaces are the rules of channels, by the part of the name before the colon.
	Namespaces map[string]*Namespace
	// JoinLeave: some namespace has it.
	JoinLeave bool
	// Events is called with what happens, on the loops; nil if nothing listens.
	Events func(*Event)
	Logger *slog.Logger

	NameMaxBytes     int
	MessageMaxBytes  int
	DataMaxDepth     int
	SubscriptionsMax int
	PingInterval     time.Duration // 0: no heartbeats
	PongTimeout      time.Duration
	// Timeout bounds the time until a successful Connect, and a question to the
	// application.
	Timeout time.Duration

	// Namer is the protocol that has names of its own for clients, nil if none has.
	Namer Namer

	registrar Registrar // nil if no protocol is one
	grants    grants
	lines     sync.Map // *throttle.Throttle by message of the log; any goroutine
}

// A Namespace is the rules of a namespace's channels.
type Namespace struct {
	Subscribe, Publish Access
	History, Presence  bool
	HistoryAge         time.Duration
	JoinLeave          bool
	JoinLeaveMax       int // connections of one loop
}

// tellsMembers reports whether anything wants to know which connections join and
// leave channels.
func (r *Rules) tellsMembers() bool { return r.Events != nil || r.JoinLeave }

// plainNamespace is for channels without a colon where nothing else is configured.
var plainNamespace = Namespace{Subscribe: AccessAnyone, Publish: AccessNobody}

// NamespaceOf returns the part of a channel's name before the first colon.
func NamespaceOf(channel string) string {
	name, _, ok := strings.Cut(channel, ":")
	if !ok {
		return ""
	}
	return name
}

// Sessions are the clients of one loop that speak a protocol. All methods are
// called by the loop's goroutine.
type Sessions struct {
	rules *Rules
	byID  map[netpoll.ID]*session // those that need one

	nextDue  time.Time // when one of them has to be looked at; zero: none
	lastLook time.Time
	task     task // the command that is carried out
	out      Packets
}

// NewSessions makes those of one loop.
func NewSessions(rules *Rules) *Sessions { return &Sessions{rules: rules} }

// A session is what the server remembers of a connection beside its place in the
// shard's tables: until it has connected, and then only if it has a deadline, a
// limit or permissions of its own, or while the application is asked.
type session struct {
	// connectBy is the end of the time to connect, zero for one that has connected.
	connectBy time.Time
	failures  int
	// channels are those that Handler.Upgrade or Authorize, or Conn.Join, gave before
	// Connect.
	channels []string
	upgrade  *UpgradeParts
	token    string // of the request

	expires map[string]time.Time // when single subscriptions expire
	granted []string             // see grants
	allow   Permissions
	info    []byte
	rate    int         // commands a second, 0 for no limit
	tokens  gcra.Bucket // of commands

	waiting *waiting // nil while it waits for nothing
}

// connectTries bounds how often a client may show a wrong token.
const connectTries = 3

// bare reports that there is nothing to remember.
func (n *session) bare() bool {
	return n.connectBy.IsZero() && len(n.expires) == 0 && len(n.granted) == 0 && len(n.allow.Subscribe) == 0 && len(n.allow.Publish) == 0 &&
		n.info == nil && n.rate == 0 && n.waiting == nil
}

// of returns the session of a connection, made if need be.
func (x *Sessions) of(id netpoll.ID) *session {
	n := x.byID[id]
	if n == nil {
		if x.byID == nil {
			x.byID = map[netpoll.ID]*session{}
		}
		n = &session{}
		x.byID[id] = n
	}
	return n
}

// settle forgets a session that is bare.
func (x *Sessions) settle(id netpoll.ID) {
	if n := x.byID[id]; n != nil && n.bare() {
		x.drop(id)
	}
}

// drop forgets a session. A map that a storm has made large goes with the last one.
func (x *Sessions) drop(id netpoll.ID) {
	if delete(x.byID, id); len(x.byID) == 0 {
		x.byID = nil
	}
}

// Moved follows a session from one connection to another one of the same loop.
func (x *Sessions) Moved(from, to netpoll.ID) {
	if n := x.byID[from]; n != nil {
		x.byID[to] = n
		delete(x.byID, from)
	}
}

// name returns a connection's name for everything but logs. It stays the same when a
// session moves to another connection.
func (x *Sessions) name(s *shard.Shard, id netpoll.ID) string { return x.rules.Host.Name(s.Origin(id)) }

// Info returns what presence shows of a connection, JSON or nothing.
func (x *Sessions) Info(id netpoll.ID) []byte {
	if n := x.byID[id]; n != nil {
		return n.info
	}
	return nil
}

// codec returns that of a connection, nil for one that speaks raw messages.
func (x *Sessions) codec(s *shard.Shard, id netpoll.ID) Codec {
	if n := s.Protocol(id); n != 0 {
		return x.rules.Codecs[n-1]
	}
	return nil
}

// Open begins a connection that has to Connect. channels are joined then, and upgrade
// is given to the application. token is that of a Connect without one.
func (x *Sessions) Open(id netpoll.ID, channels []string, upgrade *UpgradeParts, token string) {
	n := x.of(id)
	n.connectBy, n.channels, n.upgrade, n.token = time.Now().Add(x.rules.Timeout), channels, upgrade, token
	x.due(n.connectBy)
}

// Closed ends a connection, of whatever protocol.
func (x *Sessions) Closed(s *shard.Shard, id netpoll.ID, c shard.Closed) {
	x.releaseGrants(s, id)
	if s.WasReady(id) {
		x.eachChannel(s, id, x.left)
		if x.rules.KeeperOf(s.Protocol(id)) == nil {
			x.event(s, id, Event{Type: EventDisconnected, Code: c.Code, Reason: c.Reason, Age: c.Age})
		}
	}
	x.drop(id)
}

// say sends a client what a codec appends.
func (x *Sessions) say(s *shard.Shard, id netpoll.ID, push func(c Codec, out *Packets)) {
	c := x.codec(s, id)
	if c == nil {
		return
	}
	push(c, &x.out)
	x.flush(s, id)
}

// flush sends what is in x.out.
func (x *Sessions) flush(s *shard.Shard, id netpoll.ID) {
	x.out.Each(func(op frame.Opcode, payload []byte) { s.Reply(id, op, payload) })
	x.out.Reset()
}

// shut closes a connection with a Close frame.
func (x *Sessions) shut(s *shard.Shard, id netpoll.ID, e Ending) {
	if c := x.codec(s, id); c != nil {
		code, reason := c.Close(e)
		s.Shut(id, code, reason)
	}
}

// Gap tells a client of messages that it will not get.
func (x *Sessions) Gap(s *shard.Shard, id netpoll.ID, channel, epoch string, from, to uint64) {
	x.say(s, id, func(c Codec, out *Packets) { c.Gap(out, channel, epoch, from, to) })
}

// Reset tells a client that a channel has a new epoch.
func (x *Sessions) Reset(s *shard.Shard, id netpoll.ID, channel string, at history.Position) {
	x.say(s, id, func(c Codec, out *Packets) { c.Reset(out, channel, at) })
}

// log writes a line that clients, or an application, can cause again and again: a
// few of each message in an interval, with the number of those held back.
func (x *Sessions) log(level slog.Level, message string, args ...any) {
	x.rules.log(level, message, args...)
}

func (rules *Rules) log(level slog.Level, message string, args ...any) {
	if !rules.Logger.Enabled(context.Background(), level) {
		return
	}
	line, _ := rules.lines.LoadOrStore(message, &throttle.Throttle{Lines: linesPerInterval})
	if held, ok := line.(*throttle.Throttle).Pass(); ok {
		rules.Logger.Log(context.Background(), level, message, append(args, "lines_held", held)...)
	}
}

// linesPerInterval is how many lines with one message are logged in a
// throttle.Interval.
const linesPerInterval = 5

// due makes sure that Tick looks at the sessions at t.
func (x *Sessions) due(t time.Time) {
	if !t.IsZero() && (x.nextDue.IsZero() || t.Before(x.nextDue)) {
		x.nextDue = t
	}
}

// Tick ends what has come to its end, once a second at most.
func (x *Sessions) Tick(s *shard.Shard) {
	now := time.Now()
	if x.nextDue.IsZero() || now.Before(x.nextDue) || now.Sub(x.lastLook) < time.Second {
		return
	}
	x.lastLook, x.nextDue = now, time.Time{}
	for id, n := range x.byID {
		x.expire(s, id, n, now)
	}
}

// expire looks at one session.
func (x *Sessions) expire(s *shard.Shard, id netpoll.ID, n *session, now time.Time) {
	over := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if over(n.connectBy) && !n.asking() { // a question has its own deadline
		n.connectBy = time.Time{} // once
		s.Count(counters.HandshakeTimeouts)
		x.shut(s, id, EndUnconnected)
		return
	}
	for channel, t := range n.expires {
		if over(t) {
			delete(n.expires, channel)
			s.Count(counters.TokensExpired)
			x.unsubscribed(s, id, channel, &Error{Code: CodeTokenExpired, Message: "the token for this channel has expired"})
			continue
		}
		x.due(t)
	}
	x.due(n.connectBy)
	x.settle(id)
}

// Expired ends a connection for which no new token came.
func (x *Sessions) Expired(s *shard.Shard, id netpoll.ID) {
	s.Count(counters.TokensExpired)
	x.shut(s, id, EndExpired)
}
