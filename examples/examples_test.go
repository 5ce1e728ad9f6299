// Package examples tests that the examples do what they say.
package examples

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	// What the examples import: with it, a change there runs these tests again.
	"github.com/roostws/roost/internal/wstest"
	_ "github.com/roostws/roost/server"
	_ "github.com/roostws/roost/server/protocol/socketio"
)

// testTimeout bounds a test that hangs; none takes nearly that long.
const testTimeout = time.Minute

// build compiles an example, with some of its text replaced.
func build(t *testing.T, name string, replace ...string) string {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs(filepath.Join(name, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("%s does not say %s any more", source, replace[i])
		}
	}
	changed := filepath.Join(dir, "main.go")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{
		changed:                            strings.NewReplacer(replace...).Replace(string(text)),
		filepath.Join(dir, "overlay.json"): string(overlay),
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, filepath.Base(name))
	out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("go build ./%s: %v\n%s", name, err, out)
	}
	return binary
}

// start runs a binary until the end of the test. Its standard error comes line
// by line.
func start(t *testing.T, binary string, args ...string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	cmd = exec.CommandContext(ctx, binary, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed, or ended by the test
	})
	return cmd, bufio.NewScanner(stderr)
}

// dial opens a WebSocket, unless it is refused.
func dial(t *testing.T, addr string) (*wstest.Client, error) {
	conn, err := wstest.TryDial(ws.Dialer{}, "ws://"+addr)
	if err != nil {
		return nil, err
	}
	return wstest.New(t, conn), nil
}

// free returns an address that is not in use, below the ports that Linux and BSD choose
// for outgoing connections (32768, 49152), so that a busy machine does not take it before
// the example does.
func free(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 16384+rand.IntN(16384)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("there is no free port from 16384 to 32767")
	return ""
}

func TestEmbed(t *testing.T) {
	public, admin := free(t), free(t)
	start(t, build(t, "embed", `"localhost:8080"`, `"`+public+`"`, `"127.0.0.1:8081"`, `"`+admin+`"`))
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()

	// Its output is not read: dial until it accepts.
	var anna *wstest.Client
	for err := errors.New("not yet"); err != nil; {
		if anna, err = dial(t, public+"/?anna"); err != nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("no server on %s: %v", public, err)
			}
		}
	}
	defer anna.Close()
	bert, err := dial(t, public+"/?bert")
	if err != nil {
		t.Fatal(err)
	}
	defer bert.Close()

	notify := func(user, text, want string) {
		t.Helper()
		for {
			resp, err := http.PostForm("http://"+admin+"/notify/"+user, url.Values{"text": {text}})
			if err == nil {
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || string(body) != want {
					t.Fatalf("notify %s: %s %q, %v; want %q", user, resp.Status, body, err, want)
				}
				return
			}
			// The second listener is opened after the first.
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				t.Fatal(err)
			}
		}
	}
	notify("anna", "for anna", "written to 1 of 1 connections\n")
	notify("bert", "for bert", "written to 1 of 1 connections\n")
	notify("carl", "for carl", "written to 0 of 0 connections\n")
	anna.Want("for anna")
	bert.Want("for bert")

	resp, err := http.Get("http://" + public + "/?anna")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if page, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(page), "new WebSocket(") {
		t.Errorf("the page: %s, %q, %v", resp.Status, page, err)
	}
}

func TestRooms(t *testing.T) {
	cmd, lines := start(t, build(t, "rooms"), "-addr", "127.0.0.1:0")
	addr := ""
	for address := regexp.MustCompile(`msg=rooms addr=(\S+)`); addr == "" && lines.Scan(); {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			addr = m[1]
		}
	}
	if addr == "" {
		t.Fatal("rooms did not say where it listens")
	}
	go func() {
		for lines.Scan() { // so that it never waits for its log
		}
	}()

	var refused ws.StatusError
	if _, err := dial(t, addr+"/"); !errors.As(err, &refused) || refused != 401 {
		t.Errorf("without a name: %v, want 401", err)
	}
	anna, err := dial(t, addr+"/?name=anna")
	if err != nil {
		t.Fatal(err)
	}
	defer anna.Close()
	bert, err := dial(t, addr+"/?name=bert")
	if err != nil {
		t.Fatal(err)
	}
	defer bert.Close()

	anna.Send("join garden")
	anna.Send("garden: is anybody here?")
	anna.Want("garden: is anybody here?")
	anna.Send("lobby: come to the garden")
	anna.Want("lobby: come to the garden")
	bert.Want("lobby: come to the garden") // and nothing of the garden before
	bert.Send("hello")
	bert.Want(`say "join NAME", "leave NAME" or "NAME: text"`)

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var closed wsutil.ClosedError
	if _, err := wsutil.ReadServerText(anna); !errors.As(err, &closed) || closed.Code != ws.StatusGoingAway {
		t.Errorf("at the end: %v, want a Close frame with 1001", err)
	}
	if _, err := wsutil.ReadServerText(bert); !errors.As(err, &closed) {
		t.Errorf("at the end: %v, want a Close frame", err)
	}
	if err := cmd.Wait(); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("rooms ended with %v", err)
	}
}

func TestSocketIO(t *testing.T) {
	cmd, lines := start(t, build(t, "socketio"), "-addr", "127.0.0.1:0")
	addr := ""
	for address := regexp.MustCompile(`msg=socketio addr=(\S+)`); addr == "" && lines.Scan(); {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			addr = m[1]
		}
	}
	if addr == "" {
		t.Fatal("socketio did not say where it listens")
	}
	go func() {
		for lines.Scan() { // so that it never waits for its log
		}
	}()
	join := func() (c *wstest.Client, id string) {
		c, err := dial(t, addr+"/socket.io/?EIO=4&transport=websocket")
		if err != nil {
			t.Fatal(err)
		}
		c.Text() // the Engine.IO handshake
		c.Send("40")
		if _, err := fmt.Sscanf(c.Text(), `40{"sid":%q}`, &id); err != nil {
			t.Fatal(err)
		}
		c.Send(`421["join","kitchen"]`)
		c.Want("431[]")
		return c, id
	}
	anna, id := join()
	defer anna.Close()
	bert, _ := join()
	defer bert.Close()
	anna.Send(`42["say","kitchen","tea?"]`)
	bert.Want(fmt.Sprintf(`42["said","kitchen",%q,"tea?"]`, id))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
