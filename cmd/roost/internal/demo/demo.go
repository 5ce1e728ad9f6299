// Package demo is what roost serve --demo does: it serves the pages of web/demo, and
// is the application behind them.
//
// Each demo is a folder in web/demo and, if the server has anything to do for it, a
// file here with the same name, which makes a part of it. /source/NAME shows both.
package demo

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"github.com/roostws/roost/cmd/roost/internal/docsite"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/web"
)

// A Demo is the application behind the demo pages.
type Demo struct {
	parts   []part
	handler server.Handler // of clients without a protocol

	// Immutable after Begin, which is before the first message.
	srv   *server.Server
	about about
}

// A part is the server's side of one demo. What it does not need is missing.
type part struct {
	// namespaces are those of its channels, unless the flags have configured them.
	namespaces []server.Namespace
	// publish checks what a client publishes in namespaces whose Publish is
	// AccessGranted, and may change it. It is called for clients with a name only.
	publish func(*protocol.PublishRequest) error
	// calls are its methods, by name.
	calls map[string]func(context.Context, *protocol.CallRequest) error
	// event is told what happens to clients, on event loops: it must be quick.
	event func(*protocol.Event)
	// routes adds to the HTTP server of the public port.
	routes func(*http.ServeMux)
	// run is called on a goroutine of its own and returns when ctx ends.
	run func(context.Context)
}

// New returns the application behind the demo pages of a binary of this version.
func New(version string) *Demo {
	d := &Demo{about: about{Version: version}}
	d.parts = []part{
		d.textbook(),
		d.chat(),
		d.notifications(),
		d.ticker(),
		d.together(),
		d.game(),
		d.transports(),
	}
	return d
}

// Name is for the start-up line.
func (*Demo) Name() string { return "demo" }

// Configure adds the demo to what the flags have configured. What they decide stays as
// it is: with tokens or an application of their own the demo's guests are not let in.
func (d *Demo) Configure(c *server.Config) {
	if len(c.Handshake.Origins) == 0 && c.Handshake.TokenCookie == "" {
		// A textbook page is opened from a file or from another port. With a cookie, any
		// page could act as a user who is logged in.
		c.Handshake.Origins = []string{"*"}
	}
	for _, p := range d.parts {
		for _, ns := range p.namespaces {
			if !slices.ContainsFunc(c.Namespaces, func(other server.Namespace) bool { return other.Name == ns.Name }) {
				c.Namespaces = append(c.Namespaces, ns)
			}
		}
	}
	d.application(c)
	d.events(c)
	c.Handler, c.HTTP = d.handler, d.mux()
}

// events has the parts told what happens, after the web hooks.
func (d *Demo) events(c *server.Config) {
	var told []func(*protocol.Event)
	if c.Events != nil {
		told = append(told, c.Events)
	}
	for _, p := range d.parts {
		if p.event != nil {
			told = append(told, p.event)
		}
	}
	if len(told) == 0 {
		return
	}
	c.Events = func(e *protocol.Event) {
		for _, tell := range told {
			tell(e)
		}
	}
}

// mux serves the pages, the browser client, and what the parts add.
func (d *Demo) mux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", web.Demo())
	mux.Handle("/roost/", web.Client())
	mux.Handle("GET /docs/", docsite.Handler())
	mux.HandleFunc("GET /source/{name}", source)
	mux.HandleFunc("GET /about.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(d.about) // the client is gone
	})
	web.HandleHealth(mux)
	for _, p := range d.parts {
		if p.routes != nil {
			p.routes(mux)
		}
	}
	return mux
}

// about is what the start page shows of the server.
type about struct {
	Version string `json:"version"`
	// Admin is the address of the admin port, empty if there is none.
	Admin string `json:"admin,omitempty"`
}

// Begin is called before the server starts; admin is the address of its admin port.
func (d *Demo) Begin(srv *server.Server, admin string) {
	d.srv, d.about.Admin = srv, admin
}

// Run runs what the parts do by themselves, until ctx ends.
func (d *Demo) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range d.parts {
		if p.run != nil {
			wg.Go(func() { p.run(ctx) })
		}
	}
	wg.Wait()
}
