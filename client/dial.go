package client

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/retry"
)

// A socket is a connection after the upgrade.
type socket struct {
	io.ReadWriteCloser // TLS, and bytes that came with the response to the upgrade
	// tcp takes the deadlines, which apply to TLS above it as well.
	tcp     net.Conn
	deflate frame.DeflateParams
}

// dial opens a connection. net/http does the upgrade: it has TLS, proxies for wss:// and
// a parser for any response that a server or a box on the way sends. Each connection has
// a transport of its own, so that dial learns tcp and no connection is pooled.
func dial(ctx context.Context, cfg *Config) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	u, err := httpURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	var tcp net.Conn
	user := u.User
	u.User = nil // net/http would not send it, and a proxy has no use for it
	proxy := cfg.Proxy
	var tunnel *url.URL // the proxy that opens a tunnel for ws://
	if u.Scheme == "http" {
		if tunnel, err = tunnelFor(proxy, u); err != nil {
			return nil, fmt.Errorf("client: proxy: %w", err)
		}
		if tunnel != nil {
			proxy = nil
		}
	}
	transport := &http.Transport{
		Proxy:                  proxy,
		TLSClientConfig:        cfg.TLS,
		Protocols:              new(http.Protocols),
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var err error
			if tunnel == nil {
				tcp, err = cfg.NetDial(ctx, network, addr)
				return tcp, err
			}
			if tcp, err = cfg.NetDial(ctx, network, proxyAddr(tunnel)); err != nil {
				return nil, err
			}
			return openTunnel(ctx, tcp, tunnel, addr, cfg.TLS)
		},
	}
	transport.Protocols.SetHTTP1(true)
	key := make([]byte, 16)
	_, _ = rand.Read(key) // it never fails
	request := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx)
	maps.Copy(request.Header, cfg.Header)
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	if user != nil && request.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	request.Header.Set("Upgrade", "websocket")
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Sec-WebSocket-Version", "13")
	request.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key))
	request.Header.Set("Sec-WebSocket-Protocol", Subprotocol)
	if cfg.Compression {
		request.Header.Set("Sec-WebSocket-Extensions", frame.DeflateOffer(frame.DeflateConfig{}))
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("client: connect: %w", err)
	}
	s := &socket{tcp: tcp}
	if s.deflate, err = checkUpgrade(response, request, cfg.Compression); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	// Body is an io.ReadWriteCloser where the status is 101.
	s.ReadWriteCloser = response.Body.(io.ReadWriteCloser)
	return s, nil
}

// checkUpgrade checks the response to the upgrade (RFC 6455, section 4.1).
func checkUpgrade(r *http.Response, request *http.Request, compression bool) (deflate frame.DeflateParams, err error) {
	if r.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 512))
		return deflate, &UpgradeError{
			Status:     r.StatusCode,
			RetryAfter: retry.After(r.Header.Get("Retry-After"), time.Now()),
			Location:   r.Header.Get("Location"),
			Body:       strings.ToValidUTF8(string(body), "\uFFFD"),
		}
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	extensions := strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), ", ")
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return deflate, fmt.Errorf("%w: its answer to the upgrade has no Upgrade: websocket", ErrNotSpoken)
	case r.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return deflate, fmt.Errorf("%w: its answer to the upgrade has a wrong Sec-WebSocket-Accept", ErrNotSpoken)
	case r.Header.Get("Sec-WebSocket-Protocol") != Subprotocol:
		return deflate, fmt.Errorf("%w: it has not agreed to the subprotocol (roost serve --native speaks it)", ErrNotSpoken)
	case compression:
		deflate, err = frame.AcceptDeflate(extensions, frame.DeflateConfig{})
	case extensions != "":
		err = frame.ErrExtensionResponse
	}
	if err != nil {
		return deflate, fmt.Errorf("%w: %w", ErrNotSpoken, err)
	}
	return deflate, nil
}
