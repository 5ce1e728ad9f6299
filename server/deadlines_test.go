package server_test

import (
	"io"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

func TestPings(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		ends := make(chan server.CloseEvent, 2)
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Timeouts: server.Timeouts{PingInterval: 200 * time.Millisecond, PongTimeout: 3 * time.Second}, Handler: server.Handler{
			Close: func(e *server.CloseEvent) { ends <- *e },
		}})
		answering, silent := upgraded(t, s), upgraded(t, s)
		// Well past PongTimeout, the one who answers is pinged every
		// PingInterval, and not later for having answered.
		quickest, last := time.Hour, time.Time{}
		const pings = 18
		for range pings {
			answering.WantFrame(ws.OpPing, "")
			answering.Put(wstest.Masked(ws.OpPong, ""))
			if !last.IsZero() {
				quickest = min(quickest, time.Since(last))
			}
			last = time.Now()
		}
		// 200 ms and up to two ticks of 50 ms each. A busy machine delays some of
		// them, but being late for a reason delays all.
		if quickest > 390*time.Millisecond {
			t.Errorf("of %d pings none came sooner than %v after the one before", pings, quickest)
		}
		if e := <-ends; e.Err != server.ErrPongTimeout || e.Code != 1006 {
			t.Errorf("the silent one ended with %+v", e)
		}
		silent.WantFrame(ws.OpPing, "")
		silent.WantEnd()
		if st := statsOf(s); st.Get("pong_timeouts") != 1 || st.Get("connections") != 1 || st.Get("pings_sent") < pings+1 || st.Get("pongs_received") < pings-1 {
			t.Errorf("PongTimeouts = %d, Connections = %d, PingsSent = %d, PongsReceived = %d", st.Get("pong_timeouts"), st.Get("connections"), st.Get("pings_sent"), st.Get("pongs_received"))
		}
	})
}

func TestIdleTimeout(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Timeouts: server.Timeouts{IdleTimeout: 3 * time.Second, PingInterval: 200 * time.Millisecond}, Handler: server.Handler{Message: echo}})
		idle, busy := upgraded(t, s), upgraded(t, s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			// Pongs do not count as messages.
			for {
				f, err := wstest.ReadFrame(idle)
				if err != nil {
					t.Errorf("idle: %v", err)
					return
				}
				switch f.Header.OpCode {
				case ws.OpPing:
					_, _ = io.WriteString(idle, wstest.Masked(ws.OpPong, ""))
				case ws.OpClose:
					if code, _ := ws.ParseCloseFrameData(f.Payload); code != 1001 {
						t.Errorf("closed with %d, want 1001", code)
					}
					return
				}
			}
		}()
		for {
			busy.Send("still here")
			busy.Want("still here")
			select {
			case <-done:
				if st := statsOf(s); st.Get("idle_timeouts") != 1 || st.Get("connections") < 1 {
					t.Errorf("IdleTimeouts = %d, Connections = %d", st.Get("idle_timeouts"), st.Get("connections"))
				}
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

func TestWriteStall(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		ends := make(chan server.CloseEvent, 2)
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Limits: server.Limits{LagMaxBytes: 1 << 30}, Sockets: server.Sockets{SendBufferBytes: 16 << 10}, Timeouts: server.Timeouts{WriteStallTimeout: 200 * time.Millisecond},
			Handler: server.Handler{
				Upgrade: func(r *server.UpgradeRequest) error { r.Channels = []string{"all"}; return nil },
				Close:   func(e *server.CloseEvent) { ends <- *e },
			}})
		upgraded(t, s)
		p := make([]byte, 32<<10)
		eventually(t, "it is stalled for good, and ended", func() bool {
			if err := s.Publish("all", server.Binary, p); err != nil {
				t.Fatal(err)
			}
			return statsOf(s).Get("write_stalls") == 1
		})
		if e := <-ends; e.Err != server.ErrWriteStalled {
			t.Errorf("it ended with %+v", e)
		}
		if st := statsOf(s); st.Get("stalled") != 0 || st.Get("pending_bytes") != 0 {
			t.Errorf("Stalled = %d, PendingBytes = %d", st.Get("stalled"), st.Get("pending_bytes"))
		}
	})
}
