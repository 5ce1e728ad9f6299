package client

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/frame"
)

// A socket is a connection after the upgrade.
type socket struct {
	io.ReadWriteCloser // TLS, and what came behind the answer to the upgrade
	// tcp takes the deadlines, which hold for TLS above it as well.
	tcp     net.Conn
	deflate frame.DeflateParams
}

// dial opens a connection. net/http does the upgrade: it brings proxies, TLS and
// the parsing of what anybody on the way may answer. Each connection has a transport
// of its own, so that tcp is known and nothing is kept of it.
func dial(ctx context.Context, cfg *Config) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	u, err := httpURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	var tcp net.Conn
	transport := &http.Transport{
		Proxy:                  cfg.Proxy,
		TLSClientConfig:        cfg.TLS,
		Protocols:              new(http.Protocols),
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var err error
			tcp, err = cfg.NetDial(ctx, network, addr)
			return tcp, err
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

// checkUpgrade is RFC 6455, section 4.1, for the server's answer.
func checkUpgrade(r *http.Response, request *http.Request, compression bool) (deflate frame.DeflateParams, err error) {
	if r.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 512))
		return deflate, &UpgradeError{
			Status:     r.StatusCode,
			RetryAfter: retryAfter(r.Header.Get("Retry-After"), time.Now()),
			Body:       strings.ToValidUTF8(string(body), "\uFFFD"),
		}
	}
	sum := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	extensions := strings.Join(r.Header.Values("Sec-WebSocket-Extensions"), ", ")
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return deflate, errors.New("client: the answer to the upgrade has no Upgrade: websocket")
	case r.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return deflate, errors.New("client: the answer to the upgrade has a wrong Sec-WebSocket-Accept")
	case r.Header.Get("Sec-WebSocket-Protocol") != Subprotocol:
		return deflate, fmt.Errorf("client: the server does not speak %s at this address", Subprotocol)
	case compression:
		deflate, err = frame.AcceptDeflate(extensions, frame.DeflateConfig{})
	case extensions != "":
		err = frame.ErrExtensionResponse
	}
	if err != nil {
		return deflate, fmt.Errorf("client: %w", err)
	}
	return deflate, nil
}

// retryAfter reads a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
