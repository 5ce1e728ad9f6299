package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// net/http sends plain HTTP to a proxy as a request for the proxy. An upgrade must
// not go that way: RFC 6455, section 4.1, wants a tunnel (CONNECT) for ws:// too.

// tunnelFor returns the proxy that has to open a tunnel to u, which has the scheme
// http. It returns nil if there is no proxy, or one of SOCKS, where all is a tunnel.
func tunnelFor(proxy func(*http.Request) (*url.URL, error), u *url.URL) (*url.URL, error) {
	if proxy == nil {
		return nil, nil
	}
	p, err := proxy(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}})
	if err != nil || p == nil || p.Scheme != "http" && p.Scheme != "https" {
		return nil, err
	}
	return p, nil
}

// proxyAddr returns the host and port of a proxy.
func proxyAddr(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// openTunnel asks a proxy, over tcp, for a tunnel to addr. It closes tcp if that fails.
func openTunnel(ctx context.Context, tcp net.Conn, proxy *url.URL, addr string, config *tls.Config) (conn net.Conn, err error) {
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() {
		if err != nil {
			_ = tcp.Close()
			err = fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
		}
	}()
	conn = tcp
	if proxy.Scheme == "https" {
		own := config.Clone()
		if own == nil {
			own = &tls.Config{}
		}
		own.ServerName, own.NextProtos = proxy.Hostname(), nil
		conn = tls.Client(tcp, own)
	}
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	// The server says nothing before the upgrade: what the reader holds is the response.
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it refuses the tunnel to %s: %s", addr, response.Status)
	}
	return conn, nil
}
