package socketio

import (
	"sync/atomic"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/counters"
)

// tallies are what a Server counts beside the counters of all protocols. Any goroutine.
type tallies struct {
	clients, sockets                   atomic.Int64
	refused, received, called, answers atomic.Uint64
}

// Stats are a Server's counters.
type Stats struct {
	// Clients are open connections, those that poll included; Sockets are their clients in
	// all namespaces.
	Clients int64 `gauge:"yes" help:"open connections of Socket.IO clients, those that poll included"`
	Sockets int64 `gauge:"yes" help:"Socket.IO clients in namespaces: one for each namespace of a connection"`
	// ConnectsRefused are clients that were told CONNECT_ERROR.
	ConnectsRefused uint64 `help:"CONNECT_ERROR packets sent"`
	// EventsReceived are events of clients; of these the application was asked about
	// EventsAsked. AcksSent are acknowledgements.
	EventsReceived uint64 `help:"events received from Socket.IO clients"`
	EventsAsked    uint64 `help:"events of Socket.IO clients that the application was asked about"`
	AcksSent       uint64 `help:"acknowledgements sent to Socket.IO clients"`
}

// Stats returns the counters. Any goroutine.
func (io *Server) Stats() Stats {
	t := &io.tallies
	return Stats{t.clients.Load(), t.sockets.Load(), t.refused.Load(), t.received.Load(), t.called.Load(), t.answers.Load()}
}

// Counters returns the same for server.Config.Stats, which Configure sets. Any goroutine.
func (io *Server) Counters() server.Stats { return counters.OfFields("socketio", io.Stats()) }
