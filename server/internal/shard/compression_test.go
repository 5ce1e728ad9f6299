package shard

import (
	"runtime"
	"testing"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
)

// A connection that has negotiated permessage-deflate, with default settings,
// costs no more when idle than one without: 64 bytes are what the measurement
// may err by.
func TestIdleCompressionCostsNothing(t *testing.T) {
	const n = 1000
	idle := func(offer string) (heap, exts int) {
		cfg := testConfig()
		cfg.Deflate = &frame.DeflateConfig{}
		decoder := *cfg.Decoder
		decoder.AllowRSV1 = true
		cfg.DeflateDecoder = &decoder
		group := NewGroup(cfg.MaxConnections)
		s, err := New(cfg, group, &freeLoop{}, &echoHooks{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Free()
		group.SetShards([]*Shard{s}, cfg.Hub)
		before := liveHeap()
		for i := range n {
			id := netpoll.MakeID(0, uint32(i), 1)
			s.OnOpen(id, 0)
			s.OnData(id, []byte("GET /user HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+offer+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
			// Compressed messages in both directions leave nothing behind.
			if offer != "" {
				message := frame.AppendMaskedDeflatedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, make([]byte, 500), 15, nil)
				s.OnData(id, message)
			}
		}
		s.OnWake()
		if got := s.count.Get(counters.Connections); got != n {
			t.Fatalf("%d of %d are open", got, n)
		}
		if got, want := s.count.Get(counters.Deflated), int64(n); offer != "" && got != want || offer == "" && got != 0 {
			t.Fatalf("%d have negotiated compression with %q", got, offer)
		}
		heap = liveHeap() - before
		runtime.KeepAlive(s)
		return heap, len(s.rare.rows)
	}
	idle("") // what happens once
	plain, plainExts := idle("")
	deflate, deflateExts := idle("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
	if more := (deflate - plain) / n; more > 64 || deflateExts > plainExts {
		t.Errorf("a connection with compression costs %d B more than one without, %d rows of rare state against %d", more, deflateExts, plainExts)
	}
}

// liveHeap is what the heap holds when all garbage is gone.
func liveHeap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
