package shard

import (
	"runtime"
	"strings"
	"testing"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/hub"
)

// waitingPollMaxBytes is what a poll that waits may take of the server's memory:
// docs/fallbacks.md.
const waitingPollMaxBytes = 1024

// Ten thousand polls wait on one loop without a goroutine for each, within their
// memory, and one message answers them all.
func TestTenThousandPollsWait(t *testing.T) {
	const polls = 10_000
	cfg := testConfig()
	cfg.MaxConnections = polls
	goroutines, before := runtime.NumGoroutine(), heapBytes()
	s, l, ids := freeShard(t, cfg, polls, "room", func(int) []byte {
		return []byte("GET /poll/ HTTP/1.1\r\nHost: x\r\nPrefer: wait=20\r\n\r\n")
	})
	if n := s.count.Get(counters.Polls); n != polls || l.writes != 0 {
		t.Fatalf("%d polls wait, %d responses; the last is %q", n, l.writes, l.last)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines more than before", n-goroutines)
	}
	each := (heapBytes() - before) / polls
	t.Logf("%d bytes for each", each)
	if each > waitingPollMaxBytes {
		t.Errorf("a poll that waits takes %d bytes, want at most %d", each, waitingPollMaxBytes)
	}

	if _, err := s.hub().Channel("room", hub.NewMessage(frame.OpText, []byte("news")), nil); err != nil {
		t.Fatal(err)
	}
	for s.OnWake() {
	}
	if l.writes != polls || !strings.HasSuffix(string(l.last), "\r\n\r\n[news]") {
		t.Errorf("%d of %d polls have a response; the last is %q", l.writes, polls, l.last)
	}
	if n := s.count.Get(counters.PollsAnswered); n != polls {
		t.Errorf("%d answered polls are counted", n)
	}
	runtime.KeepAlive(ids)
}

// heapBytes is the heap that is in use.
func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
