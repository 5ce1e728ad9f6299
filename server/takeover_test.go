package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// mux is somebody else's server with ours at /ws.
func mux(s *server.Server) http.Handler {
	m := http.NewServeMux()
	m.Handle("/ws", s)
	m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "theirs") })
	return m
}

func TestServeHTTP(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Listen: []string{}, Handler: server.Handler{Message: echo}})
		theirs := httptest.NewServer(mux(s))
		defer theirs.Close()
		addr := theirs.Listener.Addr().String()
		var clients []*client
		for range 20 {
			conn, _, _, err := ws.Dial(context.Background(), "ws://"+addr+"/ws")
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
			clients = append(clients, newClient(t, conn))
		}
		for _, c := range clients {
			c.Send("hello")
			c.Want("hello")
		}
		if err := s.Broadcast(server.Text, []byte("all")); err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			c.Want("all")
			_ = c.Close()
		}
		eventually(t, "all have left", func() bool { return statsOf(s).Get("connections") == 0 })
		if st := statsOf(s); st.Get("adopted") != 20 || st.Get("bridged") != 0 {
			t.Errorf("Adopted %d, Bridged %d; want 20 and 0", st.Get("adopted"), st.Get("bridged"))
		}
		got, err := http.Get(theirs.URL + "/ws")
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != http.StatusUpgradeRequired || got.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("a plain GET is answered %d %v, want 426", got.StatusCode, got.Header)
		}
	})
}

// What a client sends right behind its request sits in net/http's buffer.
func TestServeHTTPKeepsEarlyBytes(t *testing.T) {
	s := start(t, server.Config{Listen: []string{}, Handler: server.Handler{Message: echo}})
	theirs := httptest.NewServer(mux(s))
	defer theirs.Close()
	conn, err := net.Dial("tcp", theirs.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
	early := frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, []byte("early"))
	fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", early)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	got, err := wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{r, conn})
	if err != nil || string(got) != "early" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestServeHTTPBehindTLS(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"wrapped": server.Listener,
		"bridged": func(l net.Listener) net.Listener { return l },
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, server.Config{Listen: []string{}, Limits: server.Limits{MessageMaxBytes: 1 << 20}, Handler: server.Handler{Message: echo}})
			theirs := httptest.NewUnstartedServer(mux(s))
			theirs.Listener = wrap(theirs.Listener)
			theirs.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
			theirs.StartTLS()
			defer theirs.Close()
			d := ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}}
			conn, _, _, err := d.Dial(context.Background(), "wss://"+theirs.Listener.Addr().String()+"/ws")
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(wstest.Patience))
			c := newClient(t, conn)
			for _, n := range []int{5, 100, 70_000, 900_000} {
				text := strings.Repeat("z", n)
				go func() { _ = wsutil.WriteClientText(c, []byte(text)) }() // the reader tells
				c.Want(text)
			}
			if got, want := statsOf(s).Get("bridged"), map[string]int64{"wrapped": 0, "bridged": 1}[name]; got != want {
				t.Errorf("Bridged = %d, want %d", got, want)
			}
			_ = c.Close()
			eventually(t, "it has left", func() bool { return statsOf(s).Get("connections") == 0 })
		})
	}
}

// Event streams and long polls come through somebody else's server, too.
func TestServeHTTPFallbacks(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := fallbacks(t, engine, func(c *server.Config) {
			c.Listen, c.Limits.MessageMaxBytes, c.Application = []string{}, 1000, &protocol.Application{Anonymous: true}
		})
		m := http.NewServeMux()
		m.Handle("/v1/", s)
		m.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "theirs") })
		theirs := httptest.NewServer(m)
		defer theirs.Close()
		browser := http.Client{Timeout: wstest.Patience, Transport: &http.Transport{}}
		defer browser.CloseIdleConnections()

		stream, err := browser.Get(theirs.URL + "/v1/sse?channel=room")
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Body.Close()
		e := newEvents(t, stream)
		e.wantPrefix(`{"id":1,"connect":{"client":"`)
		e.want(`{"id":2,"subscribe":{}}`)

		commands := `{"id":1,"connect":{}}` + "\n" + `{"id":2,"subscribe":{"channel":"room"}}`
		polled := make(chan string, 2)
		for _, body := range []io.Reader{strings.NewReader(commands), io.MultiReader(strings.NewReader(commands))} { // the second in chunks
			go func() {
				r, err := browser.Post(theirs.URL+"/v1/poll?wait=30", "", body)
				if err != nil {
					polled <- err.Error()
					return
				}
				defer r.Body.Close()
				text, err := io.ReadAll(r.Body)
				polled <- fmt.Sprint(string(text), err, r.Close)
			}()
		}
		eventually(t, "both wait", func() bool { return statsOf(s).Get("polls") == 2 })
		if err := s.Publish("room", server.Text, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		e.want(`{"pub":{"channel":"room","data":"hi"}}`)
		for range 2 {
			if got := <-polled; !strings.Contains(got, `{"pub":{"channel":"room","data":"hi"}}]<nil> true`) {
				t.Errorf("a poll got %s", got)
			}
		}

		wantStatus := func(method, path, body string, status int) {
			t.Helper()
			request, err := http.NewRequest(method, theirs.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r, err := browser.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if _ = r.Body.Close(); r.StatusCode != status {
				t.Errorf("%s %s: status %d, want %d", method, path, r.StatusCode, status)
			}
		}
		wantStatus("GET", "/page", "", http.StatusOK)
		wantStatus("POST", "/v1/poll", strings.Repeat("x", 1001), http.StatusRequestEntityTooLarge)
		wantStatus("GET", "/v1/other", "", http.StatusUpgradeRequired)
	})
}
