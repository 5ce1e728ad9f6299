//go:build realclients

package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
)

// The configurations of deploy/ are run as they are, but for addresses and file
// names, with the real nginx, HAProxy and systemd-socket-activate in front.

// deployed reads a file of deploy/ and replaces what must differ here. Each
// replacement must find its place.
func deployed(t *testing.T, name string, replace map[string]string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for old, with := range replace {
		changed := regexp.MustCompile(`(?m)`+old).ReplaceAllString(text, with)
		if changed == text {
			t.Fatalf("deploy/%s lacks %q", name, old)
		}
		text = changed
	}
	return text
}

// runProgram runs a program in the foreground until the test ends, and waits
// until it listens on addr.
func runProgram(t *testing.T, addr, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // nginx and HAProxy end at once; SIGINT may be ignored in the background
		select {
		case <-ended:
		case <-time.After(testTimeout):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.String())
		}
	})
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s %q ended: %v\n%s", name, args, err, out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", name, addr)
		}
	}
}

// throughProxy connects from 127.0.0.2, talks through the proxy, and wants
// roost to know where the client came from.
func throughProxy(t *testing.T, p *process, url string, pool *x509.CertPool) {
	t.Helper()
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	dialer := ws.Dialer{NetDial: from.DialContext, TLSConfig: &tls.Config{RootCAs: pool}}
	c := wstest.DialWith(t, dialer, url)
	for _, text := range []string{"hello", strings.Repeat("0123456789", 100_000), "and again"} {
		c.Send(text)
		c.Want(text)
	}
	before := strings.Count(p.said(), `"remote_addr":"127.0.0.2:`)
	c.Put(wstest.CloseFrame(4321, "enough"))
	c.WantClosing(4321)
	p.waitLog(`"remote_addr":"127.0.0.2:`, before+1)
}

// proxied is a certificate for the proxy, and a roost behind it.
func proxied(t *testing.T, engine string, flags ...string) (p *process, dir string, pool *x509.CertPool) {
	t.Helper()
	dir = t.TempDir()
	_, _, pool = writeCertificate(t, dir, 1, time.Now())
	p = startRoost(t, append([]string{"--engine", engine, "--echo", "--log-level", "debug"}, flags...)...)
	return p, dir, pool
}

// runNginx runs nginx with one of our files in its block.
func runNginx(t *testing.T, dir, addr, block, content string) {
	t.Helper()
	module := ""
	if block == "stream" {
		module = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
	}
	temp := ""
	if block == "http" {
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			temp += fmt.Sprintf("%s_temp_path %s/%s;\n", kind, dir, kind)
		}
		temp += "access_log off;\n"
	}
	conf := filepath.Join(dir, "nginx.conf")
	whole := fmt.Sprintf("%sdaemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\n%s {\n%s%s\n}\n", module, dir, block, temp, content)
	if err := os.WriteFile(conf, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	runProgram(t, addr, "nginx", "-p", dir, "-c", conf, "-e", "stderr")
}

func TestRealProxyNginx(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, engine string) {
		p, dir, pool := proxied(t, engine, "--addr", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1")
		plain, secure := freeAddr(t), freeAddr(t)
		runNginx(t, dir, plain, "http", deployed(t, "nginx/roost.conf", map[string]string{
			`server 127\.0\.0\.1:8080;`:    "server " + p.addr + ";",
			`listen 80;`:                   "listen " + plain + ";",
			`listen 443 ssl;`:              "listen " + secure + " ssl;",
			`/etc/roost/tls/fullchain.pem`: filepath.Join(dir, "roost.pem"),
			`/etc/roost/tls/privkey.pem`:   filepath.Join(dir, "roost.key"),
		}))
		throughProxy(t, p, "ws://"+plain+"/", nil)
		throughProxy(t, p, "wss://"+secure+"/", pool)
	})
}

func TestRealProxyNginxStream(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, engine string) {
		p, dir, _ := proxied(t, engine, "--addr", "127.0.0.1:0", "--proxy-protocol", "127.0.0.1")
		front := freeAddr(t)
		runNginx(t, dir, front, "stream", deployed(t, "nginx/roost-stream.conf", map[string]string{
			`proxy_pass 127\.0\.0\.1:8081;`: "proxy_pass " + p.addr + ";",
			`listen 8443;`:                  "listen " + front + ";",
		}))
		throughProxy(t, p, "ws://"+front+"/", nil)
	})
}

// HAProxy in front of three kinds of listener: HTTP, HTTP and TLS, TCP; behind
// the last one TLS ends in roost.
func TestRealProxyHAProxy(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, engine string) {
		p, dir, pool := proxied(t, engine, "--addr", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1")
		balanced, balancedDir, balancedPool := proxied(t, engine, "--addr", "127.0.0.1:0", "--proxy-protocol", "127.0.0.1")
		inner := startRoost(t, "--engine", engine, "--echo", "--log-level", "debug", "--addr", "127.0.0.1:0", "--tls-addr", "127.0.0.1:0", "--proxy-protocol", "127.0.0.1",
			"--tls-cert", filepath.Join(balancedDir, "roost.pem"), "--tls-key", filepath.Join(balancedDir, "roost.key"))
		var both []byte
		for _, name := range []string{"roost.pem", "roost.key"} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			both = append(both, content...)
		}
		certificate := filepath.Join(dir, "both.pem")
		if err := os.WriteFile(certificate, both, 0o600); err != nil {
			t.Fatal(err)
		}
		plain, secure, tcp, tcpTLS := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
		conf := deployed(t, "haproxy/haproxy.cfg", map[string]string{
			`server roost 127\.0\.0\.1:8080`: "server roost " + p.addr,
			`server roost 127\.0\.0\.1:8081`: "server roost " + balanced.addr,
			`bind :80$`:                      "bind " + plain,
			`bind :443 `:                     "bind " + secure + " ",
			`bind :8443`:                     "bind " + tcp,
			`/etc/roost/tls/roost\.pem`:      certificate,
			`maxconn 100000`:                 "maxconn 100",
		})
		// The same for wss:// that ends in roost.
		section := conf[strings.Index(conf, "listen tcp"):]
		section = strings.NewReplacer("listen tcp", "listen tcptls", tcp, tcpTLS, balanced.addr, tlsAddr(t, inner)).Replace(section)
		file := filepath.Join(dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(conf+"\n"+section), 0o600); err != nil {
			t.Fatal(err)
		}
		runProgram(t, plain, "haproxy", "-f", file, "-db")
		throughProxy(t, p, "ws://"+plain+"/", nil)
		throughProxy(t, p, "wss://"+secure+"/", pool)
		throughProxy(t, balanced, "ws://"+tcp+"/", nil)
		throughProxy(t, inner, "wss://"+tcpTLS+"/", balancedPool)
	})
}

// The units are what systemd understands, and their command is one of ours.
func TestRealSystemdUnits(t *testing.T) {
	dir := t.TempDir()
	service := deployed(t, "systemd/roost.service", map[string]string{
		`/usr/local/bin/roost`: "/bin/true",
		`LimitNOFILE=1048576`:  "LimitNOFILE=1024",
	})
	for name, content := range map[string]string{"roost.service": service, "roost.socket": deployed(t, "systemd/roost.socket", nil)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, "roost.service"), filepath.Join(dir, "roost.socket"))
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	command := regexp.MustCompile(`(?m)^ExecStart=\S+ (.*)$`).FindStringSubmatch(deployed(t, "systemd/roost.service", nil))
	if command == nil {
		t.Fatal("no ExecStart")
	}
	args := strings.Fields(strings.ReplaceAll(command[1], "/etc/roost/roost.yaml", "../../docs/roost.yaml"))
	if cli, err := parse(t, args...); err != nil || fmt.Sprint(cli.Serve.Addr) != "[systemd:ws]" {
		t.Errorf("%q: %v", args, err)
	}
	if name := regexp.MustCompile(`(?m)^FileDescriptorName=(.*)$`).FindStringSubmatch(deployed(t, "systemd/roost.socket", nil)); name == nil || name[1] != "ws" {
		t.Errorf("roost.socket names its sockets %q, roost.service wants ws", name)
	}
}

// The first client starts the server; it is served though it came before.
func TestRealSocketActivation(t *testing.T) {
	addr := freeAddr(t)
	cmd := exec.Command("systemd-socket-activate", "--listen", addr, "--fdname", "ws", "-E", asRoost+"=1",
		os.Args[0], "serve", "--echo", "--addr", "systemd:ws")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it is roost by now
		if err := cmd.Wait(); err != nil {
			t.Errorf("the end: %v\n%s", err, out.String())
		}
	})
	var conn net.Conn
	for deadline := time.Now().Add(testTimeout); conn == nil; time.Sleep(10 * time.Millisecond) {
		var err error
		if conn, err = tryDial(addr, "/"); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	c := wstest.New(t, conn)
	c.Send("who woke you?")
	c.Want("who woke you?")
	_ = c.Close()
}
