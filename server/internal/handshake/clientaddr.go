package handshake

import (
	"bytes"
	"fmt"
	"net/netip"
	"unsafe"
)

// A ForwardedHeader is the header in which a proxy names the client whose request
// it passes on.
type ForwardedHeader int

const (
	// XForwardedFor is the header that nearly all proxies write.
	XForwardedFor ForwardedHeader = iota
	// Forwarded is RFC 7239's.
	Forwarded
)

// Forwarding says which proxies to believe about the client's address, and in
// which header. Only one header is read: a proxy that writes one of them passes
// the other on as the client wrote it. The zero value believes no proxy.
type Forwarding struct {
	// Header is the one that the proxies write.
	Header ForwardedHeader
	// Trusted are the proxies' addresses.
	Trusted []netip.Prefix
	// TrustUnix believes every peer on a unix socket, which has no address.
	TrustUnix bool
}

// ParseForwarding reads the configuration's words: header is "x-forwarded-for"
// (or empty) or "forwarded", trusted has addresses, prefixes (10.0.0.0/8) and
// "unix".
func ParseForwarding(header string, trusted []string) (Forwarding, error) {
	var f Forwarding
	switch {
	case header == "" || equalFold(header, "X-Forwarded-For"):
	case equalFold(header, "Forwarded"):
		f.Header = Forwarded
	default:
		return Forwarding{}, fmt.Errorf("forwarded header %q: want x-forwarded-for or forwarded", header)
	}
	for _, s := range trusted {
		if s == "unix" {
			f.TrustUnix = true
			continue
		}
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		// An IPv4 address is compared as such, however it was written.
		if err != nil || p.Addr().Is4In6() {
			return Forwarding{}, fmt.Errorf("trusted proxy %q: want an address, a prefix like 10.0.0.0/8, or unix", s)
		}
		f.Trusted = append(f.Trusted, p.Masked())
	}
	return f, nil
}

// ClientAddr is the address of the client that a request came from; peer is
// the other end of the connection (the zero Addr for a unix socket).
//
// Each proxy appends the address that it got the request from. So the list is read
// from the right, as long as the proxies that wrote it are trusted: the first
// address that is not is the client, and what is left of it is only the client's
// word. If all are
// trusted, it is the leftmost. Where the list has something that is no address
// (unknown, _hidden, garbage), the client is the proxy that wrote so.
func (f *Forwarding) ClientAddr(r *Request, peer netip.Addr) netip.Addr {
	client := peer.Unmap().WithZone("")
	if !f.Trusts(client) {
		return client
	}
	name, parse := f.Header.String(), parseNode
	if f.Header == Forwarded {
		parse = parseForwarded
	}
	for i := r.count - 1; i >= 0; i-- {
		if !r.fields[i].Is(name) {
			continue
		}
		for list := r.fields[i].Value; len(list) > 0; {
			var item []byte
			if list, item = lastItem(list); len(item) == 0 {
				continue
			}
			a, ok := parse(item)
			if !ok {
				return client
			}
			if client = a; !f.Trusts(a) {
				return client
			}
		}
	}
	return client
}

// String is the header's name.
func (h ForwardedHeader) String() string {
	if h == Forwarded {
		return "Forwarded"
	}
	return "X-Forwarded-For"
}

// Ignores reports whether a request has the header, but comes from a peer that is
// not believed.
func (f *Forwarding) Ignores(r *Request, peer netip.Addr) bool {
	return !f.Trusts(peer) && r.Get(f.Header.String()) != nil
}

// Trusts reports whether a is one of the proxies. The zero Addr stands for a
// unix socket's peer. The zone of a link-local address does not count: a prefix
// has none, and netip's Contains would be false for every address with one.
func (f *Forwarding) Trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return f.TrustUnix
	}
	a = a.Unmap().WithZone("")
	for _, p := range f.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// lastItem takes the last element off a comma-separated list whose elements may
// have quoted strings. It counts quotes from the right, because there stands
// what a trusted proxy wrote: a quote that the client left open on the left must
// not swallow it.
func lastItem(list []byte) (rest, item []byte) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			return list[:i], trimOWS(list[i+1:])
		}
	}
	return nil, trimOWS(list)
}

// parseForwarded: RFC 7239 section 4, pairs of token=value with semicolons
// between them, one of which is for.
func parseForwarded(item []byte) (client netip.Addr, ok bool) {
	for len(item) > 0 {
		pair := item
		if i := bytes.IndexByte(item, ';'); i >= 0 {
			pair, item = item[:i], item[i+1:]
		} else {
			item = nil
		}
		name, value, found := bytes.Cut(trimOWS(pair), []byte("="))
		if !found || len(name) == 0 || outside(name, classToken) < len(name) {
			return netip.Addr{}, false
		}
		if !equalFold(name, "for") {
			continue
		}
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		if client.IsValid() {
			return netip.Addr{}, false // for comes twice
		}
		if client, ok = parseNode(value); !ok {
			return netip.Addr{}, false
		}
	}
	return client, ok
}

// parseNode reads an address, with or without a port: 192.0.2.1,
// 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. The port is
// dropped.
func parseNode(p []byte) (netip.Addr, bool) {
	if len(p) > 0 && p[0] == '[' {
		end := bytes.IndexByte(p, ']')
		if end < 0 || !validPort(p[end+1:]) {
			return netip.Addr{}, false
		}
		p = p[1:end]
		if bytes.IndexByte(p, ':') < 0 {
			return netip.Addr{}, false // brackets are for IPv6
		}
	} else if i := bytes.IndexByte(p, ':'); i >= 0 && i == bytes.LastIndexByte(p, ':') {
		if !validPort(p[i:]) {
			return netip.Addr{}, false
		}
		p = p[:i]
	}
	// A view, not a copy: neither an address without zone nor the error, which
	// is dropped, keeps it.
	if bytes.IndexByte(p, '%') >= 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(p), len(p)))
	return a.Unmap(), err == nil
}

// validPort: nothing, or a colon and a number.
func validPort(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	n, ok := parseLength(p[1:])
	return p[0] == ':' && ok && n <= 65535
}
