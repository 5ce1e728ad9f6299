//go:build linux || darwin || freebsd

package engines_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
)

// echoHandler sends back what comes.
type echoHandler struct{ loop netpoll.Loop }

func (h *echoHandler) OnOpen(netpoll.ID, uint64)        {}
func (h *echoHandler) OnData(id netpoll.ID, p []byte)   { _, _ = h.loop.Write(id, p) }
func (h *echoHandler) OnWritable(netpoll.ID)            {}
func (h *echoHandler) OnClose(id netpoll.ID, err error) {}
func (h *echoHandler) OnWake() bool                     { return false }
func (h *echoHandler) OnTick()                          {}

// startEcho starts an engine that echoes.
func startEcho(t testing.TB, driver netpoll.Driver, cfg netpoll.Config) netpoll.Engine {
	t.Helper()
	e, err := driver.Start(cfg, func(l netpoll.Loop) netpoll.Handler { return &echoHandler{l} })
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
func dial(t testing.TB, e netpoll.Engine) net.Conn {
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
	for _, driver := range engines.All() {
		t.Run(driver.Name(), func(t *testing.T) {
			e := startEcho(t, driver, netpoll.Config{Loops: 2, Listen: []string{"127.0.0.1:0", "unix:" + t.TempDir() + "/s"}})
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
