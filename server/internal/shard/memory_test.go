package shard

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/roostws/roost/server/internal/hub"
)

// TestBytesOfConnection adds up what the tables of a shard take for connections that
// have a user, an expiry and one channel with history. The engine's row, of 12 bytes,
// comes on top.
func TestBytesOfConnection(t *testing.T) {
	const connections = 5000
	r := newRig(t, 1, func(c *Config) {
		c.MaxConnections, c.IdleTimeout = connections, 0
		c.Hub = hub.Config{Namespaces: map[string]*hub.Namespace{"news": {Messages: 100}}, HistoryMaxBytes: 1 << 20}
	})
	s := r.shards[0]
	for i := range connections {
		id := r.open(0, fmt.Sprintf("user-%d", i))
		if _, _, err := s.Subscribe(id, "news:all", nil); err != nil {
			t.Fatal(err)
		}
	}
	bytesOf := func(rows, size uintptr) float64 { return float64(rows*size) / connections }
	var subs, subscribers uintptr
	for _, chunk := range s.members.subs.list {
		subs += uintptr(cap(chunk))
	}
	for _, chunk := range s.members.byName["news:all"].subscribers.list {
		subscribers += uintptr(cap(chunk))
	}
	parts := map[string]float64{
		"row":           float64(unsafe.Sizeof(slot{})),
		"deadlines":     4,
		"expiry":        4,
		"names":         bytesOf(uintptr(len(s.users.chunks)), nameChunkBytes),
		"index":         bytesOf(uintptr(cap(s.users.index)), 4),
		"subscriptions": bytesOf(subs, unsafe.Sizeof(subscription{})),
		"subscribers":   bytesOf(subscribers, unsafe.Sizeof(subscriber{})),
	}
	sum := 0.0
	for _, bytes := range parts {
		sum += bytes
	}
	t.Logf("%.1f bytes: %v", sum, parts)
	if sum > 93 {
		t.Errorf("a connection takes %.1f bytes, want at most 93: %v", sum, parts)
	}
	for name, rows := range map[string]int{"rare state": len(s.rare.rows) - 1, "messages": len(s.deadlines.messages.Rows), "tokens": len(s.rates.tokens.Rows)} {
		if rows != 0 {
			t.Errorf("%d rows of %s, want none for idle connections", rows, name)
		}
	}
}
