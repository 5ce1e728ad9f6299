// Package shard is the heart of the server: one event loop and all that it
// owns. See the map in the server package's doc.go.
//
// Except where noted, everything in a Shard belongs to the loop's goroutine:
// there is no lock on the data path. What may be called from elsewhere says so
// in its first line, and goes through the inbox.
//
// One turn of a shard is what the engine calls: OnData and its like for each
// socket that is ready, then OnWake, which takes the inbox, adds what was
// published to the jobs of its targets, and makes one slice of writes; OnTick
// looks after deadlines. Tests call the same methods with a fake loop and a
// fake clock (sim_test.go).
package shard

import (
	"crypto/tls"
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
	"github.com/roostws/roost/server/internal/gcra"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/intake"
)

// Why connections end, for those that ended without a Close frame.
var (
	ErrHandshakeTimeout = errors.New("server: the request or its authorisation took too long")
	ErrPongTimeout      = errors.New("server: no answer to a ping")
	ErrWriteStalled     = errors.New("server: the peer took no byte of waiting output for WriteStallTimeout")
	ErrCloseTimeout     = errors.New("server: the peer did not answer our Close frame")
	// ErrTooManyFromAddress: ConnectionsPerAddress was reached.
	ErrTooManyFromAddress = errors.New("server: too many connections from one address")
	// ErrTooOftenFromAddress: ConnectRatePerAddress was reached.
	ErrTooOftenFromAddress = errors.New("server: one address connects too often")
)

// Closed tells why a connection ended.
type Closed struct {
	// Code and Reason are the Close frame's: the peer's if ByPeer, else ours.
	// Without a Close frame the code is 1006.
	Code   frame.CloseCode
	Reason string
	ByPeer bool
	// Err is what went wrong, nil if nothing.
	Err error
	// Age is how long the WebSocket connection was open, in whole ticks.
	Age time.Duration
	// Missed counts messages that SlowDrop left out.
	Missed uint64
}

// Hooks are what the shard asks and tells the server. They are called on the
// loop and must not block.
type Hooks interface {
	// Upgrade decides on a request (see Upgrade).
	Upgrade(s *Shard, u *Upgrade)
	// Open reports a new WebSocket connection. g is valid until it returns.
	Open(s *Shard, id netpoll.ID, g *Grant)
	// Message reports a message; payload is valid until it returns and may be
	// changed.
	Message(s *Shard, id netpoll.ID, op frame.Opcode, payload []byte)
	// Closed reports the end of a connection that Open reported.
	Closed(s *Shard, id netpoll.ID, c Closed)
	// Gap reports that messages of a channel, from offset from to offset to of this
	// epoch, will not come to a connection that speaks a protocol.
	Gap(s *Shard, id netpoll.ID, channel, epoch string, from, to uint64)
	// Tick is called at each tick.
	Tick(s *Shard)
	// Expired tells that the time that SetExpiry gave is over.
	Expired(s *Shard, id netpoll.ID)
	// Occupied tells, with Config.Occupancy, that a channel has its first subscriber,
	// or has lost its last. It is called with a lock held: nothing may be published
	// or subscribed meanwhile.
	Occupied(s *Shard, channel string, occupied bool)
	// Joined and Left tell of what Join and Leave have done; at is where messages
	// begin, in channels with history. For a connection that has not connected in its protocol
	// they have done nothing: it may be made good at Ready.
	Joined(s *Shard, id netpoll.ID, channel string, at hub.Position)
	Left(s *Shard, id netpoll.ID, channel string)
	// OpFailed reports a join that was refused.
	OpFailed(s *Shard, id netpoll.ID, channel string, err error)
	// ServesHTTP tells whether plain HTTP requests are answered by HTTP.
	ServesHTTP() bool
	// HTTP starts work on a plain request, head and body, which it owns; the
	// answer comes by Respond. An error refuses the request at once.
	HTTP(s *Shard, id netpoll.ID, request []byte) error
}

// Config is what the shards of one server share. Nothing changes it.
type Config struct {
	MaxConnections    int // of the whole server, for the size of the tables
	HandshakeMaxBytes int
	HandshakeTimeout  time.Duration
	Policy            handshake.Policy
	Addresses         intake.Addresses
	// TLS is what listeners from the index FirstTLS on speak, with at most
	// TLSHandshakes handshakes of one shard under way.
	TLS           *tls.Config
	FirstTLS      int
	TLSHandshakes int
	// HandshakesMax is how many connections of one shard may be in the middle of
	// their request.
	HandshakesMax int
	// Deflate is what we want of permessage-deflate; nil turns it off.
	Deflate         *frame.DeflateConfig
	DeflateDecoder  *frame.DecoderConfig
	Decoder         *frame.DecoderConfig
	MessageMaxBytes int
	MessageRate     int
	PendingMaxBytes int
	SlowDrop        bool
	LagMaxBytes     int
	// Hub is what the hub of these shards needs to know.
	Hub hub.Config
	// Protocols are what connections may speak beside raw messages, at most
	// hub.ProtocolsMax.
	Protocols         []Protocol
	SubscriptionsMax  int
	InboxMaxEntries   int
	InboxMaxBytes     int
	PublishPauseBytes int
	FanoutSlice       int // FanoutSlice, but in tests
	FrameSlice        int // FrameSlice, but in tests
	MessageTimeout    time.Duration
	PingInterval      time.Duration
	PongTimeout       time.Duration
	IdleTimeout       time.Duration
	WriteStallTimeout time.Duration
	CloseTimeout      time.Duration
	TickInterval      time.Duration
	Logger            *slog.Logger
	Clock             func() time.Duration // monotonic, since any moment
	Seed              uint64
}

// A Group is what the shards of one server have in common.
type Group struct {
	// Immutable once the loops run.
	shards []*Shard
	limit  int64

	// Any goroutine.
	addresses intake.Limits
	refusals  intake.Refusals

	hub *hub.Hub // immutable once the loops run

	// Atomic: any goroutine.
	connections atomic.Int64 // accepted and not closed, without those that are refused for lack of room
	held        atomic.Int64 // connections that are paused because of backlog
	counted     counters.Shared
}

// NewGroup makes the common state for limit connections.
func NewGroup(limit int) *Group {
	return &Group{limit: int64(limit), refusals: intake.Refusals{Log: slog.New(slog.DiscardHandler)}}
}

// LogRefusals makes the group write refusals that a wrong setting may have caused
// to log, before any event.
func (g *Group) LogRefusals(log *slog.Logger) { g.refusals.Log = log }

// Connections is the number of open sockets that were not refused for lack of
// room, now: an engine's own counter is that of its loops' last turns. Any
// goroutine.
func (g *Group) Connections() int64 { return g.connections.Load() }

// SetShards tells the group its members, before any event, and makes the hub that
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

// A Shard is one loop and all that it owns.
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
	ticks     ticks

	// Any goroutine.
	inbox     inbox
	count     counters.Loop // published at the end of each callback
	jobFrames atomic.Int64  // frames in jobs
	jobBytes  atomic.Int64  // their bytes

	// Owned by the loop.
	slots     offheap.Table[slot]
	deadlines offheap.Table[uint32]
	expiry    offheap.Table[uint32]      // the tick in which a connection's token expires, 0: never
	tokens    offheap.Table[gcra.Bucket] // of messages, if MessageRate is set
	high      uint32                     // slots [0, high) were used since the last trim
	conns     int
	tick      uint32
	random    *rand.Rand
	draining  bool
	intake    intakeState

	exts     []*ext // row 0 is not used
	extFree  []uint32
	spareExt *ext

	users         *names
	channelByName map[string]*channel
	channels      []*channel // row 0 is not used
	channelFree   []uint32
	subs          chunks[subscription] // row 0 is not used
	subFree       uint32

	jobs       []*job
	jobsTaken  int // leading rows of jobs that are empty already
	active     *job
	waitingAll *job
	spareJobs  []*job
	// spareStarts is an encoding's that is over.
	spareStarts []uint32
	// The journal: jobs that have begun, for those who lag. See lag.go.
	journal      []*job
	journalTaken int    // the first of them that is still there
	journalFirst uint64 // its number
	journalBytes int
	laggers      int
	framesBegun  uint64
	parked       []netpoll.ID       // who has read the active job
	batch        []netpoll.Outgoing // gathered by serve for flushBatch, and by ping for flushPings
	batchStarts  []int32
	budget       int
	delivered    uint64

	spreads []*spread

	reading []netpoll.ID   // who goes on with histories, see readers.go
	read    []*hub.Message // scratch of readOn

	heldPublishers []netpoll.ID
	rateLimited    []netpoll.ID
	yielded        []netpoll.ID
	spareYielded   []netpoll.ID

	// Scratch: what lives only during a callback.
	scratch       *decoder
	spareDecoders []*decoder
	spareInput    []byte
	replies       []byte
	replyTo       netpoll.ID
	header        [frame.MaxHeaderBytes]byte
	vector        [64][]byte
}

// spareSlots are rows beyond MaxConnections, for newcomers who are told that
// there is no room.
const SpareSlots = 1024

// New makes the shard of loop. It runs on the loop's goroutine or before it
// starts.
func New(cfg *Config, group *Group, loop netpoll.Loop, hooks Hooks) (*Shard, error) {
	s := &Shard{
		cfg: cfg, group: group, loop: loop, index: loop.Index(), hooks: hooks, log: cfg.Logger, clock: cfg.Clock,
		random:        rand.New(rand.NewPCG(cfg.Seed, uint64(loop.Index()))),
		exts:          make([]*ext, 1),
		users:         newNames(),
		channelByName: map[string]*channel{},
		channels:      make([]*channel, 1),
	}
	s.ticks = ticks{
		handshake: s.toTicks(cfg.HandshakeTimeout), ping: s.toTicks(cfg.PingInterval), pong: s.toTicks(cfg.PongTimeout),
		idle: s.toTicks(cfg.IdleTimeout), writeStall: s.toTicks(cfg.WriteStallTimeout), close: s.toTicks(cfg.CloseTimeout),
		message: s.toTicks(cfg.MessageTimeout),
	}
	s.tick = uint32(s.clock()/cfg.TickInterval) + 1
	for _, p := range cfg.Protocols {
		s.protocols = append(s.protocols, p.framed())
	}
	s.scratch = s.getDecoder()
	s.intake.refusalsLeft = refusalsPerTick
	s.intake.requests.Max, s.intake.tlsPlaces.Max = cfg.HandshakesMax, cfg.TLSHandshakes
	s.intake.policy = cfg.Policy
	if cfg.Deflate != nil {
		s.intake.policy.Negotiate = s.negotiate
	}
	n := cfg.MaxConnections + SpareSlots
	var err error
	if s.slots, err = offheap.New[slot](n); err == nil {
		if s.deadlines, err = offheap.New[uint32](n); err == nil && cfg.MessageRate > 0 {
			s.tokens, err = offheap.New[gcra.Bucket](n)
		}
	}
	if err == nil && len(cfg.Protocols) > 0 {
		s.expiry, err = offheap.New[uint32](n)
	}
	if err == nil && cfg.Addresses.Tracked() {
		s.intake.addresses, err = offheap.New[intake.Address](n)
	}
	if err != nil {
		s.Free()
		return nil, fmt.Errorf("connection tables (lower MaxConnections?): %w", err)
	}
	return s, nil
}

// Free gives the tables back, when no event can come any more.
func (s *Shard) Free() {
	for _, o := range s.inbox.shut() {
		if o.kind == opCall && o.call != nil {
			o.call(nil)
		}
	}
	s.slots.Free()
	s.deadlines.Free()
	s.expiry.Free()
	s.tokens.Free()
	s.intake.addresses.Free()
}

// Clock returns the time since some moment, monotonic. Any goroutine.
func (s *Shard) Clock() time.Duration { return s.clock() }

func (s *Shard) hub() *hub.Hub { return s.group.hub }

// Loop is the shard's event loop.
func (s *Shard) Loop() netpoll.Loop { return s.loop }

// OnOpen takes a new connection in.
func (s *Shard) OnOpen(id netpoll.ID, tag uint64) {
	defer s.count.Publish()
	i := id.Slot()
	if int(i) >= len(s.slots.Rows) {
		s.count.Inc(counters.RefusedFull)
		s.loop.Abort(id)
		return
	}
	s.high = max(s.high, i+1)
	s.conns++
	s.slots.Rows[i] = slot{generation: id.Generation(), openedTick: s.tick}
	c := conn{s, id, &s.slots.Rows[i]}
	c.setDeadline(s.tick + s.ticks.handshake)
	if s.cfg.TLS != nil && tag >= uint64(s.cfg.FirstTLS) && tag < netpoll.AttachTag {
		c.flags = flagTLS
	}
	s.count.Inc(counters.Accepted)
	if s.expiry.Rows != nil {
		s.expiry.Rows[i] = 0
	}
	if s.cfg.MessageRate > 0 {
		s.tokens.Rows[i] = 0 // what the connection before in this slot has spent
	}
	if s.group.connections.Add(1) > s.group.limit {
		s.group.connections.Add(-1)
		c.flags |= flagRefused
	}
	if s.draining {
		// The drain may have passed this slot: do not wait long for a request.
		s.dueBy(i, s.tick+s.ticks.close)
	}
	if tag >= netpoll.AttachTag {
		c.adopted(tag)
		return
	}
	c.openAddress(tag)
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
}

// onPlain handles what the client said, TLS taken off.
func (c conn) onPlain(p []byte) {
	switch c.state {
	case stateOpen, stateClosing:
		c.receive(p)
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
	why.Age = time.Duration(s.tick-c.openedTick) * s.cfg.TickInterval
	if c.flags&flagOpened != 0 {
		s.count.Add(counters.Connections, -1)
		s.count.Inc(counters.Closed)
		s.countClose(why)
		s.callClosed(id, why)
	}
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
	*c.slot = slot{}
	c.setDeadline(0)
	s.conns--
}

func (s *Shard) callClosed(id netpoll.ID, why Closed) {
	defer s.recoverHook(0, "Close")
	s.hooks.Closed(s, id, why)
}

// OnWake takes the inbox and makes one slice of writes.
func (s *Shard) OnWake() (again bool) {
	defer s.count.Publish()
	ops := s.inbox.take()
	for i := range ops {
		s.do(&ops[i])
	}
	clear(ops) // an idle loop keeps no message alive
	again = s.fanOut()
	again = s.stepSpreads() || again
	again = s.readOnAll() || again
	again = s.resumeYielded() || again
	s.resumePublishers()
	return again
}

// trim gives memory back after the last connection has left.
func (s *Shard) trim() {
	if s.conns > 0 || s.high == 0 {
		return
	}
	used := int(s.high)
	s.slots.Clear(used)
	s.deadlines.Clear(used)
	s.expiry.Clear(used)
	s.tokens.Clear(used)
	s.intake.addresses.Clear(used)
	s.high = 0
	s.exts, s.extFree, s.spareExt = make([]*ext, 1), nil, nil
	s.subs, s.subFree = chunks[subscription]{}, 0
	s.channels, s.channelFree = make([]*channel, 1), nil
	s.channelByName = map[string]*channel{}
	s.spareDecoders, s.spareInput, s.spareJobs = nil, nil, nil
}
