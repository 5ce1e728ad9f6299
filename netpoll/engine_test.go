//go:build linux || darwin || freebsd

package netpoll

import (
	"io"
	"net"
	"testing"
	"time"
)

// echoHandler sends back what comes.
type echoHandler struct{ loop Loop }

func (h *echoHandler) OnOpen(ID, uint64)        {}
func (h *echoHandler) OnData(id ID, p []byte)   { _, _ = h.loop.Write(id, p) }
func (h *echoHandler) OnWritable(ID)            {}
func (h *echoHandler) OnClose(id ID, err error) {}
func (h *echoHandler) OnWake() bool             { return false }
func (h *echoHandler) OnTick()                  {}

// ownKinds are the engines that share this package's core.
func ownKinds() (kinds []Kind) {
	for _, kind := range Kinds() {
		if kind != Gnet {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// startEcho starts an engine that echoes.
func startEcho(t testing.TB, kind Kind, cfg Config) Engine {
	t.Helper()
	e, err := Start(kind, cfg, func(l Loop) Handler { return &echoHandler{l} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close() = %v, want nil", err)
		}
	})
	return e
}

// dial connects to the engine's first listener.
func dial(t testing.TB, e Engine) net.Conn {
	t.Helper()
	addr := e.Addrs()[0]
	c, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// wantEcho sends text and expects it back.
func wantEcho(t testing.TB, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("echo of %q = %q, %v", text, got, err)
	}
}

func TestEcho(t *testing.T) {
	for _, kind := range ownKinds() {
		t.Run(string(kind), func(t *testing.T) {
			e := startEcho(t, kind, Config{Loops: 2, Listen: []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/s"}})
			for i := range 10 {
				wantEcho(t, dial(t, e), "hello, loop"[:i+1])
			}
			c, err := net.Dial("unix", e.Addrs()[1].String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			wantEcho(t, c, "over a unix socket")
		})
	}
}
