package examples

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/client"
)

// said waits for a line of a program's log and answers its parts; then it reads
// on, so that the program never waits for its log.
func said(t *testing.T, lines *bufio.Scanner, pattern string) []string {
	t.Helper()
	for line := regexp.MustCompile(pattern); lines.Scan(); {
		if m := line.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() {
				}
			}()
			return m[1:]
		}
	}
	t.Fatalf("the log does not say %s", pattern)
	return nil
}

// post answers the body of a response with 200.
func post(t *testing.T, address, body string) string {
	t.Helper()
	resp, err := http.Post(address, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return body200(t, resp)
}

func get(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	return body200(t, resp)
}

func body200(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s, %v", resp.Request.URL, resp.Status, text, err)
	}
	return strings.TrimSpace(string(text))
}

// eventually asks until the answer is right.
func eventually(t *testing.T, what, want string, ask func() string) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(20 * time.Millisecond) {
		got := ask()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s, want %s", what, got, want)
		}
	}
}

// next is what comes from a Go channel of texts.
func next(t *testing.T, c <-chan string, want string) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Fatalf("received %q, want %q", got, want)
		}
	case <-time.After(testTimeout):
		t.Fatalf("nothing came, want %q", want)
	}
}

// A plug connects to a server as long as it is in.
type plug struct {
	addr string

	// Guarded by mu.
	mu    sync.Mutex
	out   bool
	to    string
	conns map[net.Conn]bool
}

func newPlug(t *testing.T, to string) *plug {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &plug{addr: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); p.pull() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.connect(conn)
		}
	}()
	return p
}

func (p *plug) connect(in net.Conn) {
	defer in.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	p.mu.Lock()
	if p.out {
		p.mu.Unlock()
		return
	}
	p.conns[in], p.conns[out] = true, true
	p.mu.Unlock()
	go func() {
		_, _ = io.Copy(out, in) // ends with the plug, or either end
		out.Close()
	}()
	_, _ = io.Copy(in, out)
}

// pull ends all connections and takes no new ones.
func (p *plug) pull() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = true
	for conn := range p.conns {
		conn.Close()
	}
	clear(p.conns)
}

// putBack takes connections again, to a server.
func (p *plug) putBack(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out, p.to = false, to
}

func TestNetHTTP(t *testing.T) {
	_, lines := start(t, build(t, "nethttp"), "-addr", "127.0.0.1:0")
	addr := said(t, lines, `listening on http://(\S+)`)[0]
	reader, err := dial(t, addr+"/ws?news")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	other, err := dial(t, addr+"/ws?sports")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got := post(t, "http://"+addr+"/publish/news", "hello"); got != `{"matched":1,"written":1}` {
		t.Errorf("published to news: %s", got)
	}
	post(t, "http://"+addr+"/publish/sports", "goal")
	reader.Want("hello")
	other.Want("goal")
}

// The chat is as short as README.md says.
func TestChatIsShort(t *testing.T) {
	program, err := os.ReadFile("chat/main.go")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(program)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			count++
		}
	}
	if count > 30 {
		t.Errorf("chat/main.go has %d lines, want 30 at most", count)
	}
}

// What the page does, by the Go client: the browser step of scripts/test.sh runs
// the page itself.
func TestChat(t *testing.T) {
	chat := build(t, "chat")
	_, lines := start(t, chat, "-addr", "127.0.0.1:0")
	addr := said(t, lines, `the chat is on http://(\S+)`)[0]
	if page := get(t, "http://"+addr+"/"); !strings.Contains(page, "'roost.v1.json'") {
		t.Errorf("the page is %s", page)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()

	line := newPlug(t, addr)
	heard, states, missed := make(chan string, 100), make(chan string, 100), make(chan string, 100)
	anna, err := client.Dial(ctx, client.Config{URL: "ws://" + line.addr, ReconnectMax: time.Second,
		OnState: func(e client.StateEvent) { states <- string(e.State) }})
	if err != nil {
		t.Fatal(err)
	}
	defer anna.Close()
	if _, err := anna.Subscribe(ctx, "chat:lobby", func(_ context.Context, m *client.Message) { heard <- string(m.Data) }, &client.SubscribeOptions{
		OnEvent: func(e *client.Event) { missed <- fmt.Sprintf("%s, recovered %v", e.Type, e.Recovered) },
	}); err != nil {
		t.Fatal(err)
	}
	next(t, missed, "subscribed, recovered false") // for the first time
	bert, err := client.Dial(ctx, client.Config{URL: "ws://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	defer bert.Close()
	say := func(text string) {
		t.Helper()
		if _, err := bert.Publish(ctx, "chat:lobby", map[string]string{"name": "bert", "text": text}); err != nil {
			t.Fatal(err)
		}
	}
	say("hello")
	next(t, heard, `{"name":"bert","text":"hello"}`)

	next(t, states, "connecting")
	next(t, states, "connected")
	line.pull()
	next(t, states, "disconnected")
	say("are you there?")
	say("then later")
	line.putBack(addr)
	next(t, heard, `{"name":"bert","text":"are you there?"}`)
	next(t, heard, `{"name":"bert","text":"then later"}`)
	next(t, missed, "subscribed, recovered true")

	// Another server, as after a restart: its epoch is another one, and it says so.
	_, lines = start(t, chat, "-addr", "127.0.0.1:0")
	line.pull()
	line.putBack(said(t, lines, `the chat is on http://(\S+)`)[0])
	next(t, missed, "subscribed, recovered false")
}

func TestInbox(t *testing.T) {
	_, lines := start(t, build(t, "inbox"), "-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0")
	addrs := said(t, lines, `clients=(\S+) admin=(\S+)`)
	admin := "http://" + addrs[1]
	line := newPlug(t, addrs[0])

	notify := func(text string, connections int) {
		t.Helper()
		var answer struct{ Connections int }
		got := post(t, admin+"/notify/anna", `{"text":"`+text+`"}`)
		if err := json.Unmarshal([]byte(got), &answer); err != nil || answer.Connections != connections {
			t.Fatalf("notify: %s, %v; want %d connections", got, err, connections)
		}
	}
	unread := func(want int) {
		t.Helper()
		eventually(t, "unread", fmt.Sprintf(`{"unread":%d}`, want), func() string { return get(t, admin+"/unread/anna") })
	}
	binary, place := build(t, "inbox/reader"), filepath.Join(t.TempDir(), "place")
	read := func() (cmd *exec.Cmd, shown chan string) {
		t.Helper()
		cmd = exec.CommandContext(t.Context(), binary, "-addr", line.addr, "-user", "anna", "-file", place)
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		shown = make(chan string, 100)
		go func() {
			defer close(shown)
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				shown <- lines.Text()
			}
			_ = cmd.Wait() // it is killed
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			for range shown {
			}
		})
		return cmd, shown
	}

	// Before the reader's first start the inbox fills.
	notify("one", 0)
	notify("two", 0)
	unread(2)
	cmd, shown := read()
	next(t, shown, `{"text":"one"}`)
	next(t, shown, `{"text":"two"}`)
	unread(0)
	notify("three", 1)
	next(t, shown, `{"text":"three"}`)
	unread(0)

	// A cut line: the client comes back and resumes.
	line.pull()
	for _, text := range []string{"four", "five"} {
		post(t, admin+"/notify/anna", `{"text":"`+text+`"}`)
	}
	unread(2)
	line.putBack(addrs[0])
	next(t, shown, `{"text":"four"}`)
	next(t, shown, `{"text":"five"}`)
	unread(0)

	// The reader itself is away, without a farewell.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for text := range shown {
		t.Errorf("%s was shown, and again", text)
	}
	post(t, admin+"/notify/anna", `{"text":"six"}`)
	unread(1)
	_, shown = read()
	next(t, shown, `{"text":"six"}`)
	unread(0)
	notify("seven", 1)
	next(t, shown, `{"text":"seven"}`)
}
