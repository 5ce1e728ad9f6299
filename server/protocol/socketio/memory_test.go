package socketio_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/socketio"
)

// An idle socket on a WebSocket takes less than 256 bytes: on the heap one object for the
// connection, one for the client, one for the socket and a row of a table; beside that the
// rows of its shard, 84 bytes with one channel (TestBytesOfConnection has what they are),
// and 12 of the engine.
func TestIdleMemory(t *testing.T) {
	const most, clients = 256 - 84 - 12, 1000
	defer func(rate int) { runtime.MemProfileRate = rate }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		cfg.Limits.MaxConnections = 2 * clients
		io.Of("/")
	})
	var all [clients]*wstest.Client
	for i := range all {
		all[i] = r.websocket()
	}
	runtime.GC()
	runtime.GC()
	var records []runtime.MemProfileRecord
	for {
		n, ok := runtime.MemProfile(records, false)
		if ok {
			records = records[:n]
			break
		}
		records = make([]runtime.MemProfileRecord, n+100)
	}
	sum := int64(0)
	for _, record := range records {
		frames := runtime.CallersFrames(record.Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if strings.Contains(f.Function, "/server/internal/shard.") {
				break // a row of the shard
			}
			if strings.Contains(f.Function, "/server/protocol/socketio.") || strings.Contains(f.Function, "/server/protocol/engineio.") {
				sum += record.InUseBytes()
				break
			}
		}
	}
	runtime.KeepAlive(all)
	t.Logf("%d bytes", sum/clients)
	if sum < 100*clients || sum > most*clients {
		t.Errorf("an idle socket takes %d bytes of the heap, want at most %d, and some", sum/clients, most)
	}
}
