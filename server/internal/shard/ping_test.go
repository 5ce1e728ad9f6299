package shard

import (
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
)

// batchLoop counts batches, and takes only the first byte of every third write.
type batchLoop struct {
	freeLoop
	batches, writes int
	cut             []netpoll.ID
}

func (l *batchLoop) WriteBatch(batch []netpoll.Outgoing) {
	l.batches++
	for i := range batch {
		o := &batch[i]
		if o.N = len(o.P); l.writes%3 == 0 {
			o.N = 1
			l.cut = append(l.cut, o.ID)
		}
		l.writes++
	}
}

// Pings that are due at one tick go out in few batches; of one that is cut the rest
// follows when the socket has room, and no pong is awaited from a full socket.
func TestPingsGoTogether(t *testing.T) {
	const n = 2*pingsAtOnce + 10
	free, _, ids, now := freeRig(t, n)
	l := &batchLoop{}
	free.loop = l
	*now += free.cfg.PingInterval + time.Second
	free.OnTick()
	if l.batches != 3 || l.writes != n {
		t.Errorf("%d pings in %d batches, want %d in 3", l.writes, l.batches, n)
	}
	if got := free.count.Get(counters.Stalled); got != int64(len(l.cut)) {
		t.Errorf("%d connections are stalled, want %d", got, len(l.cut))
	}
	for _, id := range l.cut {
		free.OnWritable(id)
	}
	if got := free.count.Get(counters.Stalled); got != 0 {
		t.Errorf("%d connections are still stalled", got)
	}
	pong := frame.AppendMaskedFrame(nil, frame.OpPong, [4]byte{1, 2, 3, 4}, nil)
	for _, id := range ids {
		free.OnData(id, append([]byte(nil), pong...))
	}
	*now += free.cfg.PongTimeout + time.Second
	free.OnTick()
	if got := free.count.Get(counters.PongTimeouts); got != 0 || len(free.output.batch) != 0 {
		t.Errorf("%d pong timeouts, %d writes left in the batch", got, len(free.output.batch))
	}
}
