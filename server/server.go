package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/procs"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/intake"
	"github.com/roostws/roost/server/internal/nodes"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/internal/workers"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/settings"
)

// A Server holds WebSocket connections on event loops and pushes to them. Make
// it with New. All methods may be called from any goroutine; where they may
// not be called from callbacks, they say so.
type Server struct {
	// Immutable after New.
	cfg         Config
	shards      shard.Config
	start       time.Time
	ctx         context.Context // ends when the server does
	cancel      context.CancelFunc
	work        *workers.Pool // for what the application does, which may block
	rules       *protocol.Rules
	fallbacks   map[string]*shard.Fallback // by path
	repetitions *hub.Repetitions[sent]
	nodes       *nodes.Nodes
	cluster     *cluster // nil without a broker

	donec chan struct{} // closed when the loops have ended

	// Atomic: any goroutine. parts is stored before any event, running when
	// Start returns, a moment after the first callbacks.
	parts     atomic.Pointer[parts]
	running   atomic.Pointer[netpoll.Engine]
	nextShard atomic.Uint32
	stopping  atomic.Bool // Shutdown was called

	// Guarded by mu.
	mu      sync.Mutex
	started bool
	closed  bool

	// publishing is read-locked while a publication goes into the inboxes.
	publishing sync.RWMutex
	draining   bool // guarded by publishing: nothing is published any more, because it might be lost
}

// parts are what runs; they do not change once they are complete.
type parts struct {
	group  *shard.Group
	shards []*shard.Shard
	hub    *hub.Hub
	hooks  []*hooks
}

// members are the shards by index of their loops, none before Start.
func (s *Server) members() []*shard.Shard {
	if p := s.parts.Load(); p != nil {
		return p.shards
	}
	return nil
}

// New checks cfg and makes a server. Nothing runs until Start.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	origins := handshake.SameHost()
	if len(cfg.Handshake.Origins) > 0 {
		var err error
		if origins, err = handshake.AllowOrigins(cfg.Handshake.Origins...); err != nil {
			return nil, &settings.FieldError{Config: configName, Field: "Handshake.Origins", Err: err}
		}
	}
	balancers, err := handshake.ParseForwarding("", cfg.Proxies.ProxyProtocol)
	if err != nil {
		return nil, &settings.FieldError{Config: configName, Field: "Proxies.ProxyProtocol", Err: err}
	}
	forwarding, err := handshake.ParseForwarding(cfg.Proxies.ForwardedHeader, cfg.Proxies.TrustedProxies)
	if err != nil {
		return nil, &settings.FieldError{Config: configName, Field: "Proxies.TrustedProxies", Err: err}
	}
	s := &Server{cfg: cfg, start: time.Now(), work: workers.New(cfg.Limits.AuthorizeMaxPending, runtime.GOMAXPROCS(0)), donec: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.nodes = s.newNodes()
	s.handlers()
	s.shards = shard.Config{
		MaxConnections: cfg.Limits.MaxConnections, HandshakeMaxBytes: cfg.Limits.HandshakeMaxBytes, HandshakeTimeout: cfg.Timeouts.HandshakeTimeout,
		Addresses: intake.Addresses{Proxy: balancers, Forwarding: forwarding, Limit: cfg.Limits.ConnectionsPerAddress, Rate: cfg.Limits.ConnectRatePerAddress,
			Log: cfg.Logger.Enabled(s.ctx, slog.LevelDebug)},
		Policy: handshake.Policy{Origins: origins, Subprotocols: cfg.Handshake.Subprotocols},
		Decoder: &frame.DecoderConfig{
			ExpectMasked: true, MaxMessageBytes: int64(cfg.Limits.MessageMaxBytes), MaxFragments: cfg.Limits.MessageMaxFragments,
		},
		MessageMaxBytes: cfg.Limits.MessageMaxBytes, MessageRate: cfg.Limits.MessageRate,
		PendingMaxBytes: cfg.Limits.PendingMaxBytes, LagMaxBytes: cfg.Limits.LagMaxBytes, SlowDrop: cfg.Limits.SlowConsumer == SlowDrop,
		SubscriptionsMax: cfg.Limits.SubscriptionsMax,
		InboxMaxEntries:  cfg.Limits.InboxMaxEntries, InboxMaxBytes: cfg.Limits.InboxMaxBytes, PublishPauseBytes: publishPauseBytes, FanoutSlice: shard.FanoutSlice,
		FrameSlice: shard.FrameSlice, SliceInterval: shard.SliceInterval, After: func(d time.Duration, f func()) { time.AfterFunc(d, f) }, MessageTimeout: cfg.Timeouts.MessageTimeout,
		PingInterval: cfg.Timeouts.PingInterval, PongTimeout: cfg.Timeouts.PongTimeout, IdleTimeout: cfg.Timeouts.IdleTimeout,
		WriteStallTimeout: cfg.Timeouts.WriteStallTimeout, CloseTimeout: cfg.Timeouts.CloseTimeout, TickInterval: cfg.Timeouts.tickInterval(),
		Logger: cfg.Logger, Clock: func() time.Duration { return time.Since(s.start) }, Seed: rand.Uint64(),
	}
	s.shards.Hub = hub.Config{
		Namespaces: map[string]*hub.Namespace{}, HistoryMaxBytes: cfg.Limits.HistoryMaxBytes, LagMaxBytes: cfg.Limits.LagMaxBytes,
		Occupancy: cfg.Events != nil, Broker: s.nodes.Broker(), Done: s.ctx.Done(),
	}
	s.repetitions = hub.NewRepetitions[sent](cfg.Limits.IdempotencyAge)
	s.rules = s.newRules()
	s.fallbacks = s.newFallbacks()
	if cfg.Broker != nil {
		s.cluster = newCluster(s)
		h := &s.shards.Hub
		h.Cluster, h.Node, h.Local = s.cluster, nodeNumber(s.nodes.ID()), s.goesOnAlone
	}
	for i := range cfg.Namespaces {
		ns := &cfg.Namespaces[i]
		if ns.HistoryMessages > 0 {
			s.shards.Hub.Namespaces[ns.Name] = &hub.Namespace{Messages: ns.HistoryMessages, Age: ns.HistoryAge, Policy: ns.SlowConsumer.policy()}
		}
	}
	s.rules.Begin()
	for _, codec := range cfg.protocols() {
		if b, ok := codec.(Binder); ok {
			b.Bind(s)
		}
		if k, ok := codec.(protocol.Keeper); ok {
			if m := k.Mailboxes(); m.Max > 0 {
				s.shards.Mailboxes = m
			}
			if n, ok := codec.(protocol.Namer); ok {
				s.rules.Namer, s.shards.Named = n, n.Named
			}
		}
		s.shards.Protocols = append(s.shards.Protocols, shardProtocol(codec))
		if name := codec.Subprotocol(); name != "" && !slices.Contains(s.shards.Policy.Subprotocols, name) {
			s.shards.Policy.Subprotocols = append(slices.Clone(s.shards.Policy.Subprotocols), name)
		}
	}
	if cfg.Handshake.Compression != CompressionOff {
		takeover := cfg.Handshake.Compression == CompressionContext
		s.shards.Deflate = &frame.DeflateConfig{ServerContextTakeover: takeover, ClientContextTakeover: takeover}
		deflate := *s.shards.Decoder
		deflate.AllowRSV1 = true
		s.shards.DeflateDecoder = &deflate
	}
	s.shards.TLS, s.shards.FirstTLS = cfg.TLS, len(cfg.Listen)
	loops := cfg.Engine.Loops
	if loops == 0 {
		loops = procs.Own()
	}
	s.shards.TLSHandshakes = max(cfg.Limits.TLSHandshakesMax/loops, 1)
	if cfg.Limits.AdmitQueueMax > 0 {
		s.shards.AdmitQueueMax = max(cfg.Limits.AdmitQueueMax/loops, 1)
		s.shards.AdmitRate = float64(cfg.Limits.AdmitRate) / float64(loops)
	}
	s.shards.HandshakesMax = max(cfg.Limits.HandshakesMax/loops, 1)
	return s, nil
}

// publishPauseBytes of fan-out waiting for a loop pause the clients that
// publish: four full batches, so that a loop never runs dry meanwhile.
const publishPauseBytes = 256 << 10

// Start opens the listeners and runs the loops. It returns when clients can
// connect. An error names the address or the limit that stands in the way.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrServerClosed
	}
	if s.started {
		return errors.New("server: started already")
	}
	group := shard.NewGroup(s.cfg.Limits.MaxConnections)
	group.LogRefusals(s.cfg.Logger)
	var mu sync.Mutex
	var failed error
	made, callbacks := map[int]*shard.Shard{}, map[int]*hooks{}
	engine, err := s.cfg.Engine.Driver.Start(netpoll.Config{
		Loops: s.cfg.Engine.Loops, KeepGOMAXPROCS: s.cfg.Engine.KeepGOMAXPROCS, Listen: slices.Concat(s.cfg.Listen, s.cfg.ListenTLS), ReusePort: s.cfg.Sockets.ReusePort,
		DeferAccept: max(s.cfg.Sockets.DeferAccept, 0), MaxConns: s.cfg.Limits.MaxConnections + shard.SpareSlots,
		SendBufferBytes: s.cfg.Sockets.SendBufferBytes, TickInterval: s.shards.TickInterval,
		NoIOURing: s.cfg.Sockets.NoIOURing, KeepAlive: s.cfg.Timeouts.keepAlive(), OnPanic: s.enginePanicked,
	}, func(l netpoll.Loop) netpoll.Handler {
		h := &hooks{server: s, sessions: protocol.NewSessions(s.rules)}
		sh, err := shard.New(&s.shards, group, l, h)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = err
			return refuser{l}
		}
		made[l.Index()], callbacks[l.Index()] = sh, h
		members, listeners := make([]*shard.Shard, len(made)), make([]*hooks, len(made))
		for i := range members {
			listeners[i] = callbacks[i]
			if members[i] = made[i]; made[i] == nil {
				return sh.Handler() // others are still to come
			}
		}
		s.parts.Store(&parts{group, members, group.SetShards(members, s.shards.Hub), listeners})
		return sh.Handler()
	})
	if err == nil && failed != nil {
		err = errors.Join(failed, engine.Close())
	}
	if err == nil {
		s.running.Store(&engine) // this server tells the others its addresses
		if err = s.parts.Load().hub.StartBroker(); err != nil {
			err = errors.Join(err, engine.Close())
		}
	}
	if err != nil {
		s.parts.Store(nil)
		s.running.Store(nil)
		for _, sh := range made {
			sh.Free()
		}
		return fmt.Errorf("server: start: %w", err)
	}
	s.started = true
	s.cfg.Logger.Info("server started", "engine", s.cfg.Engine.Driver.Name(), "loops", len(made), "max_connections", s.cfg.Limits.MaxConnections)
	go s.watch(engine)
	if s.cfg.Broker != nil {
		go s.watchBroker()
	}
	if s.cluster != nil {
		go s.cluster.run()
	}
	return nil
}

// watch reports an engine that ends by itself.
func (s *Server) watch(engine netpoll.Engine) {
	<-engine.Done()
	close(s.donec)
	if err := engine.Err(); err != nil {
		s.cfg.Logger.Error("the event loops have ended; every connection is lost", "err", err)
	}
}

// Done is closed when the loops have ended, or can not start any more; Err
// tells why.
func (s *Server) Done() <-chan struct{} { return s.donec }

// Err is why the loops ended, nil after Shutdown or Close.
func (s *Server) Err() error {
	if e := s.engine(); e != nil {
		return e.Err()
	}
	return nil
}

// engine is nil before Start.
func (s *Server) engine() netpoll.Engine {
	if p := s.running.Load(); p != nil {
		return *p
	}
	return nil
}

// Addrs are the listeners' addresses, in the order of Config.Listen and then
// Config.ListenTLS, with the
// port that the system chose where 0 was asked for. Call it after Start.
func (s *Server) Addrs() []net.Addr {
	if e := s.engine(); e != nil {
		return e.Addrs()
	}
	return nil
}

// Config is what the server runs with, defaults filled in.
func (s *Server) Config() Config { return s.cfg }

// checkMessage refuses what could never be sent.
func (s *Server) checkMessage(t MessageType, payload []byte) error {
	if err := checkType(t); err != nil {
		return err
	}
	if len(payload) > s.cfg.Limits.InboxMaxBytes {
		return fmt.Errorf("%w: %d bytes, InboxMaxBytes is %d", ErrMessageTooBig, len(payload), s.cfg.Limits.InboxMaxBytes)
	}
	if t == Text && len(s.cfg.protocols()) > 0 {
		return protocol.CheckDepth("the message", payload, s.cfg.Limits.DataMaxDepth)
	}
	return nil
}

// Close ends the server at once; connections are cut. Not from callbacks.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.cancel()
	s.work.Close()
	if !s.started {
		close(s.donec)
		return nil
	}
	err := s.engine().Close()
	if b := s.nodes.Broker(); b != nil {
		err = errors.Join(err, b.Close())
	}
	for _, sh := range s.members() {
		sh.Free()
	}
	return err
}

func (s *Server) shardOf(id netpoll.ID) (*shard.Shard, error) {
	if members := s.members(); id.Loop() < len(members) {
		return members[id.Loop()], nil
	}
	return nil, ErrServerClosed
}

// checkName refuses names that could not be told apart, logged or bounded.
func (s *Server) checkName(what, name string) error {
	return protocol.CheckName(what, name, s.cfg.Limits.ChannelNameMaxBytes)
}

func checkType(t MessageType) error {
	if t != Text && t != Binary {
		return fmt.Errorf("server: message type %v: want Text or Binary", t)
	}
	return nil
}

// panicked reports a panic on a goroutine of the application's.
func (s *Server) panicked(in string, id netpoll.ID, value any) {
	if p := s.parts.Load(); p != nil {
		p.group.CountShared(counters.Panics)
	}
	s.cfg.Logger.Error("a callback panicked", "in", in, "conn_id", id.String(), "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
}

// enginePanicked reports a panic that got through to the engine: a bug of ours.
func (s *Server) enginePanicked(loop int, id netpoll.ID, value any, stack []byte) {
	s.cfg.Logger.Error("panic on an event loop", "loop", loop, "conn_id", id.String(), "panic", fmt.Sprint(value), "stack", string(stack))
}

// refuser takes the place of a shard that could not be made, until the engine
// is closed again.
type refuser struct{ loop netpoll.Loop }

func (r refuser) OnOpen(id netpoll.ID, _ uint64) { r.loop.Abort(id) }
func (r refuser) OnData(netpoll.ID, []byte)      {}
func (r refuser) OnWritable(netpoll.ID)          {}
func (r refuser) OnClose(netpoll.ID, error)      {}
func (r refuser) OnWake() (again bool)           { return false }
func (r refuser) OnTick()                        {}
