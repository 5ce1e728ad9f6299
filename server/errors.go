package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Errors that callers test for with errors.Is.
var (
	// ErrBusy: a loop's inbox is at InboxMaxEntries or InboxMaxBytes. Nothing
	// was sent to anybody. Try again later, or slow down.
	ErrBusy = hub.ErrBusy
	// ErrServerClosed: the server is closed or shutting down, or was never started.
	ErrServerClosed = netpoll.ErrEngineClosed
	// errNotStarted says more where the caller has forgotten Start.
	errNotStarted = fmt.Errorf("server: Start was not called (%w)", ErrServerClosed)
	// ErrBadName: a channel name or user ID is empty, longer than
	// ChannelNameMaxBytes, or not valid UTF-8.
	ErrBadName = protocol.ErrBadName
	// ErrTooManySubscriptions: the connection is in SubscriptionsMax channels.
	ErrTooManySubscriptions = shard.ErrTooManySubscriptions
	// ErrMessageTooBig: a message to be sent is larger than InboxMaxBytes.
	ErrMessageTooBig = protocol.ErrMessageTooBig
	// ErrKeyReused: Publication.IdempotencyKey was used before for another message to
	// the same target. Nothing was published.
	ErrKeyReused = hub.ErrKeyReused
)

// Why a connection ended, in CloseEvent.Err.
var (
	ErrHandshakeTimeout = shard.ErrHandshakeTimeout
	ErrPongTimeout      = shard.ErrPongTimeout
	ErrWriteStalled     = shard.ErrWriteStalled
	ErrCloseTimeout     = shard.ErrCloseTimeout
	// ErrTooManyFromAddress: Limits.ConnectionsPerAddress was reached.
	ErrTooManyFromAddress = shard.ErrTooManyFromAddress
	// ErrTooOftenFromAddress: Limits.ConnectRatePerAddress was reached.
	ErrTooOftenFromAddress = shard.ErrTooOftenFromAddress
)

// Header is one line of an HTTP response.
type Header = handshake.Header

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
	Header []Header
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
	return &handshake.Error{Status: status, Reason: r.Reason, RetryAfter: r.RetryAfter, Header: r.Header}
}
