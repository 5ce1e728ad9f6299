package handshake

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// An OriginPolicy decides which web pages may open a WebSocket here. Browsers
// apply no same-origin rule to WebSockets but send the page's origin along, with
// the user's cookies: without a policy any page could act as the user
// (RFC 6455 section 10.2). A request without Origin does not come from a
// browser, and what is no browser can write any Origin it likes: no policy
// refuses it. The same holds for an Origin that no browser writes (fromWebPage).
//
// The zero value is SameHost.
type OriginPolicy struct {
	all    bool
	listed bool // patterns alone decide, and sameHost
	same   bool // "same-host" is among the listed
	list   []originPattern
}

// An originPattern is an origin in lower case: scheme://host:port, where an
// empty scheme stands for http and https.
type originPattern struct {
	scheme, host, port string
	subdomains         bool // host is a suffix, dot included
}

// SameHost allows pages whose origin has the host and port of the Host header.
// A port that is not named is the one that the origin's scheme implies, since
// a proxy may have taken the TLS off. It is no help against a name that an
// attacker makes resolve to this server (DNS rebinding): list the origins where
// the network is what protects the server.
func SameHost() OriginPolicy { return OriginPolicy{} }

// AllowAll allows every page. It is right where nothing depends on cookies or
// on the network that the client is in.
func AllowAll() OriginPolicy { return OriginPolicy{all: true} }

// AllowOrigins allows the listed origins and no others:
//
//	https://example.com        this origin
//	https://example.com:8443   the same with a port
//	https://*.example.com      all names under example.com, not itself
//	example.com, *.example.com http and https on their standard ports
//	same-host                  what SameHost allows
//	null                       sandboxed frames, and file: pages of some browsers
//	file://                    file: pages of others, Cordova, ESP32 libraries
//	*                          every origin
//
// A / at the end counts neither in an entry nor in an Origin header, where some
// libraries that are no browsers leave it. An empty list allows what SameHost
// does. Entries are checked, so that a typing error is not found by users who
// cannot connect.
func AllowOrigins(list ...string) (OriginPolicy, error) {
	if len(list) == 0 {
		return SameHost(), nil
	}
	p := OriginPolicy{listed: true}
	for _, entry := range list {
		switch entry {
		case "*":
			p.all = true
		case "same-host":
			p.same = true
		case "null":
			p.list = append(p.list, originPattern{scheme: "null"})
		default:
			o, err := parseOriginPattern(entry)
			if err != nil {
				return OriginPolicy{}, fmt.Errorf("allowed origin %q: %w", entry, err)
			}
			p.list = append(p.list, o)
		}
	}
	return p, nil
}

func parseOriginPattern(entry string) (originPattern, error) {
	var o originPattern
	rest := strings.ToLower(entry)
	if rest == "file://" || rest == "file:///" {
		return originPattern{scheme: "file"}, nil
	}
	rest = strings.TrimSuffix(rest, "/")
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		if scheme == "" || outside(scheme, classToken) < len(scheme) {
			return o, errors.New("the scheme is malformed")
		}
		o.scheme, rest = scheme, after
	}
	if after, ok := strings.CutPrefix(rest, "*."); ok {
		o.subdomains = true
		rest = after
	}
	if strings.ContainsAny(rest, "/?#") {
		return o, errors.New("an origin has no path")
	}
	if rest == "" || !validHost([]byte(rest)) {
		return o, errors.New("the host is malformed (a * stands only for whole labels, at the front; other scripts than ASCII as xn--)")
	}
	host, port := splitPort([]byte(rest))
	o.host, o.port = string(host), string(port)
	if o.subdomains {
		o.host = "." + o.host
	}
	return o, nil
}

// fromWebPage reports whether an Origin header may come from a browser: that
// writes scheme://host:port, or null (RFC 6454 section 7.1). An empty value or a
// bare host name is what devices and scripts send, and counts like none.
func fromWebPage(origin []byte) bool {
	return string(origin) == "null" || bytes.Contains(origin, []byte("://"))
}

// Allows reports whether a page of this origin may connect to this host: the
// values of the Origin and Host headers.
func (p *OriginPolicy) Allows(origin, host []byte) bool {
	if p.all {
		return true
	}
	if string(origin) == "null" {
		return p.allowsNull()
	}
	scheme, originHost, port, ok := splitOrigin(origin)
	if !ok {
		return false
	}
	if !p.listed || p.same {
		h, hp := splitPort(host)
		if defaultPort(scheme) != "" && equalFold(originHost, h) && samePort(scheme, port, hp) {
			return true
		}
	}
	for i := range p.list {
		if p.list[i].matches(scheme, originHost, port) {
			return true
		}
	}
	return false
}

func (p *OriginPolicy) allowsNull() bool {
	for i := range p.list {
		if p.list[i].scheme == "null" {
			return true
		}
	}
	return false
}

func (o *originPattern) matches(scheme, host, port []byte) bool {
	switch {
	case o.scheme == "" && !equalFold(scheme, "http") && !equalFold(scheme, "https"):
		return false
	case o.scheme != "" && !equalFold(scheme, o.scheme):
		return false
	case !samePort(scheme, port, o.port):
		return false
	case o.subdomains:
		cut := len(host) - len(o.host)
		return cut > 0 && equalFold(host[cut:], o.host)
	}
	return equalFold(host, o.host)
}

// splitOrigin: RFC 6454 section 7, scheme "://" host [ ":" port ], with or without
// a / behind it, and nothing more: no path, no second origin. Only file: has no
// host.
func splitOrigin(origin []byte) (scheme, host, port []byte, ok bool) {
	i := bytes.Index(origin, []byte("://"))
	if i <= 0 {
		return nil, nil, nil, false
	}
	scheme, host = origin[:i], bytes.TrimSuffix(origin[i+3:], []byte("/"))
	if !validHost(host) {
		return nil, nil, nil, false
	}
	host, port = splitPort(host)
	return scheme, host, port, len(host) > 0 || equalFold(scheme, "file")
}

// samePort compares ports where an empty one is what the scheme implies.
func samePort[T string | []byte](scheme, a []byte, b T) bool {
	if len(a) > 0 && len(b) > 0 {
		return string(a) == string(b)
	}
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	named := string(a) + string(b) // one of them is empty
	return named == defaultPort(scheme)
}

func defaultPort(scheme []byte) string {
	switch {
	case equalFold(scheme, "http"), equalFold(scheme, "ws"):
		return "80"
	case equalFold(scheme, "https"), equalFold(scheme, "wss"):
		return "443"
	}
	return ""
}
