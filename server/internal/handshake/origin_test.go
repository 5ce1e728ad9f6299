package handshake

import (
	"strings"
	"testing"
)

func TestOriginPolicy(t *testing.T) {
	list := func(entries ...string) OriginPolicy {
		p, err := AllowOrigins(entries...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name         string
		policy       OriginPolicy
		origin, host string
		want         bool
	}{
		{"zero: same host", OriginPolicy{}, "http://a.example", "a.example", true},
		{"zero: other host", OriginPolicy{}, "http://b.example", "a.example", false},
		{"zero: other case", OriginPolicy{}, "http://A.example", "a.EXAMPLE", true},
		{"zero: same port", OriginPolicy{}, "http://a.example:8080", "a.example:8080", true},
		{"zero: other port", OriginPolicy{}, "http://a.example:8081", "a.example:8080", false},
		{"zero: no port is 80", OriginPolicy{}, "http://a.example", "a.example:80", true},
		{"zero: no port is 443", OriginPolicy{}, "https://a.example", "a.example:443", true},
		{"zero: named 443, none in Host", OriginPolicy{}, "https://a.example:443", "a.example", true},
		{"zero: 443 is not http", OriginPolicy{}, "http://a.example:443", "a.example", false},
		{"zero: TLS taken off by a proxy", OriginPolicy{}, "https://a.example", "a.example", true},
		{"zero: TLS on another port", OriginPolicy{}, "https://a.example", "a.example:8080", false},
		{"zero: IPv6", OriginPolicy{}, "http://[::1]:8080", "[::1]:8080", true},
		{"zero: IPv6, other port", OriginPolicy{}, "http://[::1]:8080", "[::1]", false},
		{"zero: subdomain", OriginPolicy{}, "http://x.a.example", "a.example", false},
		{"zero: host is a prefix", OriginPolicy{}, "http://a.example.evil.example", "a.example", false},
		{"zero: null", OriginPolicy{}, "null", "a.example", false},
		{"zero: empty", OriginPolicy{}, "", "a.example", false},
		{"zero: two origins", OriginPolicy{}, "http://a.example http://b.example", "a.example", false},
		{"zero: with a slash", OriginPolicy{}, "http://a.example/", "a.example", true},
		{"zero: with a port and a slash", OriginPolicy{}, "http://a.example:8080/", "a.example:8080", true},
		{"zero: with two slashes", OriginPolicy{}, "http://a.example//", "a.example", false},
		{"zero: with a path", OriginPolicy{}, "http://a.example/x", "a.example", false},
		{"zero: with a query", OriginPolicy{}, "http://a.example/?", "a.example", false},
		{"zero: file", OriginPolicy{}, "file://", "a.example", false},
		{"zero: file, empty host", OriginPolicy{}, "file://", "", false},
		{"zero: http without a host", OriginPolicy{}, "http:///", "", false},
		{"zero: with a user", OriginPolicy{}, "http://a.example@a.example", "a.example", false},
		{"zero: no scheme", OriginPolicy{}, "://a.example", "a.example", false},
		{"zero: scheme alone", OriginPolicy{}, "http://", "", false},
		{"zero: app with the same host", OriginPolicy{}, "capacitor://localhost", "localhost", false},
		{"zero: extension", OriginPolicy{}, "chrome-extension://abcdef", "abcdef", false},

		{"all", AllowAll(), "http://b.example", "a.example", true},
		{"all: null", AllowAll(), "null", "a.example", true},
		{"all: garbage", AllowAll(), "x", "a.example", true},
		{"*", list("*"), "http://b.example", "a.example", true},
		{"empty list", list(), "http://a.example", "a.example", true},
		{"empty list: other", list(), "http://b.example", "a.example", false},

		{"listed", list("https://b.example"), "https://b.example", "a.example", true},
		{"listed: case", list("https://B.Example"), "https://b.eXample", "a.example", true},
		{"listed: default port", list("https://b.example"), "https://b.example:443", "a.example", true},
		{"listed: default port, named", list("https://b.example:443"), "https://b.example", "a.example", true},
		{"listed: other port", list("https://b.example"), "https://b.example:8443", "a.example", false},
		{"listed: other scheme", list("https://b.example"), "http://b.example", "a.example", false},
		{"listed: the same host is not", list("https://b.example"), "http://a.example", "a.example", false},
		{"listed: same-host too", list("https://b.example", "same-host"), "http://a.example", "a.example", true},
		{"listed: second", list("https://b.example", "http://c.example:1"), "http://c.example:1", "a.example", true},
		{"listed: null is not", list("https://b.example"), "null", "a.example", false},
		{"listed: null", list("null"), "null", "a.example", true},
		{"listed: null is no wildcard", list("null"), "http://b.example", "a.example", false},
		{"listed: file", list("file://"), "file://", "a.example", true},
		{"listed: file, other case", list("FILE:///"), "File://", "a.example", true},
		{"listed: file, with a slash", list("file://"), "file:///", "a.example", true},
		{"listed: file is no wildcard", list("file://"), "http://b.example", "a.example", false},
		{"listed: file is not null", list("file://"), "null", "a.example", false},
		{"listed: file is no host", list("file://"), "file://b.example", "a.example", false},
		{"listed: others are not file", list("https://b.example", "*.b.example"), "file://", "a.example", false},
		{"listed: with a slash", list("https://b.example/"), "https://b.example", "a.example", true},
		{"listed: slash in the request", list("https://b.example"), "https://b.example/", "a.example", true},
		{"listed: app", list("capacitor://localhost"), "capacitor://localhost", "a.example", true},
		{"no scheme: http", list("b.example"), "http://b.example", "a.example", true},
		{"no scheme: https", list("b.example"), "https://b.example", "a.example", true},
		{"no scheme: app", list("b.example"), "app://b.example", "a.example", false},
		{"no scheme: port", list("b.example:8080"), "http://b.example:8080", "a.example", true},

		{"wildcard", list("https://*.b.example"), "https://x.b.example", "a.example", true},
		{"wildcard: deeper", list("https://*.b.example"), "https://y.x.B.example", "a.example", true},
		{"wildcard: itself", list("https://*.b.example"), "https://b.example", "a.example", false},
		{"wildcard: only looks like it", list("https://*.b.example"), "https://evilb.example", "a.example", false},
		{"wildcard: prefix", list("https://*.b.example"), "https://x.b.example.evil.example", "a.example", false},
		{"wildcard: empty label", list("https://*.b.example"), "https://.b.example", "a.example", false},
		{"wildcard: scheme", list("https://*.b.example"), "http://x.b.example", "a.example", false},
		{"wildcard: no scheme", list("*.b.example"), "http://x.b.example", "a.example", true},
		{"wildcard: port", list("https://*.b.example:8443"), "https://x.b.example:8443", "a.example", true},
		{"wildcard: other port", list("https://*.b.example:8443"), "https://x.b.example", "a.example", false},
	} {
		if got := c.policy.Allows([]byte(c.origin), []byte(c.host)); got != c.want {
			t.Errorf("%s: Allows(%q, %q) = %v", c.name, c.origin, c.host, got)
		}
	}
}

func TestAllowOriginsChecksItsList(t *testing.T) {
	for _, entry := range []string{"", "https://", "https://b.example//", "file://b/x", "http:///", "b.example/x", "https://*", "*.", "*b.example",
		"https://x.*.example", "b.example:port", "b.example:65536", "https://*.*.example", "ht tp://b.example", "://b.example",
		"https://bücher.example", "https://u@b.example", "b.example?x"} {
		_, err := AllowOrigins("https://fine.example", entry)
		if err == nil || !strings.Contains(err.Error(), "allowed origin") {
			t.Errorf("AllowOrigins(%q): %v", entry, err)
		}
	}
}

func TestNoOriginIsNoBrowser(t *testing.T) {
	listed, err := AllowOrigins("https://b.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, origins := range map[string]OriginPolicy{"same host": SameHost(), "all": AllowAll(), "listed": listed} {
		if _, _, err := openHead(ok(), &Policy{Origins: origins}); err != nil {
			t.Errorf("%s: without Origin: %v", name, err)
		}
		_, _, err := openHead(ok("Origin: null"), &Policy{Origins: origins})
		if want := name != "all"; (err == error(ErrOrigin)) != want {
			t.Errorf("%s: with Origin null: %v", name, err)
		}
	}
}

// What no browser writes into Origin counts like no Origin; what pages send is
// decided by the policy.
func TestFromWebPage(t *testing.T) {
	for origin, want := range map[string]bool{
		"": false, "localhost": false, "a.example": false, "a.example:80": false, "192.0.2.1": false, "x": false,
		"null": true, "file://": true, "http://a.example": true, "http://a.example http://b.example": true,
		"chrome-extension://abc": true, "://": true,
	} {
		if got := fromWebPage([]byte(origin)); got != want {
			t.Errorf("fromWebPage(%q) = %v", origin, got)
		}
		_, _, err := openHead(ok("Origin: "+origin), new(Policy))
		if refused := err != nil; refused != want && origin != "http://a.example" {
			t.Errorf("Origin %q: %v", origin, err)
		}
	}
}
