//go:build linux

package main

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
	"time"

	"github.com/roostws/roost/bench"
)

// A section is a table of the comparison.
type section int

const (
	plain section = iota
	overTLS
	compressed
	atRest
	stuck
)

// certificate is that of the servers that speak TLS, and what its clients trust.
type certificate struct{ cert, key string }

// newCertificate writes a certificate for 127.0.0.1 with the key that servers
// have today, ECDSA on P-256.
func newCertificate(dir string) (certificate, error) {
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c10k"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return c, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(c.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return c, err
	}
	return c, os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// addSections adds the rows of the further tables, for the first engine and the
// first number of loops, and the tables to c.
func addSections(o options, targets []target, cert certificate, c *bench.Comparison) []target {
	first := targets[1] // after the bare server
	p := o.periods()

	tls := bench.Section{
		Title:   "wss://",
		Text:    fmt.Sprintf("%d idle connections over TLS 1.3, each with a handshake of its own, %v after the last of them.", min(o.connections, p.tlsConns), p.tlsSettle),
		Columns: bench.TLSColumns,
	}
	ours := first
	ours.section, ours.jobs = overTLS, []job{echo}
	ours.server = bench.Server{Label: first.server.Label + ", wss", Budget: !o.quick} // with few, what a server needs at all is shared by few
	plainArgs := first.args
	ours.args = func(j job, addr string, reusePort bool) []string {
		return append(plainArgs(j, addr, reusePort), "--tls-cert", cert.cert, "--tls-key", cert.key)
	}
	if o.gorilla != "" {
		peer := target{
			server: bench.Server{Label: "net/http + gorilla/websocket, wss"}, section: overTLS, jobs: []job{echo},
			args: func(j job, addr string, _ bool) []string {
				return []string{o.gorilla, "-addr", addr, "-mode", string(j), "-tls-cert", cert.cert, "-tls-key", cert.key}
			},
		}
		peer.server.Reference, ours.server.Reference = peer.server.Label, peer.server.Label
		tls.Text += " Ratios are to a server of net/http, gorilla/websocket and crypto/tls (bench/peers/gorilla)."
		tls.Servers = append(tls.Servers, peer.server)
		targets = append(targets, peer)
	}
	tls.Servers = append(tls.Servers, ours.server)
	targets = append(targets, ours)
	c.Sections = append(c.Sections, tls)

	targets = append(targets, pingedTarget(o, first, c))
	if o.quick {
		c.Sections[0].Text += " They are too few to judge memory by."
		return targets
	}

	deflate := first
	deflate.section, deflate.jobs = compressed, []job{idle, broadcast}
	deflate.server = bench.Server{Label: first.server.Label + ", compression", Reference: first.server.Label, Budget: true}
	c.Sections = append(c.Sections, bench.Section{
		Title: "permessage-deflate",
		Text: fmt.Sprintf("Connections that have negotiated it, with default settings: memory beside the row without it above, then %d of them get messages like JSON, without it and with it.",
			min(o.connections, p.deflateConns)),
		Servers: []bench.Server{deflate.server}, Columns: bench.CompressionColumns,
	})
	targets = append(targets, deflate)
	return append(targets, stalledTarget(o, first, c))
}

// pingedTarget adds the table on idle, pinged connections. They are pinged as
// often, all together, as 100,000 are with the default interval of 45 s.
func pingedTarget(o options, first target, c *bench.Comparison) target {
	t := first
	interval := time.Duration(o.connections) * 45 * time.Second / 100_000
	t.section, t.jobs = atRest, []job{pinged}
	t.server = bench.Server{Label: first.server.Label + ", pinged", Budget: !o.quick} // a quick run is too short to judge by
	t.args = func(j job, addr string, reusePort bool) []string {
		return append(first.args(j, addr, reusePort), "--ping-interval", interval.String())
	}
	c.Sections = append(c.Sections, bench.Section{
		Title: "Idle and pinged",
		Text: fmt.Sprintf("%d idle connections, each pinged when it was silent for %v: as many pings a second as 100,000 get every 45 s.",
			o.connections, interval),
		Servers: []bench.Server{t.server}, Columns: bench.IdleColumns,
	})
	return t
}

// stalledTarget adds the table on clients that do not read while 100 MB are
// published to them.
func stalledTarget(o options, first target, c *bench.Comparison) target {
	t := first
	t.section, t.jobs = stuck, []job{stalled}
	t.server = bench.Server{Label: first.server.Label + ", stalled", Budget: true}
	t.args = func(j job, addr string, reusePort bool) []string {
		return append(first.args(broadcast, addr, reusePort), "--slow-consumer", "drop", "--send-buffer-bytes", "32768")
	}
	c.Sections = append(c.Sections, bench.Section{
		Title: "Clients that do not read",
		Text: fmt.Sprintf("%d subscribers, of whom 99 %% do not read while %d messages of %d B are published, %d a second; then they read again. The budget is one loop's ring of 4 MiB, and 1 MiB more.",
			stalledConns, stalledRate*int(stalledPeriod.Seconds()), stalledBytes, stalledRate),
		Servers: []bench.Server{t.server}, Columns: bench.StalledColumns,
	})
	return t
}

// 100 MB for a thousand who do not read.
const (
	stalledConns  = 1010
	stalledBytes  = 10_000
	stalledRate   = 400
	stalledPeriod = 25 * time.Second
)
