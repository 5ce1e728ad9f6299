package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// NativeSubprotocol is the WebSocket subprotocol of the native protocol, which
// docs/protocol.md specifies.
const NativeSubprotocol = "roost.v1.json"

// Native configures the native protocol, for clients that offer
// NativeSubprotocol. Others speak raw messages, as without it.
//
// The hooks are asked on goroutines of their own and may block; ctx ends with
// HandshakeTimeout. The connection is not read meanwhile. An error refuses: a
// *ProtocolError as it is, any other as ErrorPermissionDenied, its text only in the log.
type Native struct {
	// Anonymous lets clients in that show no token and that Handler.Upgrade or Authorize gave no
	// identity.
	Anonymous bool
	// Connect checks a client's token and says who it is (package token has one
	// for JWT). It is not asked about one that shows none and needs none. If nil, a
	// client that shows a token is refused.
	Connect func(ctx context.Context, r *ConnectRequest) error
	// Refresh does the same for a new token on an open connection. If nil,
	// Connect is asked.
	Refresh func(ctx context.Context, r *ConnectRequest) error
	// Subscribe is asked where Namespace.Subscribe is AccessGranted and the
	// connection's Permissions do not allow it. If nil, that is refused.
	Subscribe func(ctx context.Context, r *SubscribeRequest) error
	// Publish is asked in the same way where Namespace.Publish is AccessGranted.
	Publish func(ctx context.Context, r *PublishRequest) error
	// Call answers a client's request to the application. If nil, there are no methods.
	Call func(ctx context.Context, r *CallRequest) error
}

// A ConnectRequest is a client's connect or refresh, and the application's answer.
type ConnectRequest struct {
	// Client is the connection's name, as Conn.String gives it.
	Client string
	// Token is what the client shows; empty if nothing.
	Token string
	// Name is what the client says that it is, for logs.
	Name string
	// Data is what the client adds, JSON or nothing.
	Data json.RawMessage
	// RemoteAddr is the client's address, as in UpgradeRequest.
	RemoteAddr netip.AddrPort

	// User is the identity. It is set already if Handler.Upgrade or
	// Authorize has given one. Set by the application; must not change in Refresh.
	User string
	// Expires is when the connection ends unless a new token comes before. Zero: never.
	// Set by the application.
	Expires time.Time
	// Channels are subscribed by the server. Set by the application. Only in Connect.
	Channels []string
	// Allow is what the client may do in namespaces with AccessGranted. Set by the application.
	Allow Permissions
	// MessageRate bounds the messages a second of this client, below Config.MessageRate. 0: no bound of its own.
	MessageRate int
	// Info is what presence tells of it, JSON or nothing. Set by the application. Only in Connect.
	Info json.RawMessage
	// Reply is given to the client, JSON or nothing. Set by the application.
	Reply json.RawMessage
}

// Permissions are patterns of channel names: a name, or a prefix followed by
// "*", which stands for anything.
type Permissions struct {
	Subscribe []string
	Publish   []string
}

// A SubscribeRequest is a client's wish to subscribe to a channel for which it has no permission yet.
type SubscribeRequest struct {
	Client, User, Channel string
	// Token is what the client shows for this channel; empty if nothing.
	Token string
	// Expires is when the subscription ends unless a new token comes before. Zero: never.
	// Set by the application.
	Expires time.Time
}

// A PublishRequest is a client's wish to publish.
type PublishRequest struct {
	Client, User, Channel string
	// Data is the message, JSON. Set by the application, it is what is published instead.
	Data json.RawMessage
}

// A CallRequest is a client's request to the application.
type CallRequest struct {
	Client, User, Method string
	// Data is the request, JSON or nothing.
	Data json.RawMessage
	// Reply is the answer, JSON or nothing. Set by the application.
	Reply json.RawMessage
}

// ErrorCode is a stable number in the native protocol's errors.
type ErrorCode int

// The error codes (docs/protocol.md).
const (
	ErrorInternal          ErrorCode = 100
	ErrorUnauthorized      ErrorCode = 101
	ErrorTokenExpired      ErrorCode = 102
	ErrorPermissionDenied  ErrorCode = 103
	ErrorUnknownNamespace  ErrorCode = 104
	ErrorBadRequest        ErrorCode = 105
	ErrorAlreadySubscribed ErrorCode = 106
	ErrorNotSubscribed     ErrorCode = 107
	ErrorLimit             ErrorCode = 108
	ErrorUnknownMethod     ErrorCode = 109
	ErrorNotAvailable      ErrorCode = 110
	ErrorBusy              ErrorCode = 111
	ErrorTimeout           ErrorCode = 112
)

// A ProtocolError is an error as a native client is told it.
type ProtocolError struct {
	Code    ErrorCode
	Message string
	// RetryAfter tells the client when to try again, if not zero.
	RetryAfter time.Duration
}

// Error names code and message.
func (e *ProtocolError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, int(e.Code)) }

// Status is the HTTP status that says the same best.
func (e *ProtocolError) Status() int {
	switch e.Code {
	case ErrorUnauthorized, ErrorTokenExpired:
		return http.StatusUnauthorized
	case ErrorPermissionDenied:
		return http.StatusForbidden
	case ErrorUnknownNamespace, ErrorNotSubscribed, ErrorUnknownMethod, ErrorNotAvailable:
		return http.StatusNotFound
	case ErrorBadRequest, ErrorAlreadySubscribed:
		return http.StatusBadRequest
	case ErrorLimit:
		return http.StatusTooManyRequests
	case ErrorBusy, ErrorTimeout:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
