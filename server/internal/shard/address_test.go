package shard

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
)

// request asks for a WebSocket, with more header lines.
func (r *rig) request(id netpoll.ID, before string, lines ...string) (status string) {
	r.t.Helper()
	r.loops[0].Deliver(id, []byte(before+"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n"))
	r.settle()
	_, status, _ = strings.Cut(string(r.loops[0].TakeReceived(id)), " ")
	return status[:min(len(status), 3)]
}

// A proxy with a link-local address (RFC 4007: it has a zone) is believed like
// any other, and what is counted for its clients is given back.
func TestLinkLocalProxies(t *testing.T) {
	proxies, err := handshake.ParseForwarding("", []string{"fe80::/10"})
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddrPort("[fe80::1%eth0]:40000")
	t.Run("X-Forwarded-For", func(t *testing.T) {
		r := newRig(t, 1, func(c *Config) { c.Addresses = intake.Addresses{Forwarding: proxies, Limit: 2} })
		r.peer = peer
		for i := range 6 {
			id := r.loops[0].Open(0)
			client := fmt.Sprintf("192.0.2.%d", i)
			if status := r.request(id, "", "X-Forwarded-For: "+client); status != "101" {
				t.Errorf("client %d is answered %s, want 101", i, status)
			}
			if got := r.shards[0].RemoteAddr(id).Addr().String(); got != client {
				t.Errorf("client %d is %s, want %s", i, got, client)
			}
			if i%2 == 0 {
				r.loops[0].PeerClose(id)
			}
		}
		r.settle()
		if n := r.group.addresses.Counted(); n != 3 {
			t.Errorf("%d connections are counted, want 3", n)
		}
	})
	t.Run("PROXY", func(t *testing.T) {
		r := newRig(t, 1, func(c *Config) { c.Addresses = intake.Addresses{Proxy: proxies, Limit: 1} })
		r.peer = peer
		id := r.loops[0].Open(0)
		if status := r.request(id, "PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n"); status != "101" {
			t.Errorf("answered %s, want 101", status)
		}
		r.loops[0].PeerClose(id)
		r.settle()
		if n := r.group.addresses.Counted(); n != 0 {
			t.Errorf("%d connections are counted, want none", n)
		}
	})
	t.Run("a client", func(t *testing.T) {
		r := newRig(t, 1, func(c *Config) { c.Addresses = intake.Addresses{Limit: 1} })
		r.peer = peer
		for range 3 {
			id := r.loops[0].Open(0)
			if status := r.request(id, ""); status != "101" {
				t.Errorf("answered %s, want 101", status)
			}
			r.loops[0].PeerClose(id)
			r.settle()
		}
		if n := r.group.addresses.Counted(); n != 0 {
			t.Errorf("%d connections are counted, want none", n)
		}
	})
}

// What is counted under one address is given back under the same one, whatever
// else the connection is found to be.
func TestAddressIsGivenBack(t *testing.T) {
	r := newRig(t, 1, func(c *Config) { c.Addresses = intake.Addresses{Limit: 1} })
	s := r.shards[0]
	r.peer = netip.MustParseAddrPort("198.51.100.1:40000")
	id := r.loops[0].Open(0)
	r.settle()
	c, _ := s.find(id)
	for _, addr := range []string{"192.0.2.1:0", "[2001:db8::1]:0", "[fe80::1%eth0]:0", "192.0.2.1:0"} {
		p := netip.MustParseAddrPort(addr)
		c.setAddress(p)
		if !c.admitAddress(p.Addr(), true) {
			t.Fatalf("%s is refused", addr)
		}
		if n := r.group.addresses.Counted(); n != 1 {
			t.Errorf("as %s: %d are counted, want 1", addr, n)
		}
	}
	r.loops[0].PeerClose(id)
	r.settle()
	if n := r.group.addresses.Counted(); n != 0 {
		t.Errorf("%d are counted, want none", n)
	}
}
