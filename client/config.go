package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"time"
)

// Subprotocol is the WebSocket subprotocol that this package speaks.
const Subprotocol = "roost.v1.json"

// Config says where to connect, with which identity and within which bounds. Only URL is
// required. New copies it; the callbacks may be called from then on.
type Config struct {
	// URL is the server's address: ws://host:port/path or wss://. A user and password
	// in it become Authorization: Basic, unless Header has an Authorization.
	URL string

	// Token returns a token that identifies the client. It is called before each
	// connection, again when about four fifths of the token's life are over (the
	// connection stays open), and after the server has refused a token. It may block
	// until ctx is done, which is after CommandTimeout. After an error it is called
	// again, with the delays of a lost connection. An error that wraps ErrUnauthorized
	// ends the client, and so does a refused token that it returns again. If nil, the
	// client is anonymous.
	Token func(ctx context.Context) (string, error)
	// ChannelToken returns a token for a channel that the client subscribes to, in the
	// same way; "" for channels that need none. If nil, no channel needs one.
	ChannelToken func(ctx context.Context, channel string) (string, error)
	// Name says what the client is, for example "shop-web/4.2". The server logs it when
	// it refuses a connect, and shows it to the application's connect hook.
	Name string
	// Data is passed to the application with each connect: JSON, or nothing.
	Data json.RawMessage

	// OnState is called for each change of the connection, one at a time and in order.
	// It may call any method, but must not wait for Done. While 64 changes wait for it,
	// the client does not reconnect.
	OnState func(StateEvent)
	// OnMessage is called for the messages of channels that the server has subscribed this
	// client to (its user's, those of its token) and that have no Subscription, and for
	// messages to this connection alone; one at a time and in order. If nil, they are
	// counted as Stats.Unhandled.
	OnMessage func(ctx context.Context, m *Message)
	// Resume holds positions in channels that the server subscribes this client to, kept
	// by an earlier process (Message.Position): the first connection asks for the
	// messages after them. EventSubscribed reports whether they follow.
	Resume map[string]Position
	// OnEvent is called for the events of those channels, in order with OnMessage.
	OnEvent func(*Event)

	// Header is added to the upgrade request.
	Header http.Header
	// TLS is for wss:// addresses. If nil, the system's certificates are trusted.
	TLS *tls.Config
	// Proxy returns the proxy for the upgrade request, which has an http or https
	// address. The connection is a tunnel through it (CONNECT, or SOCKS). If nil,
	// http.ProxyFromEnvironment: HTTP_PROXY for ws://, HTTPS_PROXY for wss://, and
	// NO_PROXY.
	Proxy func(*http.Request) (*url.URL, error)
	// NetDial opens the TCP connection. If nil, a net.Dialer is used.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Compression offers permessage-deflate. It costs the server far more CPU time than
	// the client, and is worth it for large messages on slow networks.
	Compression bool

	// DialTimeout bounds TCP, TLS and the upgrade together. If zero, 10 s.
	DialTimeout time.Duration
	// WriteTimeout bounds one write; a connection on which it takes longer is closed. If
	// zero, 10 s.
	WriteTimeout time.Duration
	// CommandTimeout bounds the wait for a connection and then for the reply to a command,
	// beside the command's context. A connection on which connect or subscribe has no
	// reply for so long is closed. If zero, 15 s.
	CommandTimeout time.Duration
	// ReconnectMin and ReconnectMax bound the delay before the client connects
	// again: it is random between zero and ReconnectMin, which doubles with each
	// failed attempt up to ReconnectMax; the delay that the server asks for comes on top.
	// If zero, 500 ms and 20 s.
	ReconnectMin, ReconnectMax time.Duration

	// MaxMessageBytes bounds one message of the server, after inflating. If zero, 4 MiB.
	MaxMessageBytes int64
	// MaxPendingCommands and MaxPendingBytes bound the commands that wait for a reply
	// and the bytes that wait to be written; one more is refused with
	// ErrTooManyPending. If zero, 1,024 and 1 MiB.
	MaxPendingCommands, MaxPendingBytes int
	// BufferBytes is how many bytes may wait for handlers before the client stops reading;
	// see the package's comment. If zero, 256 KiB.
	BufferBytes int
}

// withDefaults returns cfg with every zero field replaced.
func (cfg Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&cfg.DialTimeout, 10 * time.Second},
		{&cfg.WriteTimeout, 10 * time.Second},
		{&cfg.CommandTimeout, 15 * time.Second},
		{&cfg.ReconnectMin, 500 * time.Millisecond},
		{&cfg.ReconnectMax, 20 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if cfg.MaxMessageBytes == 0 {
		cfg.MaxMessageBytes = 4 << 20
	}
	if cfg.MaxPendingCommands == 0 {
		cfg.MaxPendingCommands = 1024
	}
	if cfg.MaxPendingBytes == 0 {
		cfg.MaxPendingBytes = 1 << 20
	}
	if cfg.BufferBytes == 0 {
		cfg.BufferBytes = 256 << 10
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	if cfg.NetDial == nil {
		cfg.NetDial = new(net.Dialer).DialContext
	}
	return cfg
}

// ownHeaders are the headers of the upgrade request that Config.Header must not set.
var ownHeaders = []string{"Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version",
	"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"}

// validate returns every mistake in a Config with defaults.
func (cfg Config) validate() error {
	var errs []error
	if _, err := httpURL(cfg.URL); err != nil {
		errs = append(errs, err)
	}
	if len(cfg.Data) > 0 && !json.Valid(cfg.Data) {
		errs = append(errs, errors.New("Config.Data is not JSON"))
	}
	for name := range cfg.Header {
		for _, own := range ownHeaders {
			if textproto.CanonicalMIMEHeaderKey(name) == own {
				errs = append(errs, fmt.Errorf("Config.Header has %s, which the client sets itself", own))
			}
		}
	}
	for _, bound := range []struct {
		name  string
		value int64
	}{
		{"DialTimeout", int64(cfg.DialTimeout)}, {"WriteTimeout", int64(cfg.WriteTimeout)},
		{"CommandTimeout", int64(cfg.CommandTimeout)}, {"ReconnectMin", int64(cfg.ReconnectMin)},
		{"MaxMessageBytes", cfg.MaxMessageBytes}, {"MaxPendingCommands", int64(cfg.MaxPendingCommands)},
		{"MaxPendingBytes", int64(cfg.MaxPendingBytes)}, {"BufferBytes", int64(cfg.BufferBytes)},
	} {
		if bound.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", bound.name))
		}
	}
	if cfg.ReconnectMax < cfg.ReconnectMin {
		errs = append(errs, fmt.Errorf("ReconnectMax, %s, is less than ReconnectMin, %s", cfg.ReconnectMax, cfg.ReconnectMin))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

// httpURL returns a WebSocket address with the scheme that net/http knows.
func httpURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		// The error of url.Parse holds the whole address, with a password if there is one.
		return nil, errors.New("URL is malformed: it has to be ws://host:port/path, or wss://")
	case u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("URL is %q: it has to be ws://host:port/path, or wss://", u.Redacted())
	case u.Fragment != "":
		return nil, fmt.Errorf("URL is %q: it must not have a fragment (RFC 6455, section 3)", u.Redacted())
	}
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	return u, nil
}
