//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/bench"
	"github.com/roostws/roost/bench/cmd/internal/rounds"
	"github.com/roostws/roost/bench/report"
)

// twoLoopColumns are the figures of two loops beside two threads of the bare
// server.
var twoLoopColumns = []report.Column{
	{Metric: "open_cpu", Head: "us/open", Text: "CPU per connection opened", Must: 1.00, Aim: 0.80, Ratio: true, Unit: "us"},
	{Metric: "echo_cpu", Head: "us/echo", Text: "CPU per echoed message", Must: 1.10, Aim: 0.95, Ratio: true, Unit: "us"},
	{Metric: "single_cpu", Head: "us/delivery", Text: "CPU per delivery, one message at a time", Must: 0.90, Aim: 0.80, Ratio: true, Unit: "us"},
	{Metric: "delivery_rate", Head: "deliveries/s", Text: "deliveries a second, without pause", Ratio: true, More: true, Unit: "1/s"},
}

// nativeColumns are the figures of clients of the native protocol.
var nativeColumns = []report.Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Must: 128, Aim: 100, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open, token and subscription", Text: "CPU per connection opened, connected and subscribed", Unit: "us"},
	{Metric: "idle_cpu_100k", Head: "% of a core for 100,000", Text: "CPU of 100,000 of them, idle", Unit: "%"},
}

// streamColumns are the figures of event streams beside WebSockets.
var streamColumns = []report.Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Must: 128, Aim: 100, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open, with a subscription", Text: "CPU per connection opened", Ratio: true, Unit: "us"},
	{Metric: "single_cpu", Head: "us/delivery", Text: "CPU per delivery, one message at a time", Must: 1.10, Aim: 1.00, Ratio: true, Unit: "us"},
	{Metric: "saturated_cpu", Head: "us/delivery, no pause", Ratio: true, Unit: "us"},
	{Metric: "delivery_rate", Head: "deliveries/s", Ratio: true, More: true, Unit: "1/s"},
}

// tlsColumns are the figures of servers that speak TLS.
var tlsColumns = []report.Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Must: 8192, Aim: 4096, Unit: "B"},
	{Metric: "open_cpu", Head: "us/open", Text: "CPU per connection opened", Ratio: true, Unit: "us"},
	{Metric: "echo_cpu", Head: "us/echo", Text: "CPU per echoed message", Ratio: true, Unit: "us"},
	{Metric: "echo_rate", Head: "echoes/s", Text: "echoed messages a second", Ratio: true, More: true, Unit: "1/s"},
}

// compressionColumns are the figures of a server that compresses.
var compressionColumns = []report.Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Difference: true, Must: 64, Aim: 0, Unit: "B"},
	{Metric: "message_bytes", Head: "B/message", Text: "bytes of a message", Unit: "B"},
	{Metric: "frame_bytes", Head: "B on the wire", Text: "bytes of its frame", Unit: "B"},
	{Metric: "bytes_saved", Head: "bytes saved %", Text: "bytes saved", Unit: "%"},
	{Metric: "plain_single_cpu", Head: "us/delivery, plain", Text: "CPU per delivery, uncompressed", Unit: "us"},
	{Metric: "single_cpu", Head: "compressed", Text: "CPU per delivery, compressed", Unit: "us"},
	{Metric: "plain_saturated_cpu", Head: "no pause, plain", Text: "CPU per delivery without pause, uncompressed", Unit: "us"},
	{Metric: "saturated_cpu", Head: "compressed", Text: "CPU per delivery without pause, compressed", Unit: "us"},
}

// idleColumns are the figures of a server whose clients are idle and pinged.
var idleColumns = []report.Column{
	{Metric: "idle_cpu", Head: "% of a core", Text: "CPU of 100,000 idle, pinged connections", Must: 2, Aim: 1, Unit: "%"},
	{Metric: "pings", Head: "pings received", Text: "pings", Unit: ""},
}

// stalledColumns are the figures of a server most of whose clients do not read.
// Its budget is the ring that each loop keeps, 4 MiB, and for the first one a
// MiB more.
var stalledColumns = []report.Column{
	{Metric: "stalled_bytes", Head: "B added", Text: "memory added by clients that do not read", Must: 5 << 20, Aim: 4 << 20, Unit: "B"},
	{Metric: "stalled", Head: "do not read", Text: "receivers that do not read", Unit: ""},
	{Metric: "stalled_cpu", Head: "us/delivery to the others", Text: "CPU per delivery to the others", Unit: "us"},
}

// addTwoLoops adds the table of two loops beside two threads of the bare server,
// and with it roost serve as it comes, with its default number of loops. Rows
// that the first table has are not measured again.
func (o options) addTwoLoops(groups [][]rounds.Target, engine string, c *report.Comparison) [][]rounds.Target {
	const loops = 2
	pair := o.besideBare([]string{engine}, loops)
	byDefault := o.serve("roost serve, its default", pair[0].Label)
	at := slices.IndexFunc(groups, func(group []rounds.Target) bool { return group[0].Label == pair[0].Label })
	if at < 0 {
		at, groups = len(groups), append(groups, pair)
	}
	servers := []report.Server{pair[0].Server, pair[1].Server}
	servers[1].Budget = !o.quick // a quick run is too short to judge by
	if !o.quick {
		byDefault.Budget = true
		servers = append(servers, byDefault.Server)
		groups[at] = slices.Insert(groups[at], 2, byDefault)
	}
	c.Sections = append(c.Sections, report.Section{
		Title:   "Two loops",
		Text:    "Two event loops, and the default configuration of roost serve, beside two threads of the bare server, each with a listener and connections of its own.",
		Servers: servers, Columns: twoLoopColumns,
	})
	return groups
}

// addNative adds the table of clients of the native protocol, each with a token
// of its own and subscribed to one channel with history.
func (o options) addNative(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	secret := filepath.Join(o.dir, "secret")
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	if err := os.WriteFile(secret, []byte(hex.EncodeToString(random)+"\n"), 0o600); err != nil {
		return nil, err
	}
	p := o.periods()
	scenario := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		b.Native, b.TokenSecretFile, b.Settle = "news:all", secret, p.longSettle
		return idle(3*p.idle)(ctx, b)
	}
	t := variant(first, "native", []rounds.Job{{Name: rounds.Echo, Scenarios: []rounds.Scenario{scenario}}},
		"--native", "--token-secret-file", secret, "--namespaces", `[{"name":"news","history-messages":100}]`)
	t.Budget = !o.quick // with few, what a server needs at all is shared by few
	section := report.Section{
		Title:   "Native protocol",
		Text:    fmt.Sprintf("%d idle clients, each with a token, a user and an expiry of its own, and subscribed to one channel with history.", o.connections),
		Servers: []report.Server{t.Server}, Columns: nativeColumns,
	}
	if o.quick {
		section.Text += tooFew
	}
	c.Sections = append(c.Sections, section)
	return []rounds.Target{t}, nil
}

// addStreams adds the table of event streams beside WebSockets: clients of the native
// protocol without tokens, in one channel with history, to which messages are published.
func (o options) addStreams(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	group, section := o.streamTargets(first)
	c.Sections = append(c.Sections, section)
	return group, nil
}

// onlyStreams makes that table the first and only one.
func (o options) onlyStreams(c *report.Comparison) [][]rounds.Target {
	engine, _, _ := strings.Cut(o.engines, ",")
	group, section := o.streamTargets(o.besideBare([]string{engine}, 1)[1])
	c.Name, c.Title, c.Text, c.Servers, c.Columns = "streams", "Event streams beside WebSockets", section.Text, section.Servers, section.Columns
	return [][]rounds.Target{group}
}

func (o options) streamTargets(first rounds.Target) ([]rounds.Target, report.Section) {
	p := o.periods()
	section := report.Section{
		Title:   "Event streams",
		Text:    fmt.Sprintf("%d clients of the native protocol without tokens, subscribed to one channel with history, over WebSockets and as event streams (SSE): idle, then with messages for all of them. Ratios are to WebSockets.", o.connections),
		Columns: streamColumns,
	}
	if o.quick {
		section.Text += tooFew
	}
	var group []rounds.Target
	for _, transport := range []bench.Transport{bench.TransportWebSocket, bench.TransportSSE} {
		over := func(b bench.Options) bench.Options {
			b.Native = "news:all"
			return b
		}
		resting := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
			b.Settle = p.longSettle
			return bench.RunIdle(ctx, bench.IdleConfig{Options: over(b), Transport: transport, Period: p.idle})
		}
		publishing := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
			return bench.RunBroadcast(ctx, bench.BroadcastConfig{Options: over(b), Transport: transport, Singles: p.singles, Period: p.broadcast})
		}
		t := variant(first, "native over "+string(transport), []rounds.Job{
			{Name: rounds.Echo, Scenarios: []rounds.Scenario{resting}}, {Name: rounds.Relay, Scenarios: []rounds.Scenario{publishing}},
		}, "--native", "--anonymous", "--namespaces", `[{"name":"news","history-messages":100,"publish":"anyone"}]`)
		if len(group) == 0 {
			t.Reference = t.Label
		} else {
			t.Reference, t.Budget = group[0].Label, !o.quick
		}
		group = append(group, t)
		section.Servers = append(section.Servers, t.Server)
	}
	return group, section
}

// tooFew is said of a quick run.
const tooFew = " They are too few to judge memory by."

// addTLS adds the table of servers that speak TLS.
func (o options) addTLS(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	cert, key, err := writeCertificate(o.dir)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	p := o.periods()
	job := o.echoJob()
	for i, scenario := range job.Scenarios {
		job.Scenarios[i] = func(ctx context.Context, b bench.Options) (*bench.Result, error) {
			if b.Connections, b.CAFile = min(b.Connections, p.tlsConns), cert; i == 0 { // memory is measured
				b.Settle = p.longSettle
			}
			return scenario(ctx, b)
		}
	}
	ours := variant(first, "wss", []rounds.Job{job}, "--tls-cert", cert, "--tls-key", key)
	ours.Secure, ours.Budget = true, !o.quick
	section := report.Section{
		Title:   "wss://",
		Text:    fmt.Sprintf("%d idle connections over TLS 1.3, each with a handshake of its own, %v after the last of them.", min(o.connections, p.tlsConns), p.longSettle),
		Columns: tlsColumns,
	}
	if o.quick {
		section.Text += tooFew
	}
	var group []rounds.Target
	if o.gorilla != "" {
		peer := rounds.Target{
			Server: report.Server{Label: "net/http + gorilla/websocket, wss", Peer: true}, Secure: true, Jobs: []rounds.Job{job},
			Args: func(job, addr string, _ bool) []string {
				return []string{o.gorilla, "-addr", addr, "-mode", job, "-tls-cert", cert, "-tls-key", key}
			},
		}
		peer.Reference, ours.Reference = peer.Label, peer.Label
		section.Text += " Ratios are to a server of net/http, gorilla/websocket and crypto/tls (bench/peers/gorilla)."
		group = append(group, peer)
	}
	group = append(group, ours)
	for _, t := range group {
		section.Servers = append(section.Servers, t.Server)
	}
	c.Sections = append(c.Sections, section)
	return group, nil
}

// addPinged adds the table of idle, pinged connections. They are pinged as
// often, all together, as 100,000 are with the default interval of 45 s.
func (o options) addPinged(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	interval := time.Duration(o.connections) * 45 * time.Second / 100_000
	t := variant(first, "pinged", []rounds.Job{{Name: rounds.Echo, Scenarios: []rounds.Scenario{idle(o.periods().pinged)}}},
		"--ping-interval", interval.String())
	t.Budget = !o.quick
	c.Sections = append(c.Sections, report.Section{
		Title: "Idle and pinged",
		Text: fmt.Sprintf("%d idle connections, each pinged when it was silent for %v: as many pings a second as 100,000 get every 45 s.",
			o.connections, interval),
		Servers: []report.Server{t.Server}, Columns: idleColumns,
	})
	return []rounds.Target{t}, nil
}

// hugePagesColumns are the figures of a server whose memory may be huge pages.
var hugePagesColumns = []report.Column{
	{Metric: "user_bytes_per_conn", Head: "user B/conn", Text: "user-space memory per idle connection", Difference: true, Must: 16, Aim: 4, Unit: "B"},
}

// hugePagesFile is the kernel's setting.
const hugePagesFile = "/sys/kernel/mm/transparent_hugepage/enabled"

// addHugePages adds the table of memory while the kernel makes huge pages of
// all that it can, which it does from the first page that a connection needs.
func (o options) addHugePages(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	if !o.hugePages {
		return nil, nil
	}
	setting, err := os.ReadFile(hugePagesFile)
	if err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	_, before, _ := strings.Cut(string(setting), "[") // always [madvise] never
	before, _, _ = strings.Cut(before, "]")
	if err := os.WriteFile(hugePagesFile, []byte(before), 0); err != nil {
		return nil, fmt.Errorf("huge pages: %w", err)
	}
	scenario := func(ctx context.Context, b bench.Options) (r *bench.Result, err error) {
		if err := os.WriteFile(hugePagesFile, []byte("always"), 0); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.WriteFile(hugePagesFile, []byte(before), 0)) }()
		return idle(o.periods().idle)(ctx, b)
	}
	t := variant(first, "huge pages", []rounds.Job{{Name: rounds.Echo, Scenarios: []rounds.Scenario{scenario}}})
	t.Reference, t.Budget = first.Label, !o.quick
	c.Sections = append(c.Sections, report.Section{
		Title:   "Huge pages",
		Text:    fmt.Sprintf("%d idle connections while transparent huge pages are set to always; before and after, and in all other tables, to %s.", o.connections, before),
		Servers: []report.Server{t.Server}, Columns: hugePagesColumns,
	})
	return []rounds.Target{t}, nil
}

// addCompressed adds the table of permessage-deflate.
func (o options) addCompressed(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	if o.quick {
		return nil, nil
	}
	p := o.periods()
	offering := func(scenario rounds.Scenario, most int) []rounds.Scenario {
		return []rounds.Scenario{func(ctx context.Context, b bench.Options) (*bench.Result, error) {
			b.Compression, b.Connections = true, min(b.Connections, most)
			return scenario(ctx, b)
		}}
	}
	t := variant(first, "compression", []rounds.Job{
		{Name: rounds.Echo, Scenarios: offering(idle(p.idle), o.connections)},
		{Name: rounds.Relay, Scenarios: offering(o.relayJob().Scenarios[0], p.deflateConns)},
	})
	t.Reference, t.Budget = first.Label, true
	c.Sections = append(c.Sections, report.Section{
		Title: "permessage-deflate",
		Text: fmt.Sprintf("Connections that have negotiated it, with default settings: memory beside the row without it above, then %d of them get messages like JSON, without it and with it.",
			min(o.connections, p.deflateConns)),
		Servers: []report.Server{t.Server}, Columns: compressionColumns,
	})
	return []rounds.Target{t}, nil
}

// 100 MB for a thousand clients that do not read.
const (
	stalledConns  = 1010
	stalledBytes  = 10_000
	stalledRate   = 400
	stalledPeriod = 25 * time.Second
)

// addStalled adds the table of clients that do not read while 100 MB are
// published to them.
func (o options) addStalled(first rounds.Target, c *report.Comparison) ([]rounds.Target, error) {
	if o.quick {
		return nil, nil
	}
	scenario := func(ctx context.Context, b bench.Options) (*bench.Result, error) {
		b.Connections, b.PayloadBytes = min(b.Connections, stalledConns), stalledBytes
		return bench.RunSlow(ctx, bench.SlowConfig{StalledPercent: 99,
			BroadcastConfig: bench.BroadcastConfig{Options: b, Rate: stalledRate, Period: stalledPeriod}})
	}
	t := variant(first, "stalled", []rounds.Job{{Name: rounds.Relay, Scenarios: []rounds.Scenario{scenario}}},
		"--slow-consumer", "drop", "--send-buffer-bytes", "32768")
	t.Budget = true
	c.Sections = append(c.Sections, report.Section{
		Title: "Clients that do not read",
		Text: fmt.Sprintf("%d subscribers, of which 99 %% do not read while %d messages of %d B are published, %d a second; then they read again. The budget is one loop's ring of 4 MiB, and 1 MiB more.",
			stalledConns, stalledRate*int(stalledPeriod.Seconds()), stalledBytes, stalledRate),
		Servers: []report.Server{t.Server}, Columns: stalledColumns,
	})
	return []rounds.Target{t}, nil
}

// writeCertificate writes a certificate for 127.0.0.1 with the key that servers
// have today, ECDSA on P-256, and returns the paths of both.
func writeCertificate(dir string) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c10k"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(7 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
