package server_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/netpoll/gnet"
	"github.com/roostws/roost/server"
)

// heap is what lives after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// numbered is a message that shows its number at both ends.
func numbered(n, size int) []byte {
	p := make([]byte, size)
	binary.BigEndian.PutUint32(p, uint32(n))
	binary.BigEndian.PutUint32(p[size-4:], uint32(n))
	return p
}

func number(t *testing.T, p []byte) int {
	t.Helper()
	n := binary.BigEndian.Uint32(p)
	if n != binary.BigEndian.Uint32(p[len(p)-4:]) {
		t.Fatal("the message is not in one piece")
	}
	return int(n)
}

// eachPausingEngine leaves gnet out, which cannot stop reading: there a flood
// ends with the connection (TestBackPressureGnet).
func eachPausingEngine(t *testing.T, f func(t *testing.T, engine netpoll.Driver)) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		if engine != gnet.Driver {
			f(t, engine)
		}
	})
}

// A client that pipelines and does not read is not read either: what it makes
// the server hold is bounded, and nothing is lost.
func TestBackPressure(t *testing.T) {
	eachPausingEngine(t, func(t *testing.T, engine netpoll.Driver) {
		const size = 8 << 10
		const count = 50 << 20 / size
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Sockets: server.Sockets{SendBufferBytes: 64 << 10}, Handler: server.Handler{Message: echo}})
		c := upgraded(t, s)
		before := heap()
		sent := make(chan error, 1)
		go func() {
			var frames bytes.Buffer
			for n := range count {
				frames.Reset()
				_ = wsutil.WriteClientBinary(&frames, numbered(n, size))
				if _, err := c.Write(frames.Bytes()); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		eventually(t, "the client is not read any more", func() bool {
			// Its socket may take some more, for a while.
			st := statsOf(s)
			return st.Get("paused") == 1 && st.Get("stalled") == 1
		})
		// Half of PendingMaxBytes pauses it; a turn's replies come on top.
		if n := statsOf(s).Get("pending_bytes"); n > 128<<10 {
			t.Errorf("PendingBytes = %d", n)
		}
		if grown := heap() - before; grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		for n := range count {
			p, err := wsutil.ReadServerBinary(c)
			if err != nil {
				t.Fatalf("message %d: %v", n, err)
			}
			if got := number(t, p); got != n || len(p) != size {
				t.Fatalf("message %d came with %d bytes, want %d with %d", got, len(p), n, size)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		eventually(t, "nothing waits", func() bool {
			st := statsOf(s)
			return st.Get("paused") == 0 && st.Get("stalled") == 0 && st.Get("pending_bytes") == 0
		})
	})
}

// On gnet such a client is disconnected when its input has grown too much.
func TestBackPressureGnet(t *testing.T) {
	ends := make(chan server.CloseEvent, 1)
	s := start(t, server.Config{Engine: server.Engine{Driver: gnet.Driver}, Sockets: server.Sockets{SendBufferBytes: 64 << 10}, Handler: server.Handler{
		Message: echo, Close: func(e *server.CloseEvent) { ends <- *e },
	}})
	c := upgraded(t, s)
	frames := []byte(wstest.Masked(ws.OpBinary, string(make([]byte, 32<<10))))
	for range 50 << 20 / len(frames) {
		if _, err := c.Write(frames); err != nil {
			break
		}
	}
	select {
	case e := <-ends:
		if e.Err != netpoll.ErrPausedReadFull {
			t.Errorf("it ended with %v", e.Err)
		}
	case <-time.After(wstest.Patience):
		t.Fatal("it is still connected")
	}
	eventually(t, "nothing waits", func() bool {
		st := statsOf(s)
		return st.Get("paused") == 0 && st.Get("stalled") == 0 && st.Get("pending_bytes") == 0
	})
}

func TestBigMessages(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{MessageMaxBytes: 16 << 20, PendingMaxBytes: 4 << 10}, Handler: server.Handler{Message: echo}})
		largest := 2 << 20
		if engine == engines.All()[0] {
			largest = 16 << 20 // the race detector makes it slow
		}
		for _, size := range []int{5000, 70_000, largest} {
			c := upgraded(t, s)
			p := bytes.Repeat([]byte("0123456789"), size/10)
			sent := make(chan error, 1)
			go func() { sent <- wsutil.WriteClientBinary(c, p) }()
			got, err := wsutil.ReadServerBinary(c)
			if err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%d of %d bytes, %v", len(got), len(p), err)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
		}
		eventually(t, "all are gone", func() bool { return statsOf(s).Get("connections") == 0 })
		if grown := heap(); grown > 120<<20 {
			t.Errorf("%d bytes are kept", grown)
		}
	})
}

// slowServer has everybody in the channel "all".
func slowServer(t *testing.T, engine netpoll.Driver, policy server.SlowPolicy, ends chan server.CloseEvent) *server.Server {
	return start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{SlowConsumer: policy, LagMaxBytes: 256 << 10}, Sockets: server.Sockets{SendBufferBytes: 16 << 10}, Timeouts: server.Timeouts{WriteStallTimeout: wstest.Patience, CloseTimeout: wstest.Patience},
		Handler: server.Handler{
			Upgrade: func(r *server.UpgradeRequest) error { r.Channels = []string{"all"}; return nil },
			Close:   func(e *server.CloseEvent) { ends <- *e },
		}})
}

// stream publishes count numbered messages, as fast as readers take them.
func stream(t *testing.T, s *server.Server, count, size int, readers ...*client) {
	t.Helper()
	var wg sync.WaitGroup
	window := 40_000 / size // less than PendingMaxBytes: these are no slow consumers
	windowc := make([]chan struct{}, len(readers))
	for i, c := range readers {
		windowc[i] = make(chan struct{}, window)
		wg.Go(func() {
			for n := range count {
				p, err := wsutil.ReadServerBinary(c)
				if err != nil {
					t.Errorf("reader %d, message %d: %v", i, n, err)
					return
				}
				if got := number(t, p); got != n {
					t.Errorf("reader %d: message %d came, want %d", i, got, n)
					return
				}
				<-windowc[i]
			}
		})
	}
	for n := range count {
		for _, w := range windowc {
			select {
			case w <- struct{}{}:
			case <-time.After(wstest.Patience):
				t.Fatal("a reader does not get on")
			}
		}
		if err := s.Publish("all", server.Binary, numbered(n, size)); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func TestSlowDisconnect(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		ends := make(chan server.CloseEvent, 10)
		s := slowServer(t, engine, server.SlowDisconnect, ends)
		slow := upgraded(t, s)
		a, b := upgraded(t, s), upgraded(t, s)
		const count, size = 500, 4000
		stream(t, s, count, size, a, b)
		// When it reads again, what it has to go on with is gone. It gets the start of the stream in whole messages, then the reason.
		next := 0
		for {
			f, err := wstest.ReadFrame(slow)
			if err != nil {
				t.Fatalf("behind %d messages: %v", next, err)
			}
			if f.Header.OpCode == ws.OpClose {
				if code, reason := ws.ParseCloseFrameData(f.Payload); code != 1013 || reason == "" {
					t.Errorf("closed with %d %q", code, reason)
				}
				break
			}
			if got := number(t, f.Payload); got != next || len(f.Payload) != size {
				t.Fatalf("message %d with %d bytes, want %d", got, len(f.Payload), next)
			}
			next++
		}
		if n := statsOf(s).Get("slow_disconnects"); n != 1 {
			t.Errorf("SlowDisconnects = %d, want 1", n)
		}
		slow.Put(wstest.CloseFrame(1013, ""))
		slow.WantEnd()
		if e := <-ends; e.Code != 1013 || e.ByPeer {
			t.Errorf("Close was told %+v", e)
		}
	})
}

func TestSlowDrop(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		ends := make(chan server.CloseEvent, 10)
		s := slowServer(t, engine, server.SlowDrop, ends)
		slow := upgraded(t, s)
		a := upgraded(t, s)
		const count, size = 500, 4000
		stream(t, s, count, size, a)
		// When it reads again, it finds that the journal has forgotten some, and
		// goes on with what is still there, up to the last one.
		got, last := 0, -1
		for last != count-1 {
			p, err := wsutil.ReadServerBinary(slow)
			if err != nil {
				t.Fatalf("behind %d messages: %v", got, err)
			}
			n := number(t, p)
			if n <= last {
				t.Fatalf("%d came behind %d", n, last)
			}
			got, last = got+1, n
		}
		drops := statsOf(s).Get("slow_drops")
		if drops == 0 || got+int(drops) != count {
			t.Fatalf("got %d of %d messages, %d were counted as dropped", got, count, drops)
		}
		// When it has caught up, it gets what is current again.
		eventually(t, "nothing waits for it", func() bool { return statsOf(s).Get("stalled") == 0 })
		if err := s.Publish("all", server.Binary, numbered(count, size)); err != nil {
			t.Fatal(err)
		}
		if p, err := wsutil.ReadServerBinary(slow); err != nil || number(t, p) != count {
			t.Fatalf("%d bytes, %v", len(p), err)
		}
		slow.Put(wstest.CloseFrame(1000, ""))
		if e := <-ends; int64(e.Missed) != drops {
			t.Errorf("Missed = %d, want %d", e.Missed, drops)
		}
	})
}

// Stalled clients hold references to the same bytes, whatever is published.
func TestStalledClientsCostLittle(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		const stalled = 300
		ends := make(chan server.CloseEvent, stalled+1)
		s := slowServer(t, engine, server.SlowDrop, ends)
		for range stalled {
			c := upgraded(t, s)
			_ = c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		reader := upgraded(t, s)
		before := heap()
		stream(t, s, 30<<20/40_000, 40_000, reader)
		if grown := heap() - before; grown > 16<<20 {
			t.Errorf("%d stalled clients hold %d bytes", stalled, grown)
		}
		if n := statsOf(s).Get("stalled"); n != stalled {
			t.Errorf("Stalled = %d, want %d", n, stalled)
		}
	})
}

// A relay: one client floods, all get everything, in order. The flood waits in
// its own socket, not in the server.
func TestRelayHoldsPublishers(t *testing.T) {
	eachPausingEngine(t, func(t *testing.T, engine netpoll.Driver) {
		var errs sync.Map
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{PendingMaxBytes: 64 << 20}, Handler: server.Handler{
			Message: func(m *server.Message) {
				if err := m.Broadcast(m.Type, m.Payload); err != nil {
					errs.Store(err.Error(), true)
				}
			},
		}})
		// What is read at once, 128 messages, is more than publishPauseBytes.
		const receivers, count, size = 20, 1000, 3000
		publisher := upgraded(t, s)
		clients := []*client{publisher}
		for range receivers - 1 {
			clients = append(clients, upgraded(t, s))
		}
		before := heap()
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() {
				for n := range count {
					p, err := wsutil.ReadServerBinary(c)
					if err != nil {
						t.Errorf("receiver %d, message %d: %v", i, n, err)
						return
					}
					if got := number(t, p); got != n {
						t.Errorf("receiver %d: message %d came, want %d", i, got, n)
						return
					}
				}
			})
		}
		var frames bytes.Buffer
		for n := range count {
			_ = wsutil.WriteClientBinary(&frames, numbered(n, size))
		}
		if _, err := publisher.Write(frames.Bytes()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		errs.Range(func(k, _ any) bool { t.Errorf("Broadcast: %v", k); return true })
		if st := statsOf(s); st.Get("publishers_held") == 0 || st.Get("slow_disconnects")+st.Get("slow_drops") > 0 {
			t.Errorf("PublishersHeld = %d, SlowDisconnects = %d, SlowDrops = %d", st.Get("publishers_held"), st.Get("slow_disconnects"), st.Get("slow_drops"))
		}
		if grown := heap() - before - int64(frames.Cap()); grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		eventually(t, "nobody is held", func() bool { return statsOf(s).Get("paused") == 0 })
	})
}

func TestMessageRate(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		const rate, count = 50, 101
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{MessageRate: rate}, Handler: server.Handler{Message: echo}})
		c, other := upgraded(t, s), upgraded(t, s)
		var frames bytes.Buffer
		for n := range count {
			frames.WriteString(wstest.Masked(ws.OpText, fmt.Sprint(n)))
		}
		began := time.Now()
		if _, err := io.Copy(c, &frames); err != nil {
			t.Fatal(err)
		}
		for n := range count {
			c.Want(fmt.Sprint(n))
		}
		// A second's tokens are there at once, then one comes each 20 ms.
		if d := time.Since(began); d < time.Second {
			t.Errorf("%d messages in %v at %d a second", count, d, rate)
		}
		for op, reply := range map[ws.OpCode]bool{ws.OpPing: true, ws.OpPong: false} {
			c, began := upgraded(t, s), time.Now()
			c.Put(strings.Repeat(wstest.Masked(op, "x"), count) + wstest.Masked(ws.OpText, "last"))
			for range count {
				if reply {
					c.WantFrame(ws.OpPong, "x")
				}
			}
			c.WantFrame(ws.OpText, "last")
			if d := time.Since(began); d < time.Second {
				t.Errorf("%d frames with opcode %d in %v at %d a second", count, op, d, rate)
			}
		}
		if n := statsOf(s).Get("rate_limited"); n < 2 {
			t.Errorf("RateLimited = %d", n)
		}
		other.Send("undisturbed")
		other.Want("undisturbed")
	})
}
