package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// said is what a command writes, to be looked at while it runs.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// wait waits until part was said.
func (s *said) wait(t *testing.T, part string) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); !strings.Contains(s.String(), part); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was not said: %q", part, s.String())
		}
	}
}

// subscriber is a running roost subscribe.
type subscriber struct {
	cmd      *exec.Cmd
	out, err said
}

func startSubscriber(t *testing.T, args ...string) *subscriber {
	t.Helper()
	s := &subscriber{cmd: exec.Command(os.Args[0], append([]string{"subscribe"}, args...)...)}
	s.cmd.Env = append(os.Environ(), asRoost+"=1")
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.err
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		_ = s.cmd.Wait()
	})
	return s
}

// wantEnd waits for the command's end.
func (s *subscriber) wantEnd(t *testing.T, code int) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(testTimeout):
		t.Fatalf("roost subscribe still runs: %q %q", s.out.String(), s.err.String())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d: %q", got, code, s.err.String())
	}
}

const newsNamespace = "[{name: news, history-messages: 100}]"

func TestSubscribeCommand(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--native", "--anonymous", "--namespaces", newsNamespace, "--admin-addr", "0")...)
	publish := func(args ...string) {
		t.Helper()
		if code, _, stderr := roost("", append([]string{"publish", "--url", p.adminURL()}, args...)...); code != exitOK {
			t.Fatalf("publish %q: %s", args, stderr)
		}
	}
	url := "ws://" + p.addr + "/"
	s := startSubscriber(t, "--url", url, "news:1", "plain")
	s.err.wait(t, "plain: subscribed\n")
	s.err.wait(t, "news:1: subscribed at ")
	publish("news:1", `{"a": "<b>"}`)
	publish("--text", "plain", "two words\n")
	s.out.wait(t, `:1 {"a":"<b>"}`+"\n")
	s.out.wait(t, `plain "two words\n"`+"\n")
	first, _, _ := strings.Cut(strings.TrimPrefix(s.out.String(), "news:1 "), " ")
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	s.wantEnd(t, exitOK)

	// Behind the printed position nothing is missed, and nothing comes twice.
	publish("news:1", "2")
	publish("news:1", "3")
	again := startSubscriber(t, "--url", url, "--since", first, "--json", "--count", "2", "news:1")
	again.wantEnd(t, exitOK)
	lines := strings.Split(again.out.String(), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"offset":2,"data":2}`) || !strings.Contains(lines[1], `"offset":3,"data":3}`) {
		t.Errorf("since %s: %q", first, again.out.String())
	}
	if !strings.Contains(again.err.String(), "nothing was missed") {
		t.Errorf("since %s: %q", first, again.err.String())
	}
}

// It stays when the server goes, says so, and ends where the server refuses.
func TestSubscribeCommandTells(t *testing.T) {
	t.Parallel()
	p := startRoost(t, loopback("--native", "--anonymous")...)
	s := startSubscriber(t, "--url", "ws://"+p.addr+"/", "plain")
	s.err.wait(t, "plain: subscribed\n")
	p.signal(syscall.SIGTERM)
	s.err.wait(t, "next attempt in")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.wantEnd(t, exitOK)
}

// What trying again cannot mend ends it, with the reason and the next step.
func TestSubscribeCommandEnds(t *testing.T) {
	t.Parallel()
	plain := startRoost(t, loopback("--echo")...)
	native := startRoost(t, loopback("--native", "--token-secret", testSecret)...)
	strangers := must(net.Listen("tcp", "127.0.0.1:0"))
	defer strangers.Close()
	go func() {
		for {
			conn, err := strangers.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-x\r\n"))
			_ = conn.Close()
		}
	}()
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	misspelt, _ := made(t, "--secret", testSecret, "--user", "42", "--channels", "plain,nwes:1")
	good, _ := made(t, "--secret", testSecret, "--user", "42")
	wrong, _ := made(t, "--secret", "another secret of thirty-two bytes!!", "--user", "42")
	expired, _ := made(t, "--secret", testSecret, "--user", "42", "--expires", "1s")
	expiredFile := writeFile(t, "token", expired+"\n")
	time.Sleep(time.Second) // until it has expired; there is no leeway
	strict := startRoost(t, loopback("--native", "--token-secret", testSecret, "--token-leeway", "0s")...)
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"echo":          {[]string{"--url", "ws://" + plain.addr + "/", "news"}, []string{"does not speak roost.v1.json", "--native"}},
		"no token":      {[]string{"--url", "ws://" + native.addr + "/", "news"}, []string{"(101)", "add --token"}},
		"wrong token":   {[]string{"--url", "ws://" + native.addr + "/", "--token", wrong, "news"}, []string{"signature fits no key (101)", "--inspect"}},
		"expired token": {[]string{"--url", "ws://" + strict.addr + "/", "--token", expired, "news"}, []string{"expired at", "(102)", "roost token"}},
		"expired file":  {[]string{"--url", "ws://" + strict.addr + "/", "--token-file", expiredFile, "news"}, []string{"expired at", "(102)", "roost token"}},
		"not HTTP":      {[]string{"--url", "ws://" + strangers.Addr().String() + "/", "news"}, []string{"malformed HTTP"}},
		"not there":     {[]string{"--url", "ws://" + page.Listener.Addr().String() + "/", "news"}, []string{"404", "check the URL"}},
		"in a token":    {[]string{"--url", "ws://" + native.addr + "/", "--token", misspelt, "plain"}, []string{`names the channel "nwes:1"`, "(104)"}},
		"no namespace":  {[]string{"--url", "ws://" + native.addr + "/", "--token", good, "nwes:1"}, []string{"no namespace", "(104)"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSubscriber(t, tc.args...)
			s.wantEnd(t, exitFailed)
			for _, want := range tc.want {
				if !strings.Contains(s.err.String(), want) {
					t.Errorf("%q lacks %q", s.err.String(), want)
				}
			}
		})
	}
}

// ws:// goes through HTTP_PROXY as a tunnel, and NO_PROXY keeps it from there.
func TestSubscribeCommandProxy(t *testing.T) {
	p := startRoost(t, loopback("--native", "--anonymous")...)
	var tunnels atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "roost.invalid:80" {
			t.Errorf("the proxy is asked for %s %s", r.Method, r.Host)
			return
		}
		tunnels.Add(1)
		to := must(net.Dial("tcp", p.addr))
		defer to.Close()
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer from.Close()
		_, _ = from.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		go func() { _, _ = io.Copy(to, from) }()
		_, _ = io.Copy(from, to)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	s := startSubscriber(t, "--url", "ws://roost.invalid/", "plain")
	s.err.wait(t, "plain: subscribed\n")
	t.Setenv("NO_PROXY", ".invalid")
	past := startSubscriber(t, "--url", "ws://roost.invalid/", "plain")
	past.err.wait(t, "not connected")
	if n := tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels, want 1", n)
	}
	for _, s := range []*subscriber{s, past} {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		s.wantEnd(t, exitOK)
	}
}

func TestSubscribeCommandErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{}, "channel"},
		{[]string{"a", "--since", "5"}, "want EPOCH:OFFSET"},
		{[]string{"a", "b", "--since", "e:5"}, "name one"},
		{[]string{"a", "--count=-1"}, "--count is -1"},
		{[]string{"a", "--token", "x", "--token-file", "y"}, "exclude each other"},
		{[]string{"a", "--url", "nowhere"}, "--url"},
	} {
		code, _, stderr := roost("", append([]string{"subscribe"}, tc.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: %d %q, want %q", tc.args, code, stderr, tc.want)
		}
	}
}
