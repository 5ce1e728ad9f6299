// Package shard is the heart of the server: one event loop and all that it owns. See
// the map in the server package's doc.go.
//
// Except where noted, everything in a Shard belongs to the loop's goroutine: there is
// no lock on the data path. What may be called from elsewhere says so in its first
// line, and goes through the inbox.
//
// One turn of a shard is what the engine calls: OnData and its like for each socket
// that is ready, then OnWake, which takes the inbox, adds what was published to the
// jobs of its targets, and makes one slice of writes; OnTick looks after deadlines.
// Tests call the same methods with a fake loop and a fake clock (sim_test.go).
//
// From top to bottom, each room using those below it:
//
//	shard.go hooks.go config.go             what the engine calls, the server's part
//	ops.go inbox.go backlog.go              the way in from other goroutines
//	protocol.go query.go                    what protocols and the server ask for
//	intake.go admit.go address.go           from a new socket to an open connection
//	tls.go head.go
//	plain.go stream.go poll.go attach.go compression.go
//	receive.go rates.go turn.go pause.go    what arrives
//	channels.go names.go                    subscribers and users
//	fanout.go jobs.go spread.go             sending it: the design is in fanout.go
//	except.go                               messages for some of a channel's subscribers
//	lag.go journal.go readers.go            catching up
//	ping.go close.go drain.go deadlines.go  silence and the end
//	output.go message.go                    bytes to a socket
//	conn.go slots.go ext.go                 a connection
//	fifo.go chunks.go stats.go              containers, counters
package shard

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/offheap"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/wire"
)

// A Group is what the shards of one server have in common.
type Group struct {
	// Immutable once the loops run.
	shards []*Shard
	limit  int64

	// Any goroutine.
	addresses intake.Limits
	refusals  intake.Refusals
	counted   counters.Shared

	hub *hub.Hub // immutable once the loops run

	// Atomic: any goroutine.
	connections atomic.Int64 // accepted and not closed, without those that are refused for lack of room
	held        atomic.Int64 // connections that are paused because of backlog
	stopping    atomic.Bool  // the server is to stop, and balancers are told
}

// NewGroup makes the common state for limit connections.
func NewGroup(limit int) *Group {
	return &Group{limit: int64(limit), refusals: intake.Refusals{Log: slog.New(slog.DiscardHandler)}}
}

// LogRefusals makes the group write refusals that a wrong setting may have caused
// to log, before any event.
func (g *Group) LogRefusals(log *slog.Logger) { g.refusals.Log = log }

// Stop makes /readyz on the clients' port say that the server is to stop. Any
// goroutine.
func (g *Group) Stop() { g.stopping.Store(true) }

// Connections is the number of open sockets that were not refused for lack of
// room, now: an engine's own counter is that of its loops' last turns. Any
// goroutine.
func (g *Group) Connections() int64 { return g.connections.Load() }

// SetShards gives the group its members, before any event, and makes the hub that
// publishes to them.
func (g *Group) SetShards(shards []*Shard, cfg hub.Config) *hub.Hub {
	g.shards = shards
	inboxes := make([]hub.Inbox, len(shards))
	for i := range shards {
		inboxes[i] = shards[i]
	}
	g.hub = hub.New(cfg, inboxes)
	return g.hub
}

// A Shard is one loop and all that it owns. Each role is a type that owns its fields;
// what involves several of them is a method of Shard, or of conn.
type Shard struct {
	// Immutable after New.
	cfg       *Config
	protocols []Protocol
	group     *Group
	loop      netpoll.Loop
	index     int // the loop's
	hooks     Hooks
	log       *slog.Logger
	clock     func() time.Duration

	// Any goroutine.
	inbox inbox
	count counters.Loop // published at the end of each callback

	// Owned by the loop: connections.
	slots     slotTable
	rare      rareTable
	deadlines deadlines
	intake    intakeState
	input     input
	output    output
	rates     rates
	turns     turns
	polls     pollQueue
	boxes     *mailboxes // nil if there are none

	// Owned by the loop: subscriptions, and what is on its way to them.
	users       *names
	userHistory bool // users' own channels have history
	members     members
	jobs        jobQueue
	journal     journal
	readers     readerQueue
	spreads     []*spread

	// Owned by the loop.
	opened         uint32 // the generation of the connection that opened last: they count up
	random         *rand.Rand
	drain          drain
	heldPublishers []netpoll.ID
}

// SpareSlots are rows beyond MaxConnections, for connections that are refused with a
// response because there is no room.
const SpareSlots = 1024

// New makes the shard of loop. It runs on the loop's goroutine or before it
// starts.
func New(cfg *Config, group *Group, loop netpoll.Loop, hooks Hooks) (*Shard, error) {
	s := &Shard{
		cfg: cfg, group: group, loop: loop, index: loop.Index(), hooks: hooks, log: cfg.Logger, clock: cfg.Clock,
		random: rand.New(rand.NewPCG(cfg.Seed, uint64(loop.Index()))),
		rare:   newRareTable(), users: newNames(), members: newMembers(), userHistory: cfg.Hub.Namespaces["user"] != nil,
		input: input{config: cfg.Decoder},
	}
	s.deadlines.set(cfg)
	s.deadlines.tick = s.deadlines.now(s.clock())
	s.journal.maxBytes = cfg.LagMaxBytes
	for _, p := range cfg.Protocols {
		s.protocols = append(s.protocols, p.framed())
	}
	s.input.decoder = s.input.take()
	s.intake.refusalsLeft = refusalsPerTick
	s.intake.requests.Max, s.intake.tlsPlaces.Max = cfg.HandshakesMax, cfg.TLSHandshakes
	s.intake.admission = intake.Admission{Max: cfg.AdmitQueueMax, Rate: cfg.AdmitRate, Patience: cfg.HandshakeTimeout / 2}
	s.intake.policy = cfg.Policy
	if cfg.Deflate != nil {
		s.intake.policy.Negotiate = s.negotiate
	}
	if most := cfg.Mailboxes.Max; most > 0 {
		s.boxes = &mailboxes{Loop: loop, max: uint32(most), limit: cfg.PendingMaxBytes}
		s.loop = s.boxes
	}
	n := cfg.MaxConnections + SpareSlots + cfg.Mailboxes.Max
	err := errors.Join(
		reserve(&s.slots.Table, n, true), reserve(&s.deadlines.Table, n, true),
		reserve(&s.deadlines.messages, n, cfg.IdleTimeout > 0), reserve(&s.deadlines.expiry, n, len(cfg.Protocols) > 0),
		reserve(&s.rates.tokens, n, cfg.MessageRate > 0), reserve(&s.intake.addresses, n, cfg.Addresses.Tracked()))
	if err != nil {
		s.Free()
		return nil, fmt.Errorf("connection tables (lower MaxConnections?): %w", err)
	}
	return s, nil
}

// reserve gives a table n rows, if it is needed.
func reserve[T any](t *offheap.Table[T], n int, needed bool) (err error) {
	if needed {
		*t, err = offheap.New[T](n)
	}
	return err
}

// table is a table with a row for each connection.
type table interface {
	Clear(used int)
	Free()
}

func (s *Shard) tables() []table {
	return []table{&s.slots.Table, &s.deadlines.Table, &s.deadlines.messages, &s.deadlines.expiry, &s.rates.tokens, &s.intake.addresses}
}

// Free gives the tables back, when no event can come any more.
func (s *Shard) Free() {
	for _, o := range s.inbox.shut() {
		if o.kind == opCall && o.call != nil {
			o.call(nil)
		}
	}
	for _, t := range s.tables() {
		t.Free()
	}
}

func (s *Shard) hub() *hub.Hub { return s.group.hub }

// Clock returns the time since some moment, monotonic. Any goroutine.
func (s *Shard) Clock() time.Duration { return s.clock() }

// Loop is the shard's event loop.
func (s *Shard) Loop() netpoll.Loop { return s.loop }

// OnOpen takes a new connection in. What is in the inbox comes first: what was
// published, or was to be closed, before the connection opened is not for it.
func (s *Shard) OnOpen(id netpoll.ID, tag uint64) {
	defer s.count.Publish()
	if s.inbox.entries.Load() > 0 {
		s.takeInbox()
	}
	s.noteOpened(id)
	i := id.Slot()
	if int(i) >= len(s.slots.Rows) {
		s.count.Inc(counters.RefusedFull)
		s.loop.Abort(id)
		return
	}
	s.slots.high = max(s.slots.high, i+1)
	s.slots.used++
	s.slots.Rows[i] = slot{generation: id.Generation(), openedTick: s.deadlines.tick, heardTick: micros(s.clock())}
	c := conn{s, id, &s.slots.Rows[i]}
	c.setDeadline(s.deadlines.tick + s.deadlines.after.handshake)
	if s.cfg.TLS != nil && tag >= uint64(s.cfg.FirstTLS) && tag < netpoll.AttachTag {
		c.flags = flagTLS
	}
	s.count.Inc(counters.Accepted)
	if s.deadlines.expiry.Rows != nil {
		s.deadlines.expiry.Rows[i] = 0
	}
	if s.cfg.MessageRate > 0 {
		s.rates.tokens.Rows[i] = 0 // what the one before in this slot has spent
	}
	if s.group.connections.Add(1) > s.group.limit || s.drain.begun {
		s.group.connections.Add(-1)
		c.flags |= flagRefused
	}
	if s.drain.begun {
		// The drain may have passed this slot: do not wait long for a request.
		s.deadlines.dueBy(i, s.deadlines.tick+s.deadlines.after.close)
	}
	if tag >= netpoll.AttachTag {
		c.adopted(tag)
		return
	}
	if c.openAddress(tag) {
		c.admit()
	}
}

// noteOpened notes that a connection has opened, or another session on it.
func (s *Shard) noteOpened(id netpoll.ID) {
	if g := id.Generation(); int32(g-s.opened) > 0 { // an attached one opens later than it got its ID
		s.opened = g
	}
}

// OnData handles what a socket brought.
func (s *Shard) OnData(id netpoll.ID, p []byte) {
	defer s.count.Publish()
	c, ok := s.find(id)
	if !ok {
		return
	}
	s.count.Add(counters.BytesReceived, int64(len(p)))
	switch {
	case c.state == stateProxy:
		c.handleProxy(p)
	case c.flags&flagTLS != 0:
		c.onDataTLS(p)
	default:
		c.onPlain(p)
	}
	s.answerPolls()
}

// onPlain handles what the client said, TLS taken off.
func (c conn) onPlain(p []byte) {
	switch c.state {
	case stateOpen, stateClosing:
		switch c.kind() {
		case wire.EventStream: // behind its request the client has nothing to say
		case wire.Poll:
			c.pipeline(p)
		default:
			c.receive(p)
		}
	case stateAnswered:
		c.pipeline(p)
	case stateKept:
		c.begin(p)
	case stateHead:
		c.handleHead(p)
	case statePlain:
		c.handlePlainBody(p)
	case stateAuthorizing:
		c.hold(p)
	}
}

// OnClose takes a connection out.
func (s *Shard) OnClose(id netpoll.ID, err error) {
	defer s.count.Publish()
	c, ok := s.find(id)
	if !ok {
		return
	}
	why := Closed{Code: frame.CloseAbnormal, Reason: "connection lost", ByPeer: errors.Is(err, io.EOF), Err: err}
	if x := c.ext(); x != nil {
		if x.decided {
			why = x.verdict
		}
		why.Missed = x.missed
		s.count.Add(counters.PendingBytes, -int64(x.pending.bytes))
	}
	why.Age = time.Duration(s.deadlines.tick-c.openedTick) * s.cfg.TickInterval
	if c.flags&flagOpened != 0 {
		s.count.Add(counters.Connections, -1)
		c.countWire(-1)
		s.count.Inc(counters.Closed)
		s.countClose(why)
		s.callClosed(id, why)
	}
	c.hungUp()
	if c.flags&flagStalled != 0 {
		s.count.Add(counters.Stalled, -1)
	}
	if c.flags&flagsPaused != 0 {
		s.count.Add(counters.Paused, -1)
	}
	if c.flags&flagRefused == 0 {
		s.group.connections.Add(-1)
	}
	c.closeAddress()
	c.vacate()
	c.stopLagging()
	c.stopReadingAll()
	c.leaveAll()
	c.dropUser()
	c.freeExt()
	s.boxes.forgetOrigin(id)
	*c.slot = slot{}
	c.setDeadline(0)
	s.slots.used--
}

func (s *Shard) callClosed(id netpoll.ID, why Closed) {
	defer s.recoverHook(0, "Close")
	s.hooks.Closed(s, id, why)
}

// OnWake takes the inbox and makes one slice of writes.
func (s *Shard) OnWake() (again bool) {
	defer s.count.Publish()
	began := s.clock()
	s.takeInbox()
	s.admitWaiting()
	again = s.fanOut()
	again = s.stepSpreads() || again
	s.stepDrain()
	again = s.readOnAll() || again
	again = s.resumeYielded() || again
	again = s.finishPolls() || again
	s.resumePublishers()
	s.count.Observe(counters.TurnTime, s.clock()-began)
	return again
}

// takeInbox executes all entries of the inbox.
func (s *Shard) takeInbox() {
	ops := s.inbox.take()
	subscribed := int64(0)
	for i := range ops {
		if ops[i].kind.maySubscribe() {
			subscribed++
		}
		s.do(&ops[i])
	}
	if subscribed > 0 {
		s.inbox.subscribing.Add(-subscribed)
	}
	clear(ops) // an idle loop keeps no message alive
}

// trim gives memory back after the last connection has left.
func (s *Shard) trim() {
	if s.slots.used > 0 || s.slots.high == 0 {
		return
	}
	for _, t := range s.tables() {
		t.Clear(int(s.slots.high))
	}
	s.slots.high = 0
	s.rare, s.members = newRareTable(), newMembers()
	s.input.spare, s.input.buffer, s.jobs.spare = nil, nil, nil
}
