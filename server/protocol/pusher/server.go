package pusher

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// Options are the settings of a Server.
type Options struct {
	// Apps are the applications.
	Apps []App
	// Namespace begins the names of the namespaces, in the server's settings, of the channels
	// of apps (docs/pusher.md). If empty, "pusher".
	Namespace string
	// ActivityTimeout is what clients are told: after so much silence they ask whether the
	// server is there. If zero, 120 s.
	ActivityTimeout time.Duration
	// NoPublicAPI leaves the HTTP API out of what clients reach. It is then served where the
	// program serves it: the Server is an http.Handler.
	NoPublicAPI bool
	// Logger gets trouble with web hooks. If nil, silent.
	Logger *slog.Logger
}

// A Server is the Pusher protocol on one server.Server. Any goroutine may call its methods.
type Server struct {
	// Immutable after Bind.
	options Options
	byID    map[string]*app
	byKey   map[string]*app
	rules   *protocol.Rules
	server  *server.Server

	loops [netpoll.MaxLoops]*loop // each made and used by its own loop
	rolls rolls
	count counter
}

// New makes a Server. The error names every field that is wrong.
func New(options Options) (*Server, error) {
	if options.Namespace == "" {
		options.Namespace = "pusher"
	}
	if options.ActivityTimeout == 0 {
		options.ActivityTimeout = 120 * time.Second
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Server{options: options, byID: map[string]*app{}, byKey: map[string]*app{}}
	p.rolls.byChannel = map[string]*roll{}
	p.options.Apps = slices.Clone(options.Apps)
	for i := range p.options.Apps {
		appSettings.Fill(&p.options.Apps[i])
	}
	if err := checkApps(p.options.Apps); err != nil {
		return nil, err
	}
	for i := range p.options.Apps {
		a := &app{App: p.options.Apps[i]}
		p.byID[a.ID], p.byKey[a.Key] = a, a
		if err := a.startHooks(p); err != nil {
			_ = p.EndHooks(context.Background())
			return nil, err
		}
	}
	return p, nil
}

// Configure adds the protocol to a server's configuration, beside those that are there, the
// settings of its channels where there are none, and the HTTP API.
func (p *Server) Configure(cfg *server.Config) {
	var application protocol.Application
	if cfg.Application != nil {
		if application = *cfg.Application; len(application.Protocols) == 0 {
			application.Protocols = []protocol.Codec{native.Codec{}} // what it would be
		}
	}
	application.Protocols = append(slices.Clone(application.Protocols), p)
	cfg.Application = &application
	for _, ns := range p.namespaces() {
		if !slices.ContainsFunc(cfg.Namespaces, func(own server.Namespace) bool { return own.Name == ns.Name }) {
			cfg.Namespaces = append(slices.Clone(cfg.Namespaces), ns)
		}
	}
	if !p.options.NoPublicAPI {
		cfg.HTTP = p.before(cfg.HTTP)
	}
	if slices.ContainsFunc(p.options.Apps, func(a App) bool { return a.WebhookURL != "" }) {
		next := cfg.Events
		cfg.Events = func(e *protocol.Event) {
			p.event(e)
			if next != nil {
				next(e)
			}
		}
	}
}

// namespaces returns the settings of the channels of apps.
func (p *Server) namespaces() (list []server.Namespace) {
	for _, kind := range kinds {
		ns := server.Namespace{Name: p.options.Namespace + kind, Subscribe: protocol.AccessNobody, Publish: protocol.AccessNobody, Presence: true}
		if strings.HasSuffix(kind, kindCache) {
			ns.HistoryMessages, ns.HistoryAge = 1, cacheAge
		}
		ns.JoinLeave = strings.HasPrefix(kind, kindPresence)
		list = append(list, ns)
	}
	return list
}

// cacheAge is how long the last event of a cache channel is kept, as Pusher keeps it.
const cacheAge = 30 * time.Minute

// before serves the HTTP API, and everything else with next.
func (p *Server) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/apps/") {
			p.ServeHTTP(w, r)
			return
		}
		switch {
		case next != nil:
			next.ServeHTTP(w, r)
		case r.URL.Path == "/healthz": // what a server without a handler says there
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write([]byte("ok\n"))
		default:
			http.NotFound(w, r)
		}
	})
}

// Start is called by the server.
func (p *Server) Start(rules *protocol.Rules) { p.rules = rules }

// Bind is called by the server.
func (p *Server) Bind(s *server.Server) { p.server = s }
