package server

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Errors that callers test for with errors.Is.
var (
	// ErrBusy: a loop's inbox is at InboxMaxEntries or InboxMaxBytes, or Config.Broker has
	// more than 64 MiB of publications to answer. Nothing was sent to anybody. Try again
	// later, or slow down.
	ErrBusy = hub.ErrBusy
	// ErrServerClosed: the server is closed or shutting down, or was never started.
	ErrServerClosed = netpoll.ErrEngineClosed
	// errNotStarted says more where the caller has forgotten Start.
	errNotStarted = fmt.Errorf("server: Start was not called (%w)", ErrServerClosed)
	// ErrBadName: a channel name or user ID is empty, longer than
	// ChannelNameMaxBytes, or not valid UTF-8.
	ErrBadName = protocol.ErrBadName
	// ErrMessageTooBig: a message to be sent is larger than InboxMaxBytes.
	ErrMessageTooBig = protocol.ErrMessageTooBig
	// ErrKeyReused: Publication.IdempotencyKey was used before for another message to
	// the same target. Nothing was published.
	ErrKeyReused = hub.ErrKeyReused
	// ErrBrokerHistory: ClearHistory does not reach what a broker keeps.
	ErrBrokerHistory = errors.New("server: the broker keeps the history, and it can't be cleared")
)

// Why a connection ended, in CloseEvent.Err.
var (
	// ErrPongTimeout: nothing has arrived within PongTimeout after a ping.
	ErrPongTimeout = shard.ErrPongTimeout
	// ErrWriteStalled: the client has taken no byte for WriteStallTimeout.
	ErrWriteStalled = shard.ErrWriteStalled
	// ErrCloseTimeout: the client has not answered a Close frame within CloseTimeout.
	ErrCloseTimeout = shard.ErrCloseTimeout
)

// A Rejection is an error with which Handler.Upgrade or Handler.Authorize
// refuses a client in a way of its own; any other error is a plain 403.
type Rejection struct {
	// Status is the HTTP status, 300 to 599. If zero, 403.
	Status int
	// Reason is told to the client, without a full stop.
	Reason string
	// RetryAfter asks the client to stay away that long, if not zero.
	RetryAfter time.Duration
	// Header are more lines for the response (WWW-Authenticate, say).
	Header http.Header
}

// Error is the status and the reason.
func (r *Rejection) Error() string {
	return fmt.Sprintf("server: rejected with %d: %s", r.Status, r.Reason)
}

// handshakeError is err as the shard responds with it.
func handshakeError(err error) error {
	if err == nil {
		return nil
	}
	var known *handshake.Error
	if errors.As(err, &known) {
		return err
	}
	var r *Rejection
	if !errors.As(err, &r) {
		// What an application's error says is not for strangers.
		return &handshake.Error{Status: 403, Reason: "the application refused the connection"}
	}
	status := r.Status
	if status < 300 || status > 599 {
		status = 403
	}
	return &handshake.Error{Status: status, Reason: r.Reason, RetryAfter: r.RetryAfter, Header: headerLines(r.Header)}
}

// headerLines returns h as the handshake writes it, in the order of the names.
func headerLines(h http.Header) (lines []handshake.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			lines = append(lines, handshake.Header{Name: name, Value: value})
		}
	}
	return lines
}

// An IncompleteError comes with a result that lacks what some of the servers on the broker
// would have added: they did not answer in time, or an older version of them does not know
// the question. What was to be done may have been done there all the same.
type IncompleteError struct {
	// Missing are their names, or IDs.
	Missing []string
}

func (e *IncompleteError) Error() string {
	return "server: not all servers on the broker have answered; missing: " + strings.Join(e.Missing, ", ")
}
