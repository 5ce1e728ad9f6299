//go:build realclients

package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/wstest"
)

// An unchanged socket.io-client in Node.js, over WebSockets, polling, and polling with upgrade.
func TestRealClientSocketIO(t *testing.T) {
	t.Parallel()
	nodePath(t)
	p, _ := startSocketIO(t)
	script(t, "node", "socketio.js", "http://"+p.addr)
}

// Its bundle in a page of Chromium does the same.
func TestBrowserSocketIO(t *testing.T) {
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	p, _ := startSocketIO(t)
	script(t, "node", "socketio.js", "http://"+p.addr, "chromium")
}

// The back end of docs/socketio.md does what the page says.
func TestRealClientSocketIODocumentation(t *testing.T) {
	t.Parallel()
	python := needEnv(t, "ROOST_PYTHON", "Python")
	page, err := os.ReadFile("../../docs/socketio.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(page), "```python\n")
	code, _, _ = strings.Cut(code, "```")
	app, admin := freeAddr(t), freeAddr(t)
	_, port, _ := net.SplitHostPort(app)
	file := filepath.Join(t.TempDir(), "back_end.py")
	code = strings.NewReplacer("127.0.0.1:8081", admin, "9000", port).Replace(code)
	if err := os.WriteFile(file, []byte(code), 0o644); !found || err != nil {
		t.Fatal(found, err)
	}
	backEnd := exec.Command(python, file)
	var said strings.Builder
	backEnd.Stdout, backEnd.Stderr = &said, &said
	if err := backEnd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = backEnd.Process.Kill()
		_ = backEnd.Wait() // killed
		if t.Failed() {
			t.Logf("the back end said:\n%s", said.String())
		}
	})
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", app); err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the back end does not listen")
		}
	}
	p := startRoost(t, loopback("--socketio", "--admin-addr", admin, "--ask-url", "http://"+app+"/", "--webhook-secret", webhookSecret)...)
	ann, _ := ioClient(t, p, "ann")
	bob, _ := ioClient(t, p, "bob")
	for _, c := range []*wstest.Client{ann, bob} {
		c.Send(`421["enter","kitchen"]`)
		c.Want(`431[1]`)
	}
	ann.Send(`422["say","kitchen","tea is ready"]`)
	ann.Want(`432["done"]`)
	bob.Want(`42["said", "ann", "tea is ready"]`)
	stranger, _ := dialSocketIO(t, p, `40`)
	stranger.Want(`44{"message":"log in first","data":{"code":101}}`)
}

// dialSocketIO sends a first packet.
func dialSocketIO(t *testing.T, p *process, packet string) (*wstest.Client, string) {
	t.Helper()
	c := wstest.Dial(t, "ws://"+p.addr+"/socket.io/?EIO=4&transport=websocket")
	open := c.Text()
	c.Send(packet)
	return c, open
}
