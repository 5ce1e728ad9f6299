package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// An endpoint is a server's URL taken apart.
type endpoint struct {
	to netip.AddrPort
	// host is the Host header, name the one that a certificate must be for, path
	// the request's target.
	host, name, path string
	// secure is set for wss://.
	secure bool
}

// splitURL takes a ws:// or wss:// URL apart.
func splitURL(raw string) (endpoint, error) {
	if !strings.Contains(raw, "://") {
		return endpoint{}, fmt.Errorf("URL %q has no scheme: type ws://%[1]s, or wss://%[1]s for TLS", raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, fmt.Errorf("URL: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" {
		_, rest, _ := strings.Cut(raw, "://")
		return endpoint{}, fmt.Errorf("URL %q: the scheme must be ws or wss: type ws://%s, or wss://%[2]s for TLS", raw, rest)
	}
	if u.Hostname() == "" {
		return endpoint{}, fmt.Errorf("URL %q names no host: type ws://HOST:PORT/", raw)
	}
	e := endpoint{host: u.Host, name: u.Hostname(), path: u.EscapedPath(), secure: u.Scheme == "wss"}
	port := u.Port()
	switch {
	case port != "":
	case e.secure:
		port = "443"
	default:
		port = "80"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return endpoint{}, fmt.Errorf("URL %q: port: %w", raw, err)
	}
	addr, err := resolve(e.name)
	if err != nil {
		return endpoint{}, err
	}
	e.to = netip.AddrPortFrom(addr, uint16(number))
	if e.path == "" {
		e.path = "/"
	}
	if u.RawQuery != "" {
		e.path += "?" + u.RawQuery
	}
	return e, nil
}

// resolve prefers IPv4: only there does loopback have more than one address.
func resolve(host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", host, err)
	}
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			return a, nil
		}
	}
	return addrs[0], nil
}

// trust says which certificates a client of wss:// accepts.
type trust struct {
	// Insecure accepts any.
	Insecure bool `json:"insecure,omitempty"`
	// Authorities are certificates, PEM, to believe instead of the system's.
	Authorities string `json:"authorities,omitempty"`
}

// trust reads what the options name.
func (o *Options) trust() (trust, error) {
	t := trust{Insecure: o.Insecure}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return t, fmt.Errorf("CA file: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return t, fmt.Errorf("CA file %s: no certificate in it (want PEM)", o.CAFile)
		}
		t.Authorities = string(pem)
	}
	return t, nil
}

// config is that of clients of the server called name. Sessions are not
// resumed: each handshake is a whole one.
func (t trust) config(name string) *tls.Config {
	c := &tls.Config{ServerName: name, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if t.Authorities != "" {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM([]byte(t.Authorities))
	}
	return c
}
