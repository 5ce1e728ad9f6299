package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

// A fakeNet is a network of pipes with a server at its other end whose every word
// is the test's.
type fakeNet struct {
	t     *testing.T
	conns chan *peer
	dials int
	mu    sync.Mutex
	all   []net.Conn
}

func newFakeNet(t *testing.T) *fakeNet { return &fakeNet{t: t, conns: make(chan *peer, 100)} }

// config is one for this network; events of all kinds go to the log.
func (n *fakeNet) config(log *log) Config {
	return Config{
		URL:     "ws://server.test/socket?a=b",
		NetDial: n.dial,
		Proxy:   func(*http.Request) (*url.URL, error) { return nil, nil },
		OnState: log.state,
		OnEvent: log.event,
	}
}

func (n *fakeNet) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	n.mu.Lock()
	n.dials++
	n.all = append(n.all, theirs)
	n.mu.Unlock()
	go func() {
		br := bufio.NewReader(theirs)
		request, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		n.conns <- &peer{t: n.t, conn: theirs, br: br, request: request, messages: make(chan string, 10000)}
	}()
	return ours, nil
}

// start makes a client that ends with the test.
func (n *fakeNet) start(cfg Config) *Client {
	n.t.Helper()
	c, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// withClient runs a test in a bubble, with a client on a network of its own. adjust, if
// not nil, changes the configuration.
func withClient(t *testing.T, adjust func(*Config, *log), test func(t *testing.T, n *fakeNet, l *log, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		if adjust != nil {
			adjust(&cfg, l)
		}
		c := n.start(cfg)
		defer n.end(c)
		test(t, n, l, c)
	})
}

// quiet leaves the states out of the log.
func quiet(cfg *Config, _ *log) { cfg.OnState = nil }

// end closes what is open, so that the bubble may end.
func (n *fakeNet) end(c *Client) {
	n.t.Helper()
	c.Close()
	n.mu.Lock()
	for _, conn := range n.all {
		_ = conn.Close()
	}
	n.mu.Unlock()
	<-c.Done()
}

// accept is the next connection, before the upgrade.
func (n *fakeNet) accept() *peer {
	n.t.Helper()
	select {
	case p := <-n.conns:
		return p
	case <-time.After(10 * time.Minute):
		n.t.Fatal("the client did not connect within ten minutes")
		return nil
	}
}

// welcome is the next connection, let in.
func (n *fakeNet) welcome(more string) *peer {
	n.t.Helper()
	p := n.accept()
	p.upgrade("")
	id, _ := p.want("connect")
	p.send(`{"id":%d,"connect":{"client":"c-1","user":"42","ping":25%s}}`, id, more)
	synctest.Wait() // states and events are told by different goroutines
	return p
}

// A peer is the server's end of one connection.
type peer struct {
	t        *testing.T
	conn     net.Conn
	br       *bufio.Reader
	request  *http.Request
	deflate  frame.DeflateParams
	messages chan string // texts, and "close CODE REASON"; closed with the connection
}

// refuse answers the upgrade with something else.
func (p *peer) refuse(status int, header string) {
	p.t.Helper()
	p.write([]byte(fmt.Sprintf("HTTP/1.1 %d %s\r\n%sContent-Length: 8\r\n\r\nnot now\n", status, http.StatusText(status), header)))
	_ = p.conn.Close()
}

// upgrade answers the upgrade.
func (p *peer) upgrade(header string) {
	p.t.Helper()
	sum := sha1.Sum([]byte(p.request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	p.write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Protocol: roost.v1.json\r\nSec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n" + header + "\r\n"))
	go p.read()
}

func (p *peer) read() {
	defer close(p.messages)
	var decoder frame.Decoder
	decoder.Reset(&frame.DecoderConfig{ExpectMasked: true, AllowRSV1: p.deflate.Enabled, MaxMessageBytes: 4 << 20})
	buffer := make([]byte, 4096)
	for {
		n, err := p.br.Read(buffer)
		if err != nil {
			return
		}
		for b := buffer[:n]; len(b) > 0; {
			m, taken, err := decoder.Next(b)
			if err != nil {
				p.messages <- "broken: " + err.Error()
				return
			}
			b = b[taken:]
			switch m.Opcode {
			case frame.OpText:
				p.messages <- string(m.Payload)
			case frame.OpClose:
				code, reason, err := frame.ParseClose(m.Payload)
				if err != nil {
					p.messages <- "broken: " + err.Error()
					return
				}
				p.messages <- fmt.Sprintf("close %d %s", uint16(code), reason)
			case frame.OpPong:
				p.messages <- "pong " + string(m.Payload)
			}
		}
	}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Errorf("the client does not read: %v", err)
	}
}

// send sends one text message.
func (p *peer) send(format string, args ...any) {
	p.t.Helper()
	p.write(frame.AppendFrame(nil, frame.OpText, fmt.Appendf(nil, format, args...)))
}

// close sends a Close frame and ends the connection.
func (p *peer) close(code frame.CloseCode, reason string) {
	p.t.Helper()
	p.write(frame.AppendClose(nil, code, reason))
	_ = p.conn.Close()
}

// next is the next message of the client.
func (p *peer) next() string {
	p.t.Helper()
	select {
	case m, ok := <-p.messages:
		if !ok {
			return "end"
		}
		return m
	case <-time.After(10 * time.Minute):
		p.t.Fatal("the client said nothing within ten minutes")
		return ""
	}
}

// wantText fails the test unless this is the client's next message.
func (p *peer) wantText(want string) {
	p.t.Helper()
	if got := p.next(); got != want {
		p.t.Fatalf("the client said %s, want %s", got, want)
	}
}

// wantNothing fails the test if the client has said anything.
func (p *peer) wantNothing() {
	p.t.Helper()
	synctest.Wait()
	select {
	case m, ok := <-p.messages:
		p.t.Fatalf("the client said %q (open: %v), want nothing", m, ok)
	default:
	}
}

// want is the client's next message, which has to be this command.
func (p *peer) want(name string) (id uint64, body string) {
	p.t.Helper()
	m := p.next()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(m), &members); err != nil || members[name] == nil {
		p.t.Fatalf("the client said %s, want the command %s", m, name)
	}
	if err := json.Unmarshal(members["id"], &id); err != nil || id == 0 {
		p.t.Fatalf("the client's %s has no id: %s", name, m)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, members[name]); err != nil {
		p.t.Fatal(err)
	}
	return id, compact.String()
}

// wantBody is want, with the command's body.
func (p *peer) wantBody(name, want string) (id uint64) {
	p.t.Helper()
	id, body := p.want(name)
	if body != want {
		p.t.Fatalf("%s is %s, want %s", name, body, want)
	}
	return id
}

// A log holds what callbacks were told, as text.
type log struct {
	mu    sync.Mutex
	lines []string
	times []time.Time
}

func (l *log) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	l.times = append(l.times, time.Now())
}

func (l *log) message(_ context.Context, m *Message) {
	l.add("%s %d %s", m.Channel, m.Position.Offset, m.Data)
}

func (l *log) event(e *Event) {
	switch e.Type {
	case EventSubscribed:
		l.add("%s subscribed at %s/%d, recovered %v", e.Channel, e.Position.Epoch, e.Position.Offset, e.Recovered)
	case EventGap:
		l.add("%s gap %d-%d", e.Channel, e.From, e.To)
	case EventUnsubscribed:
		l.add("%s unsubscribed: %v", e.Channel, e.Err)
	default:
		l.add("%s %s %s %s", e.Channel, e.Type, e.Client, e.User)
	}
}

func (l *log) state(e StateEvent) {
	switch e.State {
	case StateConnected:
		l.add("connected as %s %s %s", e.Client, e.User, e.Data)
	case StateDisconnected:
		l.add("disconnected: %v", e.Err)
	case StateClosed:
		l.add("closed: %v", e.Err)
	}
}

// want fails the test unless these lines, and no others, have been added since the last call.
func (l *log) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := fmt.Sprintf("%q", l.lines); got != fmt.Sprintf("%q", want) {
		t.Fatalf("got  %s\nwant %q", got, want)
	}
	l.lines, l.times = nil, nil
}
