//go:build realclients

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/internal/badnetwork"
	"github.com/roostws/roost/web"
)

// These tests need what scripts/test.sh installs: Node.js with ws and
// playwright-core, Python with websockets, Chromium, Firefox. What is missing is a
// failure, never a skip. The real Go client, gobwas/ws, is in all other tests.

// needEnv is where scripts/test.sh has put something.
func needEnv(t *testing.T, name, what string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s must say where %s is: scripts/test.sh sets it", name, what)
	}
	return value
}

// script runs a client of testdata/clients and wants its last line to start
// with "ok".
func script(t *testing.T, interpreter, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, append([]string{filepath.Join("testdata", "clients", name)}, args...)...)
	// A script ends its browser when it is asked to; a kill would leave it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil || !strings.HasPrefix(said[strings.LastIndexByte(said, '\n')+1:], "ok") {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	t.Logf("%s: %s", name, said)
}

// Node.js finds the packages by NODE_PATH. It is set once, so that tests can run at the
// same time.
func init() { os.Setenv("NODE_PATH", os.Getenv("ROOST_NODE_MODULES")) }

func nodePath(t *testing.T) {
	t.Helper()
	needEnv(t, "ROOST_NODE_MODULES", "node_modules with ws and playwright-core")
}

func TestRealClientNpmWs(t *testing.T) {
	t.Parallel() // these tests wait more than they compute
	nodePath(t)
	onEveryEngine(t, func(t *testing.T, engine string) {
		for _, compression := range []string{"on", "context", "off"} {
			certFile, keyFile, _ := writeCertificate(t, t.TempDir(), 1, time.Now())
			p := startRoost(t, loopback("--echo", "--message-max-bytes", "65536", "--engine", engine, "--compression", compression,
				"--tls-addr", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile)...)
			script(t, "node", "echo.js", "ws://"+p.addr+"/", compression)
			script(t, "node", "echo.js", "wss://"+tlsAddr(t, p)+"/", compression, certFile)
		}
		demo := startRoost(t, loopback("--demo", "--engine", engine)...)
		script(t, "node", "chat.js", "ws://"+demo.addr)
	})
}

func TestRealClientPythonWebsockets(t *testing.T) {
	t.Parallel()
	python := needEnv(t, "ROOST_PYTHON", "Python with the websockets package")
	onEveryEngine(t, func(t *testing.T, engine string) {
		p := startRoost(t, loopback("--echo", "--message-max-bytes", "65536", "--engine", engine)...)
		script(t, python, "echo.py", "ws://"+p.addr+"/")
	})
}

func TestBrowser(t *testing.T) {
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	textbook, err := filepath.Abs("../../examples/textbook.html")
	if err != nil {
		t.Fatal(err)
	}
	p := startRoost(t, loopback("--demo", "--admin-addr", "127.0.0.1:0")...)
	addr := p.addr

	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join("testdata", "clients", "browser.js"),
		"http://"+addr+"/", p.adminURL(), "http://"+startProxy(t, addr), textbook)
	// Playwright ends its browser when it is asked to; a kill would leave it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		last = lines.Text()
		if last == "restart" {
			p.signal(os.Interrupt)
			p.wantExit(exitOK)
			p = startRoost(t, "--demo", "--addr", addr)
			io.WriteString(stdin, "done\n")
		}
	}
	if err := cmd.Wait(); err != nil || last != "ok" {
		t.Fatalf("browser.js: %v, after %q\n%s", err, last, complaints.String())
	}
}

// Every page of the demo site is free of errors, readable, still and within reach of the
// keyboard, on a phone and on a desktop, in light and dark. A new demo is a new folder.
func TestBrowserPages(t *testing.T) {
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	p := startRoost(t, loopback("--demo", "--admin-addr", "127.0.0.1:0")...)
	paths := []string{"", "source/chat", "docs/", "docs/settings", "docs/decisions", "docs/bench/results/2026-11-30-c10k-vm"}
	demos, err := fs.Glob(web.DemoFiles(), "*/index.html")
	if err != nil || len(demos) < 2 {
		t.Fatalf("%d demos, %v", len(demos), err)
	}
	for _, demo := range demos {
		paths = append(paths, strings.TrimSuffix(demo, "index.html"))
	}
	script(t, "node", "pages.js", append([]string{"http://" + p.addr + "/"}, paths...)...)
}

// Notifications reach all windows of a person, are read in all of them, and are there
// after a reload, from every kind of sender.
func TestBrowserNotifications(t *testing.T) {
	t.Parallel()
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	p := startRoost(t, loopback("--demo", "--admin-addr", "127.0.0.1:0")...)
	script(t, "node", "notifications.js", "http://"+p.addr+"/", p.adminURL())
}

// The page of examples/chat is a client of the native protocol without a library.
func TestBrowserChatExample(t *testing.T) {
	t.Parallel()
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	binary := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.Command("go", "build", "-o", binary, "../../examples/chat").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	chat := exec.Command(binary, "-addr", "127.0.0.1:0")
	stderr, err := chat.StderrPipe()
	if err == nil {
		err = chat.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = chat.Process.Kill()
		_ = chat.Wait() // killed
	})
	line, err := bufio.NewReader(stderr).ReadString('\n')
	_, addr, found := strings.Cut(strings.TrimSpace(line), "the chat is on http://")
	if !found {
		t.Fatalf("the chat said %q, %v", line, err)
	}
	script(t, "node", "chat_example.js", addr)
}

// startProxy is an HTTP proxy that connects everybody to addr, wherever they
// want to go.
func startProxy(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go proxyTo(conn, addr)
		}
	}()
	return l.Addr().String()
}

func proxyTo(conn net.Conn, addr string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "CONNECT localhost:8080 ") {
		io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	for line != "\r\n" {
		if line, err = in.ReadString('\n'); err != nil {
			return
		}
	}
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer server.Close()
	io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		io.Copy(server, in)
		server.Close()
	}()
	io.Copy(conn, server)
}

// The browser client, web/client, in Node.js: as it is in the tree, and as the binary
// serves it. Its tests have a server of their own, whose faults they choose.
func TestRealClientJavaScript(t *testing.T) {
	nodePath(t)
	minified := filepath.Join(t.TempDir(), "roost.mjs")
	if err := os.WriteFile(minified, web.ClientLibrary().Script, 0o644); err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob("../../web/client/test/*.test.mjs")
	if err != nil || len(tests) < 2 {
		t.Fatalf("%d files, %v", len(tests), err)
	}
	for form, module := range map[string]string{"source": "../roost.js", "minified": minified} {
		for _, name := range tests {
			t.Run(form+"/"+filepath.Base(name), func(t *testing.T) {
				t.Parallel()
				nodeTest(t, name, "ROOST_CLIENT="+module)
			})
		}
	}
}

// nodeTest runs a file of tests for node:test.
func nodeTest(t *testing.T, name string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--test-reporter=tap", name)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\n# fail 0\n")) || bytes.Contains(out, []byte("\n# pass 0\n")) {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// 200 browser clients on a network that cuts every connection get every message of their
// channels once and in order.
func TestRealClientJavaScriptExactness(t *testing.T) {
	t.Parallel()
	nodePath(t)
	for transport, most := range map[string]int{
		"websocket": 6000, "sse": 6000,
		"poll": 20_000, "all": 20_000, // the response to a poll comes whole or not at all
	} {
		t.Run(transport, func(t *testing.T) {
			p := startRoost(t, loopback("--native", "--anonymous", "--namespaces", `[{name: news, history-messages: 10000, publish: anyone}]`)...)
			network := badnetwork.New(t, p.addr, most)
			seed := rand.Uint32()
			t.Logf("the clients' seed is %d", seed)
			script(t, "node", "../../../../web/client/test/exactness.mjs", network.Addr(), p.addr, transport, "200", "100", strconv.FormatUint(uint64(seed), 10))
			t.Logf("%d cuts", network.Cuts())
		})
	}
}

// clientServer is the server of the browser client's tests in browsers.
func clientServer(t *testing.T) *process {
	t.Helper()
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	needEnv(t, "ROOST_FIREFOX", "Firefox")
	return startRoost(t, loopback("--demo", "--native", "--anonymous", "--namespaces", `[{name: "", publish: anyone, presence: true}, {name: news, history-messages: 1000, publish: anyone, presence: true}]`)...)
}

// The browser client in a network that lets no WebSocket through. It measures how soon a page
// has a fallback, and has the machine for itself.
func TestBrowserClient(t *testing.T) {
	p := clientServer(t)
	script(t, "node", "../../../../web/client/test/firefox.mjs", p.addr)
}

// The browser client where it belongs: pages that are offline, frozen, left and come back
// to, and that share a connection. Most of it is waiting for a minute.
func TestBrowserClientPages(t *testing.T) {
	t.Parallel()
	p := clientServer(t)
	for _, run := range []string{"browser", "frozen", "firefox offline", "firefox stopped"} {
		name, only, _ := strings.Cut(run, " ")
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			script(t, "node", "../../../../web/client/test/"+name+".mjs", p.addr, only)
		})
	}
}

// The browser client in Deno.
func TestRealClientDeno(t *testing.T) {
	deno := filepath.Join(needEnv(t, "ROOST_NODE_MODULES", "node_modules with deno"), ".bin", "deno")
	p := startRoost(t, loopback("--native", "--anonymous", "--namespaces", `[{name: news, history-messages: 10, publish: anyone}]`)...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, deno, "run", "--allow-all", "--no-config", "../../web/client/test/deno.mjs", p.addr)
	cmd.Env = append(os.Environ(), "DENO_DIR="+t.TempDir(), "DENO_NO_UPDATE_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "ok") {
		t.Fatalf("deno: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// The examples of docs/browser.md do what it says.
func TestRealClientJavaScriptDocumentation(t *testing.T) {
	nodePath(t)
	t.Setenv("TMPDIR", t.TempDir())
	p := startRoost(t, loopback("--native", "--anonymous", "--token-secret", testSecret,
		"--namespaces", `[{name: "", history-messages: 100, publish: anyone, presence: true}]`)...)
	script(t, "node", "../../../../web/client/test/docs.mjs", "../../docs/browser.md", p.addr, testSecret)
}

// What npm pack makes can be installed, and imported by its name.
func TestRealClientJavaScriptPackage(t *testing.T) {
	source, err := filepath.Abs("../../web/client")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(want, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "npm_config_cache="+dir, "npm_config_update_notifier=false")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
	}
	run("roost.d.ts", "npm", "pack", source)
	packed, err := filepath.Glob(filepath.Join(dir, "roostws-client-*.tgz"))
	if err != nil || len(packed) != 1 {
		t.Fatalf("npm pack made %q, %v", packed, err)
	}
	run("added 1 package", "npm", "install", "--offline", "--no-audit", "--no-fund", packed[0])
	run("function", "node", "--input-type=module", "-e", `import { Roost } from '@roostws/client'; console.log(typeof Roost)`)
}
