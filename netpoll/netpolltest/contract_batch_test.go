package netpolltest

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/roostws/roost/netpoll"
)

// testWriteBatch: a batch of any size does what as many writes do: all arrives,
// a full socket takes a part and is reported, an empty write and a stale ID are
// what they are alone.
func testWriteBatch(t *testing.T, start startFunc) {
	cfg := testConfig()
	cfg.Loops = 1
	cfg.SendBufferBytes = 32 << 10
	writable := make(chan netpoll.ID, 100)
	r := newRig(t, start, cfg, hooks{writable: func(_ netpoll.Loop, id netpoll.ID) { writable <- id }})
	gone, stale := r.open()
	gone.Close()
	r.wantClose("a connection that leaves", stale, io.EOF)
	const count = 600 // more than one ring holds
	conns := make([]net.Conn, count)
	ids := make([]netpoll.ID, count)
	for i := range conns {
		conns[i], ids[i] = r.open()
	}
	flood := pattern(16 << 20)
	for _, size := range []int{1, 3, 4, 5, 511, 512, 513, count} {
		var batch []netpoll.Outgoing
		for i := range size {
			batch = append(batch, netpoll.Outgoing{ID: ids[i], P: pattern(1 + i%300)})
		}
		batch = append(batch, netpoll.Outgoing{ID: stale, P: flood[:10]})
		r.on(0, func(l netpoll.Loop) { l.WriteBatch(batch) })
		for i, o := range batch[:size] {
			if o.N != len(o.P) || o.Err != nil {
				t.Fatalf("batch of %d: write %d = %d, %v, want %d", size, i, o.N, o.Err, len(o.P))
			}
			got := make([]byte, len(o.P))
			if _, err := io.ReadFull(conns[i], got); err != nil || !bytes.Equal(got, o.P) {
				t.Fatalf("batch of %d: peer %d got something else (%v)", size, i, err)
			}
		}
		if o := batch[size]; o.N != 0 || o.Err != netpoll.ErrClosed {
			t.Fatalf("batch of %d: the stale ID took %d, %v, want ErrClosed", size, o.N, o.Err)
		}
	}
	batch := []netpoll.Outgoing{
		{ID: ids[0], P: flood[:5]}, {ID: ids[1], P: flood}, {ID: ids[2]}, {ID: ids[3], P: flood[:7]}, {ID: ids[4], P: flood[:9]},
	}
	r.on(0, func(l netpoll.Loop) { l.WriteBatch(batch) })
	for i, want := range []int{5, -1, 0, 7, 9} {
		o := batch[i]
		if o.Err != nil || (want >= 0 && o.N != want) {
			t.Errorf("write %d = %d, %v, want %d", i, o.N, o.Err, want)
		}
	}
	n := batch[1].N
	if n == 0 || n >= len(flood) {
		t.Fatalf("16 MiB to a peer that does not read: %d were taken", n)
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(conns[1], got); err != nil || !bytes.Equal(got, flood[:n]) {
		t.Errorf("the peer got something else than what was taken (%v)", err)
	}
	if id := <-writable; id != ids[1] {
		t.Errorf("OnWritable(%v), want %v", id, ids[1])
	}
}
