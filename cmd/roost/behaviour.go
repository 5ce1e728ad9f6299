package main

import (
	"context"

	"github.com/roostws/roost/server"
)

// A behaviour is what the binary does with messages: the application, in the
// words of an embedder. Each has a file of its own.
type behaviour interface {
	// name is for the start-up line.
	name() string
	// configure sets the handler, and what else the behaviour needs.
	configure(*server.Config)
	// begin is called between server.New and Start, so that no message comes
	// before it.
	begin(*server.Server)
	// run is called when the server runs, on a goroutine of its own; it
	// returns when ctx ends, or at once.
	run(ctx context.Context)
}

// behaviour is the one that the flags choose.
func (s *ServeCmd) behaviour() behaviour {
	switch {
	case s.Echo:
		return echo{}
	case s.Relay:
		return relay{}
	case s.Demo:
		return &demo{}
	}
	return hold{}
}

// hold accepts connections and ignores what they say.
type hold struct{}

func (hold) name() string             { return "none (messages are ignored)" }
func (hold) configure(*server.Config) {}
func (hold) begin(*server.Server)     {}
func (hold) run(context.Context)      {}
