package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
)

// faultyServer is a WebSocket server that does something wrong. answer gets
// each message with the number of messages before it and returns the frames to
// write, to the sender or, where relay is set, to every connection.
type faultyServer struct {
	relay  bool
	accept func(key string) string // nil: right
	answer func(n int, frame []byte) [][]byte
	tls    *tls.Config // nil: ws://
	// deflate takes offers of permessage-deflate and compresses what it sends.
	deflate bool

	mu    sync.Mutex
	conns []net.Conn
	count int
}

func (s *faultyServer) start(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme := "ws://"
	if s.tls != nil {
		scheme, l = "wss://", tls.NewListener(l, s.tls)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			wg.Go(func() {
				s.serve(c)
				c.Close()
				s.mu.Lock()
				s.conns = slices.DeleteFunc(s.conns, func(o net.Conn) bool { return o == c })
				s.mu.Unlock()
			})
		}
	})
	return scheme + l.Addr().String() + "/"
}

func (s *faultyServer) serve(c net.Conn) {
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	accept := acceptKey(req.Header.Get("Sec-WebSocket-Key"))
	if s.accept != nil {
		accept = s.accept(accept)
	}
	deflated := false
	if _, extension, err := frame.NegotiateDeflate(req.Header.Get("Sec-WebSocket-Extensions"), frame.DeflateConfig{}); s.deflate && err == nil && extension != "" {
		accept += "\r\nSec-WebSocket-Extensions: " + extension
		deflated = true
	}
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+accept+"\r\n\r\n")
	for {
		payload, err := readClientFrame(br)
		if err != nil {
			return
		}
		s.mu.Lock()
		n := s.count
		s.count++
		to := []net.Conn{c}
		if s.relay {
			to = s.conns
		}
		for i, receiver := range to {
			whole := frame.AppendFrame(nil, frame.OpText, payload)
			if deflated {
				whole = frame.AppendDeflatedFrame(nil, frame.OpText, payload, 15, nil)
			}
			for _, f := range s.answer(n*len(to)+i, whole) {
				receiver.Write(f)
			}
		}
		s.mu.Unlock()
	}
}

func readClientFrame(br *bufio.Reader) ([]byte, error) {
	for size := 2; ; size++ {
		head, err := br.Peek(size)
		if err != nil {
			return nil, err
		}
		h, n, err := frame.ParseHeader(head)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		br.Discard(n)
		payload := make([]byte, h.Length)
		_, err = io.ReadFull(br, payload)
		frame.Mask(payload, h.Mask, 0)
		return payload, err
	}
}

// patience is long for a test in which nothing may be lost, however busy the
// machine, and short for one that waits for what was lost.
func patience(fault string) time.Duration {
	if fault == "" {
		return 15 * time.Second
	}
	return 3 * time.Second
}

// Each fault must be found and named; the server without one must be held.
func TestEchoFaultsAreFound(t *testing.T) {
	t.Parallel()
	one := func(f []byte) [][]byte { return [][]byte{f} }
	var held []byte
	for _, tc := range []struct {
		name   string
		want   string // a part of a fault; "" for held
		server *faultyServer
	}{
		{"none", "", &faultyServer{answer: func(_ int, f []byte) [][]byte { return one(f) }}},
		{"loss", "1 of ", &faultyServer{answer: func(n int, f []byte) [][]byte {
			if n == 20 {
				return nil
			}
			return one(f)
		}}},
		{"repeat", "1 messages came back twice", &faultyServer{answer: func(n int, f []byte) [][]byte {
			if n == 20 {
				return [][]byte{f, f}
			}
			return one(f)
		}}},
		{"disorder", "1 out of order", &faultyServer{answer: func(n int, f []byte) [][]byte {
			switch n {
			case 20:
				held = f
				return nil
			case 21:
				return [][]byte{f, held}
			}
			return one(f)
		}}},
		{"damage", "damaged", &faultyServer{answer: func(n int, f []byte) [][]byte {
			if n == 20 {
				f[len(f)-30] ^= 4
			}
			return one(f)
		}}},
		{"masked frames", "RFC 6455", &faultyServer{answer: func(n int, f []byte) [][]byte {
			if n == 20 {
				f = frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, f[4:])
			}
			return one(f)
		}}},
		{"close", "closed: close", &faultyServer{answer: func(n int, f []byte) [][]byte {
			if n == 20 {
				f = frame.AppendClose(nil, 1001, "bye")
			}
			return one(f)
		}}},
		{"wrong accept", "wrong Sec-WebSocket-Accept", &faultyServer{accept: strings.ToLower,
			answer: func(_ int, f []byte) [][]byte { return one(f) }}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url := tc.server.start(t)
			cfg := EchoConfig{Options: Options{
				URL: url, Connections: 1, Settle: time.Millisecond, Patience: patience(tc.want), Timeout: time.Minute,
				GeneratorCommand: []string{os.Args[0], "generator"},
			}, Rate: 200, Period: 300 * time.Millisecond}
			r, err := RunEcho(context.Background(), cfg)
			if tc.want == "" {
				wantHeld(t, r, err, "paced_rate")
				return
			}
			faults := strings.Join(r.Faults, "; ")
			if err != nil {
				faults += err.Error()
			}
			if r.Held || !strings.Contains(faults, tc.want) {
				t.Errorf("held: %v, faults: %s; want one with %q", r.Held, faults, tc.want)
			}
		})
	}
}

func TestBroadcastLossIsFound(t *testing.T) {
	t.Parallel()
	lossy := faultyServer{relay: true, answer: func(n int, f []byte) [][]byte {
		if n == 105 { // the sixth receiver of the sixth message, the probe included
			return nil
		}
		return [][]byte{f}
	}}
	cfg := BroadcastConfig{Options: Options{
		URL: lossy.start(t), Connections: 20, Settle: time.Millisecond, Patience: patience("loss"), Timeout: time.Minute,
		GeneratorCommand: []string{os.Args[0], "generator"},
	}, Singles: 3, Rate: 50, Period: 300 * time.Millisecond, Window: 4}
	r, err := RunBroadcast(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Held || !strings.Contains(strings.Join(r.Faults, "; "), "at a rate: 1 of 300 deliveries were lost") {
		t.Errorf("held: %v, faults: %q", r.Held, r.Faults)
	}
}

// The publish API of this server is a handler that relays the body.
func TestBroadcastByHTTP(t *testing.T) {
	t.Parallel()
	relay := faultyServer{relay: true}
	url := relay.start(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || req.Header.Get("X-Key") != "secret" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		relay.mu.Lock()
		defer relay.mu.Unlock()
		for _, c := range relay.conns {
			c.Write(frame.AppendFrame(nil, frame.OpText, body))
		}
	}))
	t.Cleanup(api.Close)
	cfg := BroadcastConfig{Options: Options{
		URL: url, Connections: 20, Settle: time.Millisecond, Patience: patience(""), Timeout: time.Minute,
		GeneratorCommand: []string{os.Args[0], "generator"},
	}, Singles: 3, Rate: 20, Period: 300 * time.Millisecond, Window: 4,
		PublishURL: api.URL, PublishBody: `{"data":"{{.Payload}}"}`, PublishHeaders: []string{"X-Key: secret"}}
	r, err := RunBroadcast(context.Background(), cfg)
	wantHeld(t, r, err, "delivery_rate")
	wantLatencies(t, r, "single_last", "paced_each")

	cfg.PublishHeaders = nil
	if _, err := RunBroadcast(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("publishing without the key: %v, want 403", err)
	}
}

// A client of the native protocol that is refused, or gets no reply, is no idle
// connection.
func TestNativeRepliesAreChecked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, reply, want string }{
		{"replies", `{"id":1,"connect":{"client":"0-1-1"}}`, ""},
		{"refused", `{"id":1,"error":{"code":101,"message":"unauthorized"}}`, "6 commands of the native protocol were refused"},
		{"silence", "", "0 of 6 replies of the native protocol came"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := faultyServer{answer: func(int, []byte) [][]byte {
				if tc.reply == "" {
					return nil
				}
				return [][]byte{frame.AppendFrame(nil, frame.OpText, []byte(tc.reply))}
			}}
			r, err := RunIdle(context.Background(), IdleConfig{Options: Options{
				URL: server.start(t), Connections: 3, Settle: 100 * time.Millisecond, Timeout: time.Minute, Native: "news",
				GeneratorCommand: []string{os.Args[0], "generator"},
			}, Period: 100 * time.Millisecond})
			if tc.want == "" {
				wantHeld(t, r, err)
			} else if err != nil || r.Held || !strings.Contains(strings.Join(r.Faults, "; "), tc.want) {
				t.Errorf("held: %v, faults: %q, %v; want one with %q", r.Held, r.Faults, err, tc.want)
			}
		})
	}
}

// A server that sends nothing at all ends the scenario, too.
func TestScenarioEndsInTime(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := IdleConfig{Options: Options{
		URL: "ws://" + l.Addr().String(), Connections: 3, Timeout: 2 * time.Second,
		GeneratorCommand: []string{os.Args[0], "generator"},
	}}
	started := time.Now()
	r, err := RunIdle(context.Background(), cfg)
	if err != nil || r.Held || !strings.Contains(strings.Join(r.Faults, ";"), "did not end within 2s") {
		t.Errorf("result %+v, %v, want a fault about time", r, err)
	}
	if d := time.Since(started); d > 30*time.Second {
		t.Errorf("took %v", d)
	}
}

// Each connection sends its own subscription; what the server replies is not
// the benchmark's, is noted, and does no harm.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var subscribed []string
	server := faultyServer{answer: func(_ int, f []byte) [][]byte {
		if _, err := parsePayload(f); err == errNoPayload {
			mu.Lock()
			defer mu.Unlock()
			subscribed = append(subscribed, string(f[2:]))
		}
		return [][]byte{f}
	}}
	cfg := EchoConfig{Options: Options{
		URL: server.start(t), Connections: 3, Settle: time.Millisecond, Timeout: time.Minute,
		Subscribe: []string{`{"join":"c{{.N}}"}`}, GeneratorCommand: []string{os.Args[0], "generator"},
	}, Rate: 100, Period: 200 * time.Millisecond}
	r, err := RunEcho(context.Background(), cfg)
	wantHeld(t, r, err, "paced_rate")
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(subscribed)
	if want := []string{`{"join":"c0"}`, `{"join":"c1"}`, `{"join":"c2"}`}; !slices.Equal(subscribed, want) {
		t.Errorf("subscribed %q, want %q", subscribed, want)
	}
	if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "3 messages were not the benchmark's own") {
		t.Errorf("notes %q, want one about 3 answers", r.Notes)
	}
}

// selfSigned is a certificate for 127.0.0.1, and the file that a client needs.
func selfSigned(t *testing.T) (config *tls.Config, caFile string) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: s.TLS.Certificates}, caFile
}

func TestEchoOverTLS(t *testing.T) {
	t.Parallel()
	config, caFile := selfSigned(t)
	for _, tc := range []struct {
		name   string
		want   string // a part of the error; "" for held
		change func(o *Options)
		server func(n int, f []byte) [][]byte
	}{
		{"trusted", "", func(o *Options) { o.CAFile = caFile }, nil},
		{"insecure", "", func(o *Options) { o.Insecure = true }, nil},
		{"large messages", "", func(o *Options) { o.Insecure, o.PayloadBytes = true, 70_000 }, nil},
		{"unknown authority", "certificate", func(*Options) {}, nil},
		{"no TLS at the other end", "closed before the upgrade", func(o *Options) { o.URL = strings.Replace(o.URL, "wss://", "ws://", 1) }, nil},
		{"damage", "damaged", func(o *Options) { o.Insecure = true }, func(n int, f []byte) [][]byte {
			if n == 20 {
				f[len(f)-30] ^= 4
			}
			return [][]byte{f}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := &faultyServer{tls: config, answer: tc.server}
			if server.answer == nil {
				server.answer = func(_ int, f []byte) [][]byte { return [][]byte{f} }
			}
			cfg := EchoConfig{Options: Options{
				URL: server.start(t), Connections: 20, Settle: time.Millisecond, Patience: patience(tc.want), Timeout: time.Minute,
				GeneratorCommand: []string{os.Args[0], "generator"},
			}, Rate: 200, Period: 300 * time.Millisecond}
			tc.change(&cfg.Options)
			r, err := RunEcho(context.Background(), cfg)
			if tc.want == "" {
				wantHeld(t, r, err, "paced_rate", "echo_rate")
				return
			}
			text := ""
			if r != nil {
				text = strings.Join(r.Faults, "; ")
			}
			if err != nil {
				text += err.Error()
			}
			if !strings.Contains(text, tc.want) {
				t.Errorf("%q, want %q in it", text, tc.want)
			}
		})
	}
}

// All come over TLS at once, are cut off, and come back.
func TestStormOverTLS(t *testing.T) {
	t.Parallel()
	config, caFile := selfSigned(t)
	server := &faultyServer{tls: config, answer: func(_ int, f []byte) [][]byte { return [][]byte{f} }}
	r, err := RunStorm(context.Background(), StormConfig{Options: Options{
		URL: server.start(t), CAFile: caFile, Connections: 100, Settle: time.Millisecond, Timeout: time.Minute,
		GeneratorCommand: []string{os.Args[0], "generator"},
	}})
	wantHeld(t, r, err, "arrival_seconds", "return_seconds")
}

func TestBroadcastCompressed(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, server *faultyServer, fault string) (*Result, error) {
		return RunBroadcast(context.Background(), BroadcastConfig{Options: Options{
			URL: server.start(t), Connections: 20, Settle: time.Millisecond, Patience: patience(fault), Timeout: time.Minute,
			Compression: true, GeneratorCommand: []string{os.Args[0], "generator"},
		}, Singles: 3, Rate: 20, Period: 200 * time.Millisecond, Window: 4})
	}
	one := func(_ int, f []byte) [][]byte { return [][]byte{f} }
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		r, err := run(t, &faultyServer{relay: true, deflate: true, answer: one}, "")
		wantHeld(t, r, err, "plain_delivery_rate", "delivery_rate", "bytes_saved")
		for name, want := range map[string]float64{"message_bytes": 1024, "plain_frame_bytes": 1028} {
			if m, _ := r.Metric(name); m.Value != want {
				t.Errorf("%s = %v, want %v", name, m.Value, want)
			}
		}
		// What looks like JSON compresses, but no better than JSON does.
		if m, _ := r.Metric("frame_bytes"); m.Value < 300 || m.Value > 700 {
			t.Errorf("a compressed frame has %v bytes", m.Value)
		}
	})
	t.Run("declined", func(t *testing.T) {
		t.Parallel()
		r, err := run(t, &faultyServer{relay: true, answer: one}, "declined")
		if err != nil || r.Held || !strings.Contains(strings.Join(r.Faults, ";"), "declined permessage-deflate on 20 of 20") {
			t.Errorf("%+v, %v, want a fault about what was declined", r, err)
		}
	})
	t.Run("damage", func(t *testing.T) {
		t.Parallel()
		r, err := run(t, &faultyServer{relay: true, deflate: true, answer: func(n int, f []byte) [][]byte {
			if frame.IsCompressed(f) && n%20 == 7 {
				f[len(f)/2] ^= 1
			}
			return one(n, f)
		}}, "damage")
		if err != nil || r.Held {
			t.Errorf("%+v, %v, want faults", r, err)
		}
	})
}
