package socketio

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/engineio"
	"github.com/roostws/roost/server/protocol/native"
)

// Options are the settings of a Server. The zero value of each field means its default.
type Options struct {
	// Path is that of the clients' requests. If empty, /socket.io/.
	Path string
	// Namespaces are served by the server's Application instead of handlers in Go: Connect
	// decides who may connect to them, Call answers events, and Server.Publish and its
	// like emit. Handlers of these namespaces are not called.
	Namespaces []string
	// AskAll has Call answer all events of Namespaces. Otherwise those that want no
	// acknowledgement are told to server.Config.Events, if that is set.
	AskAll bool
	// ConnectTimeout is how long a client may take to connect to a namespace, and for each
	// attachment of an event. If zero, 45 s.
	ConnectTimeout time.Duration
	// PingInterval and PingTimeout are what clients are told. If zero, the server's
	// Timeouts.PingInterval and PongTimeout.
	PingInterval, PingTimeout time.Duration
	// PollingMax is how many clients may poll at a time, for each loop. If zero, 4,096.
	PollingMax int
	// Recovery lets clients whose connection was lost go on as if it had not been.
	Recovery Recovery
}

// A Server is Socket.IO on one server.Server. Any goroutine may call its methods.
type Server struct {
	*engineio.Engine
	options Options
	tallies tallies

	mu sync.RWMutex
	// Guarded by mu.
	namespaces map[string]*Namespace
	names      []string // of namespaces, in the order of Of; elements do not change

	rules  *protocol.Rules // set before any connection
	cipher cipher.Block    // of socket IDs
	lost   lost            // sockets that may come back
}

// New makes a Server. Configure it, and the namespaces, before the server starts.
func New(options Options) *Server {
	optionSettings.Fill(&options)
	io := &Server{options: options, namespaces: map[string]*Namespace{}, cipher: newCipher()}
	io.lost.init(&io.options.Recovery)
	io.Engine = engineio.New(engineio.Options{
		Path: options.Path, SessionsMax: options.PollingMax, PingInterval: options.PingInterval, PingTimeout: options.PingTimeout,
	}, (*clients)(io))
	for _, name := range options.Namespaces {
		io.Of(name).application = true
	}
	return io
}

// Configure adds the protocol to a server's configuration, beside those that are there,
// and the settings of its channels if there are none.
func (io *Server) Configure(cfg *server.Config) {
	var application protocol.Application
	if cfg.Application != nil {
		if application = *cfg.Application; len(application.Protocols) == 0 {
			application.Protocols = []protocol.Codec{native.Codec{}} // what it would be
		}
	}
	application.Protocols = append(slices.Clone(application.Protocols), io)
	cfg.Application = &application
	cfg.Stats = append(slices.Clip(cfg.Stats), io.Counters)
	if !slices.ContainsFunc(cfg.Namespaces, func(ns server.Namespace) bool { return ns.Name == ChannelNamespace }) {
		ns := server.Namespace{Name: ChannelNamespace, Subscribe: protocol.AccessNobody}
		if r := &io.options.Recovery; r.on() {
			ns.HistoryMessages, ns.HistoryAge = r.HistoryMessages, r.MaxDisconnection
		}
		cfg.Namespaces = append(slices.Clone(cfg.Namespaces), ns)
	}
}

// Start is called by the server.
func (io *Server) Start(rules *protocol.Rules) {
	io.rules = rules
	io.Engine.Start(rules)
}

// CheckNamespace refuses what cannot be the name of a namespace.
func CheckNamespace(name string) error {
	if !strings.HasPrefix(name, "/") || strings.ContainsAny(name, ",?#") || len(name) > namespaceMaxBytes {
		return fmt.Errorf("socketio: the namespace %q: want a slash and then no comma, question mark or #", name)
	}
	return nil
}

// Of returns a namespace, which exists from then on. It panics if the name cannot be one
// (CheckNamespace).
func (io *Server) Of(name string) *Namespace {
	if err := CheckNamespace(name); err != nil {
		panic(err.Error())
	}
	io.mu.Lock()
	defer io.mu.Unlock()
	ns := io.namespaces[name]
	if ns == nil {
		ns = &Namespace{Broadcast: Broadcast{}, io: io, name: name, number: uint16(len(io.namespaces))}
		ns.namespace = ns
		io.namespaces[name] = ns
		io.names = append(slices.Clip(io.names), name)
	}
	return ns
}

// find returns a namespace, nil if there is none.
func (io *Server) find(name string) *Namespace {
	io.mu.RLock()
	defer io.mu.RUnlock()
	return io.namespaces[name]
}

// OnConnection is Of("/").OnConnection.
func (io *Server) OnConnection(f func(s *Socket)) { io.Of("/").OnConnection(f) }

// Use is Of("/").Use.
func (io *Server) Use(f func(ctx context.Context, s *Socket) error) { io.Of("/").Use(f) }

// To is Of("/").To.
func (io *Server) To(rooms ...string) Broadcast { return io.Of("/").To(rooms...) }

// Except is Of("/").Except.
func (io *Server) Except(rooms ...string) Broadcast { return io.Of("/").Except(rooms...) }

// Emit is Of("/").Emit.
func (io *Server) Emit(event string, args ...any) error { return io.Of("/").Emit(event, args...) }

// A Namespace is one that clients connect to. Its Broadcast reaches all of them. Handlers
// are set before the server starts.
type Namespace struct {
	Broadcast
	io     *Server
	name   string
	number uint16 // its place in the order of Of
	// application: the server's Application decides, see Options.Namespaces.
	application bool

	connection func(s *Socket)
	middleware []func(ctx context.Context, s *Socket) error
	handlers   map[string]func(s *Socket, e *Event)
	other      func(s *Socket, e *Event)
}

// Name returns the name, with its slash.
func (ns *Namespace) Name() string { return ns.name }

// OnConnection sets what is called for each new socket, on its loop.
func (ns *Namespace) OnConnection(f func(s *Socket)) { ns.connection = f }

// Use adds a check of newcomers, who get its error: an *Error with its Data, the text of
// any other. It runs on a goroutine of its own and may block.
func (ns *Namespace) Use(f func(ctx context.Context, s *Socket) error) {
	ns.middleware = append(ns.middleware, f)
}

// On sets a handler of events of all sockets: it costs a socket nothing, as Socket.On does.
func (ns *Namespace) On(event string, f func(s *Socket, e *Event)) {
	if ns.handlers == nil {
		ns.handlers = map[string]func(*Socket, *Event){}
	}
	ns.handlers[event] = f
}

// OnAny sets a handler of events without one of their own.
func (ns *Namespace) OnAny(f func(s *Socket, e *Event)) { ns.other = f }

// An Error is why a client may not connect.
type Error struct {
	// Message is the client's error.message.
	Message string
	// Data is its error.data, as encoding/json writes it; nil for none.
	Data any
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// A Handshake is what a client has come with.
type Handshake struct {
	// Auth is what it shows: a JSON object, {} without.
	Auth Value
	// Query are the values of its request, without the protocol's.
	Query url.Values
	// Parts are those of its request that protocol.Application.Parts selects, nil without.
	Parts *protocol.UpgradeParts
}

// ErrGone: the client is not connected any more.
var ErrGone = errors.New("socketio: the client is gone")

// ErrTimeout: an acknowledgement has not come in time.
var ErrTimeout = errors.New("socketio: no acknowledgement in time")

// doer is what a socket needs of its connection, wherever that is.
type doer func(s *shard.Shard, id netpoll.ID)
