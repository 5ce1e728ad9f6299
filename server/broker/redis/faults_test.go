//go:build realclients

package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/redistest"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/redis"
	"github.com/roostws/roost/server/history"
)

// A server that refuses what is published shows in the health, with what to do, whether
// anything is published or not, and is well again by itself. What is refused has no place.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	b := begun(t, redis.Options{URL: s.URL()})
	for _, c := range []struct {
		name, want string
		begin, end []string
	}{
		{"memory", "maxmemory", []string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}},
		{"replicas", "min-replicas-to-write", []string{"CONFIG", "SET", "min-replicas-to-write", "1"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}},
		{"permissions", "cluster.md", []string{"ACL", "SETUSER", "default", "-hincrby"}, []string{"ACL", "SETUSER", "default", "+hincrby"}},
	} {
		before := must(t, b, "h:1")
		s.Must(c.begin...)
		wait(t, c.name+" shows", func() bool {
			if c.name != "memory" { // which is found without a publication
				_, _ = publish(b, "h:1")
			}
			h := b.Health()
			return h.Receiving == nil && h.Publishing != nil && strings.Contains(h.Publishing.Error(), c.want)
		})
		if at, err := publish(b, "h:1"); err == nil {
			t.Errorf("%s: a message got %v", c.name, at)
		}
		s.Must(c.end...)
		wait(t, c.name+" is over", func() bool { return b.Health().Publishing == nil })
		// One that was refused in the middle may have taken a place: a hole, and no other epoch.
		if after := must(t, b, "h:1"); after.Epoch != before.Epoch || after.Offset <= before.Offset || c.name != "permissions" && after.Offset != before.Offset+1 {
			t.Errorf("%s: after %v came %v", c.name, before, after)
		}
	}
}

// permissions are what docs/cluster.md says that the user needs.
func permissions(t *testing.T, mode string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(string(text), "ACL SETUSER roost ")
	line, _, _ = strings.Cut(line, "\n")
	if !found {
		t.Fatal("docs/cluster.md does not name the permissions")
	}
	words := strings.Fields(line)
	if mode == "cluster" {
		words = append(words, "+spublish", "+ssubscribe", "+sunsubscribe", "+cluster|nodes")
	}
	return words
}

// A user with a password needs the permissions that the docs list, and no others.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Must(append([]string{"ACL", "SETUSER", "roost"}, permissions(t, "")...)...)
	l := listener{attached: make(chan string, 1), messages: make(chan *broker.Message, 1)}
	b := nodeOf(t, strings.Replace(s.URL(), "redis://", "redis://roost:secret@", 1))
	if err := b.Start(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	b.Attach("h:1")
	await(t, l.attached)
	at := must(t, b, "h:1")
	await(t, l.messages)
	if page := read(t, b, "h:1", nil); page.Position != at || len(page.Messages) != 1 {
		t.Errorf("read: %+v, want %v", page, at)
	}
	// Its check has come with its first publications. A message goes around when it is silent.
	before := calls(t, s, "publish")
	wait(t, "nothing is sent around", func() bool { return calls(t, s, "publish") > before })
	if h := b.Health(); h.Publishing != nil || h.Receiving != nil {
		t.Errorf("health: %+v", h)
	}
	if reply, err := s.All("ACL", "LOG"); err != nil || !strings.HasPrefix(reply, "*0") {
		t.Errorf("refused: %q, %v", reply, err)
	}
}

// read reads a channel.
func read(t *testing.T, b broker.Broker, channel string, since *history.Position) (page broker.Page) {
	t.Helper()
	done := make(chan error, 1)
	b.Read(channel, broker.Keep{Messages: 100, Age: time.Hour}, since, func(p broker.Page, err error) { page = p; done <- err })
	if err := await(t, done); err != nil {
		t.Fatal(err)
	}
	return page
}

// certificates writes an authority and a certificate for 127.0.0.1 into a directory.
func certificates(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	write("cert.pem", "CERTIFICATE", der)
	write("key.pem", "PRIVATE KEY", private)
	return dir
}

// TLS, with a certificate for the client, and without one.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := certificates(t)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	port := redistest.FreePort(t)
	redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	url := fmt.Sprintf("rediss://127.0.0.1:%d?ca=%s", port, cert)
	must(t, begun(t, redis.Options{URL: url + "&cert=" + cert + "&key=" + key}), "h:1")
	for name, one := range map[string]string{"no certificate": url, "an unknown authority": fmt.Sprintf("rediss://127.0.0.1:%d?cert=%s&key=%s", port, cert, key)} {
		b := nodeOf(t, one)
		if err := b.Start(deaf{}); err != nil {
			t.Fatal(err)
		}
		// Before the first attempt it says that it is not connected yet.
		wait(t, "with "+name+" it is not refused", func() bool {
			err := b.Health().Publishing
			return err != nil && strings.Contains(err.Error(), "tls")
		})
		_ = b.Close()
	}
}

// A server that is trusted to lose nothing keeps its epochs when it is killed and started
// again; one that is not trusted does not, and one that is not set up so is not used.
func TestTrust(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{true, false} {
		s := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		b := begun(t, redis.Options{URL: s.URL() + "?trust=" + strconv.FormatBool(trusted)})
		must(t, b, "h:1")
		before := must(t, b, "h:1")
		s.Kill()
		s.Begin()
		after := insist(t, b, "h:1")
		if goesOn := after == (history.Position{Epoch: before.Epoch, Offset: 3}); goesOn != trusted {
			t.Errorf("trusted %v: after %v comes %v", trusted, before, after)
		}
		if page := read(t, b, "h:1", &before); trusted && len(page.Messages) != 1 {
			t.Errorf("after %v %d messages are read", before, len(page.Messages))
		}
	}
	for _, settings := range [][]string{nil, {"--appendonly", "yes", "--appendfsync", "everysec"}} {
		b := nodeOf(t, redistest.Start(t, settings...).URL()+"?trust=true")
		if err := b.Start(deaf{}); err != nil {
			t.Fatal(err)
		}
		wait(t, "refusal", func() bool { return strings.Contains(fmt.Sprint(b.Health().Publishing), "trust=true needs") })
		_ = b.Close()
	}
}

// What cannot be read, from a later version or somebody else, is a hole that is told: the
// page begins behind it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	b := begun(t, redis.Options{URL: s.URL()})
	first := must(t, b, "h:1")
	s.Must("XADD", "roost:s:h:1", "2-0", "t", "now", "m", "what")
	s.Must("HINCRBY", "roost:m:h:1", "o", "1")
	if page := read(t, b, "h:1", &first); len(page.Messages) != 0 || page.Position.Offset != 2 {
		t.Errorf("at the end: %+v", page)
	}
	must(t, b, "h:1")
	page := read(t, b, "h:1", &first)
	if len(page.Messages) != 1 || page.Messages[0].Position.Offset != 3 || page.Position.Offset != 3 {
		t.Errorf("in the middle: %+v", page)
	}

	// One that arrives interrupts its channel only, and this goes on.
	l := listener{attached: make(chan string, 1), messages: make(chan *broker.Message, 1), interrupted: make(chan bool, 1)}
	n := nodeOf(t, s.URL())
	if err := n.Start(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	n.Attach("h:1")
	await(t, l.attached)
	s.Must("PUBLISH", "roost:c:h:1", "what")
	if !await(t, l.interrupted) || await(t, l.attached) != "h:1" {
		t.Error("the channel was not interrupted and attached again")
	}
	at := must(t, b, "h:1")
	if m := await(t, l.messages); m.Position != at {
		t.Errorf("%v arrived, want %v", m.Position, at)
	}
}

// calls returns how often a server has run a command for clients or in scripts.
func calls(t *testing.T, s *redistest.Server, command string) int {
	t.Helper()
	text, err := s.Info("commandstats")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(text, "cmdstat_"+command+":calls=")
	number, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(number)
	return n
}

// A publication is one command. A channel that is attached costs a part of a command, once,
// also when the server has cut its clients, and none while nothing happens.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	const channels, publications = 20_000, 5_000
	l := listener{attached: make(chan string, channels)}
	b := nodeOf(t, s.URL())
	if err := b.Start(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	attachedAll := func() {
		t.Helper()
		for range channels {
			await(t, l.attached)
		}
	}
	for i := range channels {
		b.Attach("plain:" + strconv.Itoa(i))
	}
	attachedAll()
	before := calls(t, s, "subscribe")
	s.Must("CLIENT", "KILL", "TYPE", "pubsub")
	begun := time.Now()
	attachedAll()
	t.Logf("%d channels were attached again after %v", channels, time.Since(begun).Round(time.Millisecond))
	if n := calls(t, s, "subscribe") - before; n > channels/512+3 {
		t.Errorf("%d commands attach %d channels again", n, channels)
	}
	before = calls(t, s, "evalsha")
	results := make(chan error, publications)
	for i := range publications {
		b.Publish(&broker.Publication{
			Message: broker.Message{Channel: "h:" + strconv.Itoa(i%100), Type: 1, Payload: []byte("x")}, Keep: broker.Keep{Messages: 100, Age: time.Hour},
		}, func(_ broker.Placed, err error) { results <- err })
	}
	for range publications {
		if err := await(t, results); err != nil {
			t.Fatal(err)
		}
	}
	if n := calls(t, s, "evalsha") - before; n < publications || n > publications+4 { // with a check or two
		t.Errorf("%d commands for %d publications", n, publications)
	}
}
