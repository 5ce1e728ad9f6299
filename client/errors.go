package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
)

// Errors of this end. Those of the server are *ServerError, *frame.CloseError and
// *UpgradeError.
var (
	// ErrClosed: Close was called, or the client has given up; Client.Err tells why.
	ErrClosed = errors.New("client: closed")
	// ErrDisconnected: the connection was lost before the answer came. Whether the
	// command was carried out is not known.
	ErrDisconnected = errors.New("client: connection lost before the answer")
	// ErrTooManyPending: Config.MaxPendingCommands or MaxPendingBytes is reached.
	ErrTooManyPending = errors.New("client: too many commands wait for the server")
	// ErrAlreadySubscribed: there is a Subscription for that channel.
	ErrAlreadySubscribed = errors.New("client: already subscribed to this channel")
	// ErrUnsubscribed ends a Subscription on which Unsubscribe was called.
	ErrUnsubscribed = errors.New("client: unsubscribed")
	// ErrUnauthorized is for Config.Token and ChannelToken: an error that wraps it says
	// that there is no token and will be none.
	ErrUnauthorized = errors.New("client: unauthorized")
	// ErrSilent ends a connection on which nothing was heard from the server for so
	// long that it must be dead, whatever TCP says.
	ErrSilent = errors.New("client: the server is silent")
	// ErrSlowHandler ends a connection whose handlers are so far behind that
	// reading on would need more memory than Config.BufferBytes allows for. The
	// client comes back when they have caught up, and resumes.
	ErrSlowHandler = errors.New("client: handlers are too slow")
	// ErrNoAnswer ends a connection on which the server left a connect or
	// subscribe unanswered for Config.CommandTimeout.
	ErrNoAnswer = errors.New("client: the server does not answer")
)

// ErrorCode is the number of an error of the protocol.
type ErrorCode int

// The error codes of roost.v1.json.
const (
	CodeInternal          ErrorCode = 100
	CodeUnauthorized      ErrorCode = 101
	CodeTokenExpired      ErrorCode = 102
	CodePermissionDenied  ErrorCode = 103
	CodeUnknownNamespace  ErrorCode = 104
	CodeBadRequest        ErrorCode = 105
	CodeAlreadySubscribed ErrorCode = 106
	CodeNotSubscribed     ErrorCode = 107
	CodeLimit             ErrorCode = 108
	CodeUnknownMethod     ErrorCode = 109
	CodeNotAvailable      ErrorCode = 110
	CodeBusy              ErrorCode = 111
	CodeTimeout           ErrorCode = 112
)

// The close codes of roost.v1.json beside WebSocket's own (package frame).
const (
	// CloseBadRequest: this end sent what is not of the protocol.
	CloseBadRequest frame.CloseCode = 4400
	// CloseTokenExpired: the token has expired, or connect came too late.
	CloseTokenExpired frame.CloseCode = 4401
	// CloseForbidden: the application has sent this client away for good.
	CloseForbidden frame.CloseCode = 4403
)

// A ServerError is the server's answer to a command that it did not carry out.
type ServerError struct {
	Code    ErrorCode
	Message string
	// RetryAfter is when it may be tried again, zero if the server did not say.
	RetryAfter time.Duration
}

// Error names message and code.
func (e *ServerError) Error() string {
	return fmt.Sprintf("server: %s (%d)", e.Message, int(e.Code))
}

// Temporary tells whether the same command may succeed later.
func (e *ServerError) Temporary() bool {
	switch e.Code {
	case CodeInternal, CodeBusy, CodeTimeout:
		return true
	}
	return e.RetryAfter > 0
}

// An UpgradeError says that a server, or a proxy, answered the upgrade with
// something other than "101 Switching Protocols".
type UpgradeError struct {
	// Status is the HTTP status.
	Status int
	// RetryAfter is what Retry-After asked for, zero if nothing.
	RetryAfter time.Duration
	// Body is the beginning of the answer's body.
	Body string
}

// Error names the status and what the body says.
func (e *UpgradeError) Error() string {
	text := "client: upgrade refused with status " + strconv.Itoa(e.Status)
	if body := strings.TrimSpace(e.Body); body != "" {
		text += ": " + body
	}
	return text
}

// maxServerDelay bounds what a server may ask for: an hour is longer than any
// deployment, and a mistaken figure does not keep a client away for ever.
const maxServerDelay = time.Hour

// serverDelay is how long to stay away because the server asks for it, zero if it does
// not. What it may have told many at once gets up to a quarter on top; the delay in a
// close reason is spread already.
func serverDelay(err error) (delay time.Duration) {
	if upgrade, ok := errors.AsType[*UpgradeError](err); ok {
		delay = upgrade.RetryAfter
	} else if server, ok := errors.AsType[*ServerError](err); ok {
		delay = server.RetryAfter
	} else if closed, ok := errors.AsType[*frame.CloseError](err); ok {
		delay = retryOf(closed.Reason)
	}
	delay = min(max(delay, 0), maxServerDelay)
	if _, ok := errors.AsType[*frame.CloseError](err); ok {
		return delay
	}
	return delay + rand.N(delay/4+1)
}

// retryOf reads the "; retry=MS" at the end of a close reason.
func retryOf(reason string) time.Duration {
	const mark = "; retry="
	i := strings.LastIndex(reason, mark)
	if i < 0 {
		return 0
	}
	ms, err := strconv.ParseUint(reason[i+len(mark):], 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
