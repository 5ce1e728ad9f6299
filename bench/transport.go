package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Transport is how clients of the native protocol reach the server: over a
// WebSocket, or over one of its fallbacks (docs/fallbacks.md).
type Transport string

// The transports.
const (
	TransportWebSocket Transport = "ws"
	TransportSSE       Transport = "sse"
	TransportPoll      Transport = "poll"
)

// path is where the server serves a fallback.
func (t Transport) path() string { return "/v1/" + string(t) }

// fallback reports whether t is plain HTTP.
func (t Transport) fallback() bool { return t == TransportSSE || t == TransportPoll }

// openText says what a client has done when its connection is open.
func (t Transport) openText() string {
	switch t {
	case TransportSSE:
		return "connect to the head of the stream"
	case TransportPoll:
		return "connect to the first response"
	}
	return "connect to upgrade"
}

// over makes t the transport of the options' clients. A fallback's URL may be
// written http:// and without its path.
func (o *Options) over(t Transport) error {
	setDefault(&t, TransportWebSocket)
	o.transport = t
	switch {
	case t == TransportWebSocket:
		return nil
	case !t.fallback():
		return fmt.Errorf("transport %q: want ws, sse or poll", t)
	case o.Native == "":
		return errors.New("a fallback carries the native protocol: add --native CHANNEL")
	case len(o.Subscribe) > 0 || o.Compression || o.Binary:
		return errors.New("--subscribe, --binary and --compression are for WebSockets: clients of a fallback subscribe to the channel of --native")
	}
	o.socketURL()
	return nil
}

// socketURL writes an http:// URL as ws://.
func (o *Options) socketURL() {
	if rest, ok := strings.CutPrefix(o.URL, "http"); ok {
		o.URL = "ws" + rest
	}
}

// pollWait is how long a poll waits at the server. Proxies cut what is silent for a
// minute.
const pollWait = 25 * time.Second

// nativePublisher completes a configuration that names no publish API: messages
// are published to the channel by POST /v1/poll on the server's own port, each in a
// request that connects, with the token of connection 0.
func (cfg *BroadcastConfig) nativePublisher() error {
	if cfg.Native == "" || cfg.PublishURL != "" {
		return nil
	}
	e, err := splitURL(cfg.URL)
	if err != nil {
		return err
	}
	cfg.PublishURL = "http://" + e.host + TransportPoll.path()
	if e.secure {
		cfg.PublishURL = "https://" + e.host + TransportPoll.path()
	}
	signer, err := cfg.tokens()
	if err != nil {
		return err
	}
	channel, err := newPerConn(cfg.Native, signer)
	if err != nil {
		return err
	}
	name, _ := channel.expand(0) // newPerConn has tried it
	cfg.PublishBody = `{"connect":{}}` + "\n" + `{"id":2,"publish":{"channel":` + jsonText(name) + `,"data":"{{.Payload}}"}}`
	if cfg.TokenSecretFile != "" {
		token, err := signer.sign(0)
		if err != nil {
			return err
		}
		cfg.PublishHeaders = append(cfg.PublishHeaders, "Authorization: Bearer "+token)
	}
	return nil
}
