// Package peers_test holds every peer to the job that it is measured at.
package peers_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const clientCount = 50

// peers are the Go peers, one folder each. The one on Node is started by startNode.
var peers = []string{"gorilla", "coder", "gws", "nbio", "gobwas-easygo", "gnet-gobwas"}

var buildPeers = sync.OnceValues(func() (dir string, err error) {
	dir, err = os.MkdirTemp("", "peers")
	if err != nil {
		return "", err
	}
	command := exec.Command("go", "build", "-o", dir+"/", "./...")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	dir, err := buildPeers()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// start runs a peer, and ends it with the test: by SIGTERM, which must suffice.
func start(t *testing.T, peer, mode string) (addr string) {
	t.Helper()
	lookAtSources(t)
	dir, err := buildPeers()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(dir, peer))
	if peer == "node-ws" {
		command = nodeCommand(t)
	}
	command.Args = append(command.Args, "-addr", "127.0.0.1:0", "-mode", mode)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(2*time.Minute, func() { command.Process.Kill() })
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		stopping := time.AfterFunc(30*time.Second, func() { command.Process.Kill() })
		err := command.Wait()
		killer.Stop()
		stopping.Stop()
		if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); err != nil && (!ok || status.Signal() != syscall.SIGTERM) {
			t.Errorf("%s did not end well on SIGTERM: %v\n%s", peer, err, stderr.Bytes())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: no first line: %v\n%s", peer, err, stderr.Bytes())
	}
	var pid int
	if _, err := fmt.Sscanf(line, "listening addr=%s pid=%d\n", &addr, &pid); err != nil {
		t.Fatalf("%s: first line %q: %v", peer, line, err)
	}
	if pid != command.Process.Pid {
		t.Fatalf("%s says pid %d, is %d", peer, pid, command.Process.Pid)
	}
	return addr
}

// lookAtSources makes go test run this again after a change: its cache knows of the
// files that a test looked at, not of those that a command compiled.
func lookAtSources(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"*/*.go", "internal/*/*.go", "node-ws/*.js*", "go.*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no such files, %v", pattern, err)
		}
		for _, name := range names {
			if _, err := os.Stat(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// nodeCommand is the peer on Node, with what it needs installed from its lock file.
func nodeCommand(t *testing.T) *exec.Cmd {
	t.Helper()
	if _, err := os.Stat("node-ws/node_modules/ws/package.json"); err != nil {
		npm := exec.Command("npm", "ci", "--ignore-scripts")
		npm.Dir = "node-ws"
		if out, err := npm.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s\ninstall nodejs and npm", err, out)
		}
	}
	return exec.Command("node", "node-ws/server.js")
}

// messages are what each client sends to peer, as the frames that make up each
// message. salt makes those of different clients different.
func messages(peer string, salt int) []message {
	fill := func(n int) []byte {
		return []byte(strings.Repeat(fmt.Sprintf("%06d-", salt), n/7+1)[:n])
	}
	all := []message{
		{"text of 128 bytes", text, [][]byte{fill(128)}},
		{"text beyond ASCII, split inside a character", text, [][]byte{[]byte("gr\xc3"), []byte("\xbc\xc3\x9f"), []byte("e \xe2\x82\xac")}},
		{"binary, not UTF-8", binaryOp, [][]byte{append([]byte{0xff, 0, 0xfe}, fill(300)...)}},
		{"text with a 16-bit length in three fragments", text, [][]byte{fill(200), nil, fill(900)}},
		{"binary with a 64-bit length", binaryOp, [][]byte{fill(70_000)}},
	}
	// nbio v1.6.8 calls no handler for a message without bytes (Conn.Parse).
	if peer != "nbio" {
		all = append(all, message{"empty text", text, [][]byte{nil}})
	}
	return all
}

type message struct {
	name   string
	opcode byte
	frames [][]byte
}

func (m message) payload() []byte { return bytes.Join(m.frames, nil) }

// send writes the frames, with a ping between fragments, and returns how many pings.
func (m message) send(c *client) (pings int) {
	opcode := m.opcode
	for i, frame := range m.frames {
		last := i == len(m.frames)-1
		c.send(last, opcode, frame)
		opcode = continuation
		if !last {
			c.send(true, ping, []byte("between"))
			pings++
		}
	}
	return pings
}

func eachPeer(t *testing.T, test func(t *testing.T, peer string)) {
	for _, peer := range peers {
		t.Run(peer, func(t *testing.T) { test(t, peer) })
	}
	t.Run("node-ws", func(t *testing.T) { test(t, "node-ws") })
}

func TestEcho(t *testing.T) {
	eachPeer(t, func(t *testing.T, peer string) {
		addr := start(t, peer, "echo")
		clients := make([]*client, clientCount)
		for i := range clients {
			clients[i] = dial(t, addr, fmt.Sprintf("client %d", i))
			clients[i].wantPong("hello")
		}
		// Message by message, so that all clients have one on the way at a time.
		for k := range messages(peer, 0) {
			pings := 0
			for i, c := range clients {
				pings = messages(peer, i)[k].send(c)
			}
			for i, c := range clients {
				for range pings {
					c.want(pong, []byte("between"))
				}
				m := messages(peer, i)[k]
				c.want(m.opcode, m.payload())
			}
		}
		// A burst in one write must come back whole and in order.
		for i := range 20 {
			clients[0].send(true, text, fmt.Appendf(nil, "burst %d", i))
		}
		for i := range 20 {
			clients[0].want(text, fmt.Appendf(nil, "burst %d", i))
		}
		for _, c := range clients {
			c.wantClose()
		}
	})
}

func TestRelay(t *testing.T) {
	eachPeer(t, func(t *testing.T, peer string) {
		addr := start(t, peer, "relay")
		clients := make([]*client, clientCount)
		for i := range clients {
			clients[i] = dial(t, addr, fmt.Sprintf("client %d", i))
			clients[i].wantPong("hello")
		}
		for k := range messages(peer, 0) {
			sender := clients[k]
			m := messages(peer, k)[k]
			for range m.send(sender) {
				sender.want(pong, []byte("between"))
			}
			for _, c := range clients {
				c.want(m.opcode, m.payload())
			}
		}
		// Without pause, all must see each message once and in order.
		for i := range 50 {
			clients[7].send(true, text, fmt.Appendf(nil, "burst %d", i))
		}
		for _, c := range clients {
			for i := range 50 {
				c.want(text, fmt.Appendf(nil, "burst %d", i))
			}
		}
		// Clients that leave hurt none that stay.
		for _, c := range clients[:clientCount/2] {
			c.wantClose()
		}
		rest := clients[clientCount/2:]
		rest[0].send(true, text, []byte("still here"))
		for _, c := range rest {
			c.want(text, []byte("still here"))
		}
	})
}
