package main

import (
	"context"

	"github.com/roostws/roost/cmd/roost/internal/demo"
	"github.com/roostws/roost/server"
)

// A behaviour is what the binary does with messages: the application, in the
// words of an embedder. Each has a file of its own.
type behaviour interface {
	// Name is for the start-up line.
	Name() string
	// Configure sets the handler, and what else the behaviour needs, after the flags of
	// the native protocol and of web hooks have set theirs.
	Configure(*server.Config)
	// Begin is called between server.New and Start, so that no message comes before
	// it. admin is the address of the admin port, empty if there is none.
	Begin(srv *server.Server, admin string)
	// Run is called when the server runs, on a goroutine of its own; it
	// returns when ctx ends, or at once.
	Run(ctx context.Context)
}

// behaviour is the one that the flags choose.
func (s *ServeCmd) behaviour() behaviour {
	switch {
	case s.Echo:
		return echo{}
	case s.Relay:
		return relay{}
	case s.Demo:
		return demo.New(version())
	}
	return hold{}
}

// hold accepts connections and ignores what they say.
type hold struct{}

func (hold) Name() string                 { return "none (messages are ignored)" }
func (hold) Configure(*server.Config)     {}
func (hold) Begin(*server.Server, string) {}
func (hold) Run(context.Context)          {}
