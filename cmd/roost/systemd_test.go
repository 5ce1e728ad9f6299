package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asActivated makes the test binary set LISTEN_PID to itself first, as systemd
// does between fork and exec.
const asActivated = "ROOST_TEST_AS_ACTIVATED"

func init() {
	if os.Getenv(asActivated) != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
}

// listeningFile is the descriptor of a listening socket that stays open for the
// process that inherits it.
func listeningFile(t *testing.T, network, address string) (*os.File, net.Addr) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, l.Addr()
}

// A service that systemd starts by its sockets serves them, says when it is
// ready, and leaves the sockets open for the next one.
func TestSystemdActivation(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		certFile, keyFile, _ := writeCertificate(t, dir, 1, time.Now())
		tcp, tcpAddr := listeningFile(t, "tcp", "127.0.0.1:0")
		inet6, inet6Addr := listeningFile(t, "tcp", "[::1]:0")
		secure, secureAddr := listeningFile(t, "tcp", "127.0.0.1:0")
		local, localAddr := listeningFile(t, "unix", filepath.Join(dir, "s"))
		notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer notify.Close()
		p := startRoostAs(t, func(p *process) {
			p.cmd.ExtraFiles = []*os.File{tcp, secure, local, inet6}
			p.cmd.Env = append(p.cmd.Env, asActivated+"=1", "LISTEN_FDS=4", "LISTEN_FDNAMES=ws:wss:ws:ws", "NOTIFY_SOCKET="+notify.LocalAddr().String())
		}, "--engine", engine, "--echo", "--addr", "systemd:ws", "--addr", "127.0.0.1:0", "--tls-addr", "systemd:wss",
			"--tls-cert", certFile, "--tls-key", keyFile)
		wantNotify(t, notify, "READY=1")
		for _, addr := range []string{tcpAddr.String(), "unix:" + localAddr.String(), inet6Addr.String()} {
			c := dial(t, addr, "/")
			c.Send(addr)
			c.Want(addr)
		}
		if got := tlsAddr(t, p); got != secureAddr.String() {
			t.Errorf("TLS is spoken on %s, want %s", got, secureAddr)
		}
		p.signal(syscall.SIGTERM)
		wantNotify(t, notify, "STOPPING=1")
		p.wantExit(exitOK)
		if _, err := os.Stat(localAddr.String()); err != nil {
			t.Errorf("the socket file is systemd's to remove: %v", err)
		}
		// A client that comes now waits in the socket's queue for the next
		// process.
		conn, err := net.Dial("tcp", tcpAddr.String())
		if err != nil {
			t.Errorf("between two processes: %v", err)
		} else {
			conn.Close()
		}
	})
}

func wantNotify(t *testing.T, notify *net.UnixConn, want string) {
	t.Helper()
	_ = notify.SetReadDeadline(time.Now().Add(testTimeout))
	got := make([]byte, 100)
	n, err := notify.Read(got)
	if err != nil || string(got[:n]) != want {
		t.Errorf("systemd was told %q, %v; want %q", got[:n], err, want)
	}
}

func TestSystemdSockets(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		pid, count, names string
		addr, tlsAddr     []string
		want, wantTLS     []string
		fails             string
	}{
		{own, "2", "a:b", []string{"systemd"}, nil, []string{"fd:3", "fd:4"}, nil, ""},
		{own, "2", "", []string{"systemd"}, nil, []string{"fd:3", "fd:4"}, nil, ""},
		{own, "3", "a:b:a", []string{":1", "systemd:a"}, []string{"systemd:b"}, []string{":1", "fd:3", "fd:5"}, []string{"fd:4"}, ""},
		{own, "2", "a:b", []string{"systemd:a"}, []string{"systemd"}, []string{"fd:3"}, []string{"fd:4"}, ""},
		{own, "1", "a", []string{"systemd"}, []string{"systemd"}, nil, nil, "--tls-addr systemd: systemd has opened no such socket"},
		{own, "1", "a", []string{"systemd:b"}, nil, nil, nil, `--addr systemd:b`},
		{"1", "1", "a", []string{"systemd"}, nil, nil, nil, "no such socket"},
		{"", "", "", []string{":1", "unix:/x"}, nil, []string{":1", "unix:/x"}, nil, ""},
		{own, "many", "", []string{"systemd"}, nil, nil, nil, "LISTEN_FDS"},
	} {
		t.Run(fmt.Sprint(tc.count, tc.names, tc.addr, tc.tlsAddr), func(t *testing.T) {
			t.Setenv("LISTEN_PID", tc.pid)
			t.Setenv("LISTEN_FDS", tc.count)
			t.Setenv("LISTEN_FDNAMES", tc.names)
			var got, gotTLS []string
			a, err := systemdSockets()
			if err == nil {
				got, err = a.resolve("--addr", tc.addr)
			}
			if err == nil {
				gotTLS, err = a.resolve("--tls-addr", tc.tlsAddr)
			}
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error %v, want one about %q", err, tc.fails)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tc.want) || !reflect.DeepEqual(gotTLS, tc.wantTLS) {
				t.Errorf("%q and %q, %v; want %q and %q", got, gotTLS, err, tc.want, tc.wantTLS)
			}
			if value, left := os.LookupEnv("LISTEN_PID"); left {
				t.Errorf("LISTEN_PID=%s is left for children", value)
			}
		})
	}
}
