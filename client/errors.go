package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
)

// Errors of the client. Those of the server are *ServerError, *frame.CloseError and
// *UpgradeError.
var (
	// ErrClosed: Close was called, or the client has given up; Client.Err says why.
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
	// ErrUnauthorized is returned by Config.Token and ChannelToken, perhaps wrapped,
	// where there is no token and there will be none.
	ErrUnauthorized = errors.New("client: unauthorized")
	// ErrNotSpoken: the server at Config.URL does not speak this protocol.
	ErrNotSpoken = errors.New("client: the server does not speak " + Subprotocol + " at this address")
	// ErrSilent ends a connection on which nothing came from the server for so long that
	// it must be dead, though TCP reports no error.
	ErrSilent = errors.New("client: the server is silent")
	// ErrSlowHandler ends a connection whose handlers are so far behind that reading on
	// would need more memory than Config.BufferBytes allows. The client reconnects when
	// they have caught up, and resumes.
	ErrSlowHandler = errors.New("client: handlers are too slow")
	// ErrNoAnswer ends a connection on which the server left a connect or
	// subscribe unanswered for Config.CommandTimeout.
	ErrNoAnswer = errors.New("client: the server does not answer")
)

// A MessageTooLargeError says that a command was not sent, since the server closes the
// connection of a client that sends more than it allows (close code 1009). The
// connection stays open.
type MessageTooLargeError struct {
	// Command is its name in the protocol: publish, call, …
	Command string
	// Bytes is the size of the whole message, and MaxBytes what the server allows.
	Bytes, MaxBytes int
}

// Error names the command and both sizes.
func (e *MessageTooLargeError) Error() string {
	return fmt.Sprintf("client: %s is a message of %d bytes, and the server allows %d", e.Command, e.Bytes, e.MaxBytes)
}

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
	// CloseBadRequest: the client sent something that is not of the protocol.
	CloseBadRequest frame.CloseCode = 4400
	// CloseTokenExpired: the token has expired, or connect came too late.
	CloseTokenExpired frame.CloseCode = 4401
	// CloseDisconnected: the application has disconnected this client, which must not
	// reconnect by itself.
	CloseDisconnected frame.CloseCode = 4403
)

// A ServerError is the server's reply to a command that it refused.
type ServerError struct {
	Code    ErrorCode
	Message string
	// RetryAfter is the time after which the command may be tried again, zero if the
	// server did not say.
	RetryAfter time.Duration
}

// Error names message and code.
func (e *ServerError) Error() string {
	return fmt.Sprintf("server: %s (%d)", e.Message, int(e.Code))
}

// Temporary reports whether the same command may succeed later.
func (e *ServerError) Temporary() bool {
	switch e.Code {
	case CodeInternal, CodeBusy, CodeTimeout:
		return true
	}
	return e.RetryAfter > 0
}

// An UpgradeError says that the response to the upgrade, from the server or a proxy, was
// not "101 Switching Protocols".
type UpgradeError struct {
	// Status is the HTTP status.
	Status int
	// RetryAfter is the delay of the header Retry-After, zero without one.
	RetryAfter time.Duration
	// Location is the target of a redirect. The client does not follow it.
	Location string
	// Body is the beginning of the response's body.
	Body string
}

// Error names the status, the body and, where there is one, what to do about it.
func (e *UpgradeError) Error() string {
	text := "client: upgrade refused with status " + strconv.Itoa(e.Status)
	if body := strings.TrimSpace(e.Body); body != "" {
		text += ": " + body
	}
	if next := e.nextStep(); next != "" {
		text += " (" + next + ")"
	}
	return text
}

// nextStep returns what to do about a refusal.
func (e *UpgradeError) nextStep() string {
	switch {
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusProxyAuthRequired:
		return "it wants credentials: put user:password@ into the URL, or set Authorization in Config.Header"
	case e.Status == http.StatusForbidden:
		return "the server, or a proxy before it, refuses this client: look at its log, and at the Origin header"
	case e.Status == http.StatusNotFound:
		return "there is nothing at this path: check the URL"
	case e.Status >= 300 && e.Status < 400 && e.Location != "":
		return "redirects are not followed: use " + e.Location
	case e.Status < 400, e.Status == http.StatusUpgradeRequired:
		return "something other than a WebSocket server answers there, or a proxy before it takes Upgrade off: check host, port and path"
	}
	return ""
}

// mends reports whether the same upgrade may succeed later without a change of client
// or server.
func (e *UpgradeError) mends() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return e.Status >= 500
}

// misdirected reports whether an error of an attempt says that the address, the
// credentials or the server are wrong, rather than that the server is away.
func misdirected(err error) bool {
	if refused, ok := errors.AsType[*UpgradeError](err); ok {
		return !refused.mends()
	}
	if refused, ok := errors.AsType[*ServerError](err); ok {
		// There may be a better token.
		return !refused.Temporary() && !refusesToken(err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	// net/http has no type for an answer that is not HTTP.
	return errors.Is(err, ErrNotSpoken) || err != nil && strings.Contains(err.Error(), "malformed HTTP")
}

// maxServerDelay bounds the delay that a server may ask for: an hour is longer than any
// deployment, and a wrong figure does not keep a client away for ever.
const maxServerDelay = time.Hour

// serverDelay returns the delay that the server asks for in err, zero if there is none.
// A delay that many clients may have got gets up to a quarter on top; that of a close
// reason is spread already.
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

// retryOf returns the "; retry=MS" at the end of a close reason.
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
