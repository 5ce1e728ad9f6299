package server

import (
	"encoding/binary"
	"hash/fnv"
	"sync"
	"time"
)

// counts carry what this server has counted for publications of others that want a receipt,
// back to their nodes. The publication's tag has the number of its node in front. Any
// goroutine.
type counts struct {
	c *cluster

	mu sync.Mutex
	// Guarded by mu.
	byNumber map[uint32][]string // the IDs of the nodes with a number: nearly always one
	due      map[uint32][]byte   // what is to be told, by the number of the node
	timer    bool
}

const (
	// countsGather is how long counts wait for others, so that a node that publishes much
	// is told in few messages.
	countsGather = 2 * time.Millisecond
	// countsMaxBytes is from where on they do not wait.
	countsMaxBytes = 16 << 10
)

// nodeNumber returns the number of a node, for tags.
func nodeNumber(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum32()
}

func (k *counts) init(c *cluster) {
	k.c, k.byNumber, k.due = c, map[uint32][]string{}, map[uint32][]byte{}
}

// up and down follow which nodes there are.
func (k *counts) up(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := nodeNumber(id)
	k.byNumber[n] = append(k.byNumber[n], id)
}

func (k *counts) down(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := nodeNumber(id)
	var left []string
	for _, other := range k.byNumber[n] {
		if other != id {
			left = append(left, other)
		}
	}
	if k.byNumber[n] = left; left == nil {
		delete(k.byNumber, n)
		delete(k.due, n)
	}
}

// add takes the counts for one publication. It does not block.
func (k *counts) add(tag uint64, matched, written int) {
	n := uint32(tag >> 32)
	k.mu.Lock()
	ids := k.byNumber[n]
	if len(ids) == 0 {
		k.mu.Unlock()
		return // it has gone, or is not known yet: its receipt is not complete
	}
	b := binary.BigEndian.AppendUint64(k.due[n], tag)
	b = binary.AppendUvarint(b, uint64(matched))
	b = binary.AppendUvarint(b, uint64(written))
	k.due[n] = b
	if len(b) >= countsMaxBytes {
		delete(k.due, n)
		k.mu.Unlock()
		k.tell(ids, b)
		return
	}
	if !k.timer {
		k.timer = true
		time.AfterFunc(countsGather, k.flush)
	}
	k.mu.Unlock()
}

// flush tells what has gathered.
func (k *counts) flush() {
	k.mu.Lock()
	due, to := k.due, map[uint32][]string{}
	for n := range due {
		to[n] = k.byNumber[n]
	}
	k.due, k.timer = map[uint32][]byte{}, false
	k.mu.Unlock()
	for n, b := range due {
		k.tell(to[n], b)
	}
}

// tell tells the nodes with a number: those whose publication it is not do not know the tags.
func (k *counts) tell(ids []string, b []byte) {
	for _, id := range ids {
		k.c.nodes.Tell(id, kindCounts, b)
	}
}

// take takes what another node has counted.
func (k *counts) take(b []byte) {
	h := k.c.s.parts.Load().hub
	for len(b) >= 8 {
		tag := binary.BigEndian.Uint64(b)
		matched, n := binary.Uvarint(b[8:])
		if n <= 0 {
			return
		}
		written, m := binary.Uvarint(b[8+n:])
		if m <= 0 {
			return
		}
		b = b[8+n+m:]
		h.Count(tag, int(min(matched, countMax)), int(min(written, countMax)))
	}
}

// countMax bounds what another node may say.
const countMax = 1 << 31
