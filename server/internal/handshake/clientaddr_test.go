package handshake

import (
	"net/netip"
	"strings"
	"testing"
)

func TestClientAddr(t *testing.T) {
	const proxy, proxy2, client = "10.0.0.1", "10.9.9.9", "203.0.113.7"
	for _, c := range []struct {
		name, header, peer string
		lines              []string
		want               string // empty: the zero Addr
	}{
		{"untrusted peer", "", client, []string{"X-Forwarded-For: 1.1.1.1"}, client},
		{"untrusted peer, mapped", "", "::ffff:" + client, []string{"X-Forwarded-For: 1.1.1.1"}, client},
		{"no header", "", proxy, nil, proxy},
		{"empty header", "", proxy, []string{"X-Forwarded-For:"}, proxy},
		{"one", "", proxy, []string{"X-Forwarded-For: " + client}, client},
		{"one, peer mapped", "", "::ffff:" + proxy, []string{"X-Forwarded-For: " + client}, client},
		{"one, itself mapped", "", proxy, []string{"X-Forwarded-For: ::ffff:" + client}, client},
		{"the client lies", "", proxy, []string{"X-Forwarded-For: 1.1.1.1, 2.2.2.2, " + client}, client},
		{"the client lies in a line of its own", "", proxy, []string{"X-Forwarded-For: 1.1.1.1", "X: y", "x-forwarded-for: " + client}, client},
		{"the client claims to be a proxy", "", proxy, []string{"X-Forwarded-For: 10.0.0.5, " + client}, client},
		{"two proxies", "", proxy, []string{"X-Forwarded-For: 1.1.1.1, " + client + " ,\t" + proxy2}, client},
		{"two proxies in two lines", "", proxy, []string{"X-Forwarded-For: " + client, "X-Forwarded-For: " + proxy2}, client},
		{"all trusted", "", proxy, []string{"X-Forwarded-For: 10.1.1.1, " + proxy2}, "10.1.1.1"},
		{"empty elements", "", proxy, []string{"X-Forwarded-For: , " + client + ",,"}, client},
		{"with a port", "", proxy, []string{"X-Forwarded-For: " + client + ":1234"}, client},
		{"IPv6", "", proxy, []string{"X-Forwarded-For: 2001:db8::7"}, "2001:db8::7"},
		{"IPv6 in brackets", "", proxy, []string{"X-Forwarded-For: [2001:db8::7]"}, "2001:db8::7"},
		{"IPv6 with a port", "", proxy, []string{"X-Forwarded-For: [2001:db8::7]:80"}, "2001:db8::7"},
		{"unknown", "", proxy, []string{"X-Forwarded-For: " + client + ", unknown"}, proxy},
		{"unknown, behind a second proxy", "", proxy, []string{"X-Forwarded-For: unknown, " + proxy2}, proxy2},
		{"name", "", proxy, []string{"X-Forwarded-For: client.example"}, proxy},
		{"zone", "", proxy, []string{"X-Forwarded-For: fe80::1%eth0"}, proxy},
		{"port too high", "", proxy, []string{"X-Forwarded-For: 1.1.1.1:65536"}, proxy},
		{"colon without port", "", proxy, []string{"X-Forwarded-For: 1.1.1.1:"}, proxy},
		{"junk behind brackets", "", proxy, []string{"X-Forwarded-For: [2001:db8::7]x"}, proxy},
		{"IPv4 in brackets", "", proxy, []string{"X-Forwarded-For: [1.1.1.1]"}, proxy},
		{"open bracket", "", proxy, []string{"X-Forwarded-For: [2001:db8::7"}, proxy},
		{"the other header is the client's", "", proxy, []string{"Forwarded: for=1.1.1.1"}, proxy},
		{"unix", "", "", []string{"X-Forwarded-For: " + client}, client},

		{"Forwarded", "forwarded", proxy, []string{"Forwarded: for=" + client}, client},
		{"Forwarded, more pairs", "forwarded", proxy, []string{"Forwarded: proto=https; FOR=" + client + ";by=10.0.0.1"}, client},
		{"Forwarded, quoted", "forwarded", proxy, []string{`Forwarded: for="` + client + `:80"`}, client},
		{"Forwarded, IPv6", "forwarded", proxy, []string{`Forwarded: for=1.1.1.1, for="[2001:db8::7]:4711"`}, "2001:db8::7"},
		{"Forwarded, two proxies", "forwarded", proxy, []string{"Forwarded: for=1.1.1.1,for=" + client, "Forwarded: for=" + proxy2}, client},
		{"Forwarded, hidden", "forwarded", proxy, []string{"Forwarded: for=_hidden"}, proxy},
		{"Forwarded, unknown", "forwarded", proxy, []string{"Forwarded: for=1.1.1.1, for=unknown"}, proxy},
		{"Forwarded, without for", "forwarded", proxy, []string{"Forwarded: for=1.1.1.1, proto=https"}, proxy},
		{"Forwarded, for twice", "forwarded", proxy, []string{"Forwarded: for=1.1.1.1;for=2.2.2.2"}, proxy},
		{"Forwarded, half quoted", "forwarded", proxy, []string{`Forwarded: for="1.1.1.1`}, proxy},
		{"Forwarded, no pair", "forwarded", proxy, []string{"Forwarded: 1.1.1.1"}, proxy},
		{"Forwarded, comma in quotes", "forwarded", proxy, []string{`Forwarded: for=1.1.1.1, for=` + client + `;by="a,b"`}, client},
		{"Forwarded, the client opens a quote", "forwarded", proxy, []string{`Forwarded: for=1.1.1.1;x=", for=` + client}, client},
		{"Forwarded, the client opens a quote before quotes", "forwarded", proxy,
			[]string{`Forwarded: for=1.1.1.1;x=", for="[2001:db8::7]:1"`}, "2001:db8::7"},
		{"X-Forwarded-For where Forwarded is read", "forwarded", proxy, []string{"X-Forwarded-For: 1.1.1.1"}, proxy},
	} {
		f, err := ParseForwarding(c.header, []string{"10.0.0.0/8", "unix", "::1"})
		if err != nil {
			t.Fatal(err)
		}
		var r Request
		if err := Parse([]byte(ok(c.lines...)), &r); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var peer netip.Addr
		if c.peer != "" {
			peer = netip.MustParseAddr(c.peer)
		}
		want := netip.MustParseAddr(c.want)
		if got := f.ClientAddr(&r, peer); got != want {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
		if got := new(Forwarding).ClientAddr(&r, peer); got != peer.Unmap() {
			t.Errorf("%s: the zero Forwarding believes %v", c.name, got)
		}
	}
}

func TestClientAddrAllocatesNothing(t *testing.T) {
	for header, line := range map[string]string{
		"x-forwarded-for": "X-Forwarded-For: 1.1.1.1, [2001:db8:1:2:3:4:5:7]:80, 10.0.0.2",
		"forwarded":       `Forwarded: for=1.1.1.1, for="[2001:db8:1:2:3:4:5:7]:80";proto=https, for=10.0.0.2`,
	} {
		f, err := ParseForwarding(header, []string{"10.0.0.0/8"})
		if err != nil {
			t.Fatal(err)
		}
		var r Request
		if err := Parse([]byte(ok(line)), &r); err != nil {
			t.Fatal(err)
		}
		peer, want := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8:1:2:3:4:5:7")
		if n := testing.AllocsPerRun(20, func() {
			if got := f.ClientAddr(&r, peer); got != want {
				t.Errorf("%s: %v", line, got)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

func TestParseForwarding(t *testing.T) {
	f, err := ParseForwarding("X-FORWARDED-FOR", []string{"10.1.2.3/8", "192.0.2.1", "2001:db8::/32", "unix"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range f.Trusted {
		got = append(got, p.String())
	}
	if s := strings.Join(got, " "); s != "10.0.0.0/8 192.0.2.1/32 2001:db8::/32" || !f.TrustUnix || f.Header != XForwardedFor {
		t.Errorf("%s, %v, %v", s, f.TrustUnix, f.Header)
	}
	for _, s := range []string{"", "proxy.example", "10.0.0.0/33", "10.0.0.0/", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1:80"} {
		if _, err := ParseForwarding("", []string{s}); err == nil {
			t.Errorf("trusted proxy %q is taken", s)
		}
	}
	if _, err := ParseForwarding("X-Real-IP", nil); err == nil {
		t.Error("another header is taken")
	}
}

// FuzzClientAddr: nothing panics, and whatever a client writes, the address that
// the trusted proxy appended is the answer.
func FuzzClientAddr(f *testing.F) {
	for _, s := range []string{"", "1.1.1.1", "1.1.1.1, 10.0.0.2", `for="`, `for=1.1.1.1;x=", `, `for="[::1]:1",`, `\"`, "[", "[]", ":", "%"} {
		f.Add(s)
	}
	peer, client := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::7")
	f.Fuzz(func(t *testing.T, s string) {
		for header, appended := range map[string]string{"X-Forwarded-For": client.String(), "Forwarded": `for="[2001:db8::7]:99"`} {
			fw, err := ParseForwarding(header, []string{"10.0.0.0/8"})
			if err != nil {
				t.Fatal(err)
			}
			for _, lines := range [][]string{{header + ": " + s + ", " + appended}, {header + ": " + s, header + ": " + appended}} {
				var r Request
				if Parse([]byte(ok(lines...)), &r) != nil {
					return // not a header value
				}
				if got := fw.ClientAddr(&r, peer); got != client {
					t.Fatalf("%q: %v", lines, got)
				}
			}
			var r Request
			if Parse([]byte(ok(header+": "+s)), &r) == nil {
				fw.ClientAddr(&r, peer)
			}
		}
	})
}
