package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// splitURL takes a ws:// URL apart: the address to connect to, the Host header,
// the request's target.
func splitURL(raw string) (to netip.AddrPort, host, path string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return to, "", "", fmt.Errorf("URL: %w", err)
	}
	if u.Scheme != "ws" {
		return to, "", "", fmt.Errorf("URL %q: the scheme must be ws (wss is not supported yet)", raw)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return to, "", "", fmt.Errorf("URL %q: port: %w", raw, err)
	}
	addr, err := resolve(u.Hostname())
	if err != nil {
		return to, "", "", err
	}
	path = u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return netip.AddrPortFrom(addr, uint16(number)), u.Host, path, nil
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
