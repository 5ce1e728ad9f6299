package protocol

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"
)

// An Application decides who clients are and what they may do, and answers
// their calls. It is the same for every protocol.
//
// Each function runs on its own goroutine, may block, and may be called for
// several clients at once. ctx ends with server.Config.HandshakeTimeout; a later
// result is dropped. An error refuses: the client gets an *Error as it is, and
// CodePermissionDenied for any other, whose text only the log has.
type Application struct {
	// Protocols are what clients may speak besides raw messages. If empty, the native
	// protocol (package protocol/native).
	Protocols []Codec
	// Anonymous admits clients that show no token and to which Handler.Upgrade or
	// Authorize gave no identity.
	Anonymous bool
	// Connect checks a client's token and sets its identity (package token has a
	// Connect for JWT). It is not called for a client that shows no token and needs
	// none. If nil, a client that shows a token is refused.
	Connect func(ctx context.Context, r *ConnectRequest) error
	// Refresh does the same for a new token on an open connection. If nil,
	// Connect is called.
	Refresh func(ctx context.Context, r *ConnectRequest) error
	// Subscribe is called where Namespace.Subscribe is AccessGranted and the
	// connection's Permissions do not cover the channel. If nil, that is refused.
	Subscribe func(ctx context.Context, r *SubscribeRequest) error
	// Publish is called in the same way where Namespace.Publish is AccessGranted.
	Publish func(ctx context.Context, r *PublishRequest) error
	// Call answers a client's request to the application. If nil, there are no
	// methods.
	Call func(ctx context.Context, r *CallRequest) error
	// Parts selects what Connect gets of the upgrade request: ConnectRequest.Upgrade.
	Parts Selection
}

// A ConnectRequest is a client's connect or refresh, and the application's answer.
type ConnectRequest struct {
	// Client is the connection's name, as Conn.String returns it.
	Client string
	// Token is the client's token; empty if it shows none.
	Token string
	// Name is the client's description of itself, for logs.
	Name string
	// Data is what the client adds, JSON or nothing.
	Data json.RawMessage
	// Protocol is that of the client if it is a Keeper, and Namespace the part of the server
	// to which it connects there.
	Protocol, Namespace string
	// RemoteAddr is the client's address, as in UpgradeRequest.
	RemoteAddr netip.AddrPort
	// Upgrade has the parts of the upgrade request that Application.Parts selects, nil if
	// there are none. Only in Connect.
	Upgrade *UpgradeParts

	// User is the identity. It is already set if Handler.Upgrade or
	// Authorize has given one. Set by the application; must not change in Refresh.
	User string
	// Expires is when the connection ends unless a new token comes before. Zero: never.
	// Set by the application.
	Expires time.Time
	// Channels are subscribed by the server. Set by the application. Only in Connect.
	Channels []string
	// Rooms are joined by the client, in its Namespace. Set by the application. Only in
	// Connect, and for protocols with rooms.
	Rooms []string
	// Allow is what the client may do in namespaces with AccessGranted. Set by the application.
	Allow Permissions
	// MessageRate bounds the messages a second of this client, below
	// Limits.MessageRate. Zero: no bound of its own. Set by the application.
	MessageRate int
	// Info is what presence shows of the connection, JSON or nothing. Set by the
	// application. Only in Connect.
	Info json.RawMessage
	// Reply is given to the client, JSON or nothing. Set by the application.
	Reply json.RawMessage
}

// A SubscribeRequest asks whether a client may subscribe to a channel for which
// it has no permission yet.
type SubscribeRequest struct {
	Client, User, Channel string
	// Token is the client's token for this channel; empty if it shows none.
	Token string
	// Expires is when the subscription ends unless a new token comes before. Zero: never.
	// Set by the application.
	Expires time.Time
}

// A PublishRequest asks whether a client may publish.
type PublishRequest struct {
	Client, User, Channel string
	// Data is the message, JSON. Set by the application, it is published instead.
	Data json.RawMessage
	// Base64: Data is a JSON string that holds binary data in base64.
	Base64 bool
}

// A CallRequest is a client's request to the application.
type CallRequest struct {
	Client, User, Method string
	// Data is the request, JSON or nothing.
	Data json.RawMessage
	// Protocol, Namespace and Socket are those of the client if its protocol is a Keeper; Method
	// is then the name of the client's event, and Data its arguments, an array.
	Protocol, Namespace, Socket string
	// Reply is the answer, JSON or nothing. Set by the application.
	Reply json.RawMessage
	// Join and Leave are channels that the client is subscribed to, and taken out of, before it
	// gets the answer; where its protocol has rooms, rooms of the Namespace. Set by the
	// application.
	Join, Leave []string
}
