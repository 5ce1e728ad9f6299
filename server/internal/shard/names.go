package shard

import (
	"encoding/binary"
	"hash/maphash"
)

// names gives each distinct user ID a row and remembers the first of its connections,
// without a pointer for the garbage collector to follow: a map[string] of a million
// users is a million strings to mark. A user with one connection costs its name, 6
// bytes beside it, and some 7 bytes of index.
//
// A row is the place of a record in the chunks, plus 1, and 0 is none. A record is
//
//	4 bytes  slot+1 of the user's first connection; in a free record, the next free row
//	2 bytes  the length of the name, with freeName in a free record; 0 ends a chunk
//	         (or fewer bytes than a header do)
//	         the name
type names struct {
	seed   maphash.Seed
	index  []uint32 // rows, open addressing by hash, linear probing; 0 is empty
	used   int
	chunks []*[nameChunkBytes]byte
	end    uint32            // bytes of the last chunk that records have taken
	free   map[uint16]uint32 // first free row by the length of the name
	pins   map[uint32]int    // how many jobs refer to a row
}

const (
	nameHeader = 6
	freeName   = 1 << 15
	// nameChunkBytes is more than the longest name that Config allows, 4,096 bytes, and
	// as large as one of the heap's spans.
	nameChunkBytes = 1 << 13
)

func newNames() *names {
	return &names{seed: maphash.MakeSeed(), free: map[uint16]uint32{}, pins: map[uint32]int{}}
}

// record returns the memory from row i's record on.
func (n *names) record(i uint32) []byte {
	i--
	return n.chunks[i/nameChunkBytes][i%nameChunkBytes:]
}

// head returns slot+1 of the user's first connection, 0 without any.
func (n *names) head(i uint32) uint32 { return binary.LittleEndian.Uint32(n.record(i)) }

func (n *names) setHead(i, slot uint32) { binary.LittleEndian.PutUint32(n.record(i), slot) }

// name returns a view of row i's name, which is valid as long as the row.
func (n *names) name(i uint32) []byte {
	r := n.record(i)
	return r[nameHeader : nameHeader+binary.LittleEndian.Uint16(r[4:])]
}

// home returns where the search for row i begins.
func (n *names) home(i uint32) uint32 {
	return uint32(maphash.Bytes(n.seed, n.name(i))) & uint32(len(n.index)-1)
}

// find returns the row of name, 0 if there is none.
func (n *names) find(name string) uint32 {
	if n.used == 0 {
		return 0
	}
	mask := uint32(len(n.index) - 1)
	for at := uint32(maphash.String(n.seed, name)) & mask; n.index[at] != 0; at = (at + 1) & mask {
		if i := n.index[at]; string(n.name(i)) == name {
			return i
		}
	}
	return 0
}

// intern returns the row of name. A new one has no connections.
func (n *names) intern(name string) uint32 {
	if i := n.find(name); i != 0 {
		return i
	}
	// At most 3/4 full, so that probing stays short.
	if (n.used+1)*4 > len(n.index)*3 {
		n.rehash(max(64, len(n.index)*2))
	}
	i := n.store(name)
	n.used++
	n.place(i)
	return i
}

// store makes a record for a name, of a free one of the same length or at the end,
// and returns its row.
func (n *names) store(name string) uint32 {
	length := uint16(len(name))
	i := n.free[length]
	if i != 0 {
		n.free[length] = n.head(i)
	} else {
		if len(n.chunks) == 0 || int(n.end)+nameHeader+len(name) > nameChunkBytes {
			n.chunks, n.end = append(n.chunks, new([nameChunkBytes]byte)), 0
		}
		i = uint32(len(n.chunks)-1)*nameChunkBytes + n.end + 1
		n.end += nameHeader + uint32(length)
	}
	r := n.record(i)
	binary.LittleEndian.PutUint32(r, 0)
	binary.LittleEndian.PutUint16(r[4:], length)
	copy(r[nameHeader:], name)
	return i
}

func (n *names) place(i uint32) {
	mask := uint32(len(n.index) - 1)
	at := n.home(i)
	for n.index[at] != 0 {
		at = (at + 1) & mask
	}
	n.index[at] = i
}

// rehash makes an index of another size. It reads the chunks in order, which is faster
// than following the old index.
func (n *names) rehash(size int) {
	n.index = make([]uint32, size)
	for k, chunk := range n.chunks {
		for at := uint32(0); at+nameHeader <= nameChunkBytes; {
			length := binary.LittleEndian.Uint16(chunk[at+4:])
			if length == 0 {
				break
			}
			if length&freeName == 0 {
				n.place(uint32(k)*nameChunkBytes + at + 1)
			}
			at += nameHeader + uint32(length&^freeName)
		}
	}
}

// remove ends row i.
func (n *names) remove(i uint32) {
	mask := uint32(len(n.index) - 1)
	at := n.home(i)
	for n.index[at] != i {
		at = (at + 1) & mask
	}
	// Backward-shift deletion: no tombstones, so look-ups never slow down.
	for next := (at + 1) & mask; n.index[next] != 0; next = (next + 1) & mask {
		if (next-n.home(n.index[next]))&mask >= (next-at)&mask {
			n.index[at] = n.index[next]
			at = next
		}
	}
	n.index[at] = 0
	if n.used--; n.used == 0 {
		*n = *newNames()
		return
	}
	length := uint16(len(n.name(i)))
	n.setHead(i, n.free[length])
	binary.LittleEndian.PutUint16(n.record(i)[4:], length|freeName)
	n.free[length] = i
}

// pin keeps row i although the user's last connection may end.
func (n *names) pin(i uint32) { n.pins[i]++ }

// unpin undoes pin.
func (n *names) unpin(i uint32) {
	if n.pins[i]--; n.pins[i] == 0 {
		delete(n.pins, i)
		n.release(i)
	}
}

// release ends row i if it has neither a connection nor a pin.
func (n *names) release(i uint32) {
	if n.head(i) == 0 && n.pins[i] == 0 {
		n.remove(i)
	}
}
