package shard

import (
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/hub"
)

// BenchmarkShard measures what the shard itself costs on a loop whose writes are
// free: the time of one operation, without any system call.
func BenchmarkShard(b *testing.B) {
	const subscribers = 1000
	b.Run("echo", func(b *testing.B) {
		s, _, ids, _ := freeRig(b, subscribers)
		message := frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{1, 2, 3, 4}, make([]byte, 128))
		buf := make([]byte, len(message))
		b.ReportAllocs()
		for i := range b.N {
			copy(buf, message)
			s.OnData(ids[i%subscribers], buf)
		}
	})
	// Per delivery: b.N deliveries, subscribers at a time.
	b.Run("delivery", func(b *testing.B) {
		s, _, _, _ := freeRig(b, subscribers)
		m := hub.NewMessage(frame.OpText, make([]byte, 128))
		b.ReportAllocs()
		for n := 0; n < b.N; n += subscribers {
			_, _ = s.hub().Channel("room", m, nil)
			for s.OnWake() {
			}
		}
	})
	// Per connection: a ping, and its pong.
	b.Run("ping", func(b *testing.B) {
		s, _, ids, now := freeRig(b, subscribers)
		pong := frame.AppendMaskedFrame(nil, frame.OpPong, [4]byte{1, 2, 3, 4}, nil)
		buf := make([]byte, len(pong))
		b.ReportAllocs()
		for n := 0; n < b.N; n += subscribers {
			*now += s.cfg.PingInterval + time.Second
			s.OnTick()
			for _, id := range ids {
				copy(buf, pong)
				s.OnData(id, buf)
			}
		}
	})
}
