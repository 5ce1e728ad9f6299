package bench

import (
	"sync"
	"time"
)

// deliveries follow the messages of one audience until each has reached all
// members.
type deliveries struct {
	firstSeq uint64
	// members is how many should get each message, holders how many generators
	// they are spread over.
	members, holders int
	wakec            chan struct{} // holds an element when something was completed

	mu       sync.Mutex
	arriving map[uint64]arriving // Guarded by mu: messages that some generators have in full.
	done     int                 // Guarded by mu: messages that all members have.
	lastNs   int64               // Guarded by mu: when the last of these was complete.
	toLast   *histogram          // Guarded by mu: from sending to the last receiver.
}

type arriving struct {
	holders int
	lastNs  int64
}

// notice is called by the fleet.
func (d *deliveries) notice(stream uint32, n notice) {
	if n.Stream != stream || n.Seq < d.firstSeq {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.arriving == nil {
		d.arriving = make(map[uint64]arriving)
	}
	a := d.arriving[n.Seq]
	a.holders++
	a.lastNs = max(a.lastNs, n.LastNs)
	if a.holders < d.holders {
		d.arriving[n.Seq] = a
		return
	}
	delete(d.arriving, n.Seq)
	d.done++
	d.lastNs = max(d.lastNs, a.lastNs)
	d.toLast.record(a.lastNs - n.SentNs)
	select {
	case d.wakec <- struct{}{}:
	default:
	}
}

func (d *deliveries) completed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// await returns when want messages are complete, or none was for limit.
func (d *deliveries) await(t *trial, want int, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for d.completed() < want {
		select {
		case <-d.wakec:
			timer.Reset(limit)
		case <-timer.C:
			return nil // what is missing is counted as lost
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
	return nil
}
