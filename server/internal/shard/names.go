package shard

import (
	"hash/maphash"
)

// names gives each distinct user ID a small number and remembers the first of
// its connections, without a pointer for the garbage collector to follow: a
// map[string] of a million users is a million strings to mark. A user with one
// connection costs 16 bytes, its name, and some 6 bytes of index.
type names struct {
	seed    maphash.Seed
	entries chunks[nameEntry] // row 0 is not used
	free    uint32            // first free row, linked by head
	index   []uint32          // open addressing by hash, linear probing; 0 is empty
	used    int
	bytes   [][]byte // the names, in chunks of nameChunkBytes; none straddles two
	stored  int      // bytes of names there, garbage included
	garbage int      // those of removed rows
}

// nameChunkBytes is the size of a chunk of names, as a power of two: more than
// the longest name that Config allows.
const nameChunkBytes = 1 << 15

type nameEntry struct {
	hash   uint32
	offset uint32 // chunk * nameChunkBytes + place in the chunk
	length uint16 // 0 only in free rows: empty names are not entered
	pins   uint16 // jobs that refer to the row
	head   uint32 // slot+1 of the user's first connection; the next free row
}

func newNames() *names {
	n := &names{seed: maphash.MakeSeed()}
	n.entries.push(nameEntry{})
	return n
}

// entry is row i.
func (n *names) entry(i uint32) *nameEntry { return n.entries.at(i) }

func (n *names) hash(name string) uint32 { return uint32(maphash.String(n.seed, name)) }

// name is a view of row i's name; it dies at the next call of intern.
func (n *names) name(i uint32) []byte {
	e := n.entry(i)
	at := e.offset % nameChunkBytes
	return n.bytes[e.offset/nameChunkBytes][at : at+uint32(e.length)]
}

// find returns the row of name, 0 if there is none.
func (n *names) find(name string) uint32 {
	if n.used == 0 {
		return 0
	}
	h := n.hash(name)
	mask := uint32(len(n.index) - 1)
	for at := h & mask; n.index[at] != 0; at = (at + 1) & mask {
		if i := n.index[at]; n.entry(i).hash == h && string(n.name(i)) == name {
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
	i := n.free
	if i != 0 {
		n.free = n.entry(i).head
	} else {
		i = n.entries.n
		n.entries.push(nameEntry{})
	}
	*n.entry(i) = nameEntry{hash: n.hash(name), offset: n.store([]byte(name)), length: uint16(len(name))}
	n.used++
	n.place(i)
	return i
}

// store copies a name to the end of the chunks and returns where it is.
func (n *names) store(name []byte) uint32 {
	last := len(n.bytes) - 1
	if last < 0 || len(n.bytes[last])+len(name) > nameChunkBytes {
		n.bytes = append(n.bytes, nil)
		last++
	}
	chunk := n.bytes[last]
	if cap(chunk)-len(chunk) < len(name) {
		size := nameChunkBytes
		if last == 0 {
			size = min(max(2*cap(chunk), len(name), 64), nameChunkBytes)
		}
		chunk = append(make([]byte, 0, size), chunk...)
	}
	offset := uint32(last*nameChunkBytes + len(chunk))
	n.bytes[last] = append(chunk, name...)
	n.stored += len(name)
	return offset
}

func (n *names) place(i uint32) {
	mask := uint32(len(n.index) - 1)
	at := n.entry(i).hash & mask
	for n.index[at] != 0 {
		at = (at + 1) & mask
	}
	n.index[at] = i
}

func (n *names) rehash(size int) {
	n.index = make([]uint32, size)
	for i := range n.entries.n {
		if n.entry(i).length > 0 {
			n.place(i)
		}
	}
}

// remove ends row i.
func (n *names) remove(i uint32) {
	e := n.entry(i)
	mask := uint32(len(n.index) - 1)
	at := e.hash & mask
	for n.index[at] != i {
		at = (at + 1) & mask
	}
	// Backward-shift deletion: no tombstones, so look-ups never slow down.
	for next := (at + 1) & mask; n.index[next] != 0; next = (next + 1) & mask {
		home := n.entry(n.index[next]).hash & mask
		if (next-home)&mask >= (next-at)&mask {
			n.index[at] = n.index[next]
			at = next
		}
	}
	n.index[at] = 0
	n.garbage += int(e.length)
	*e = nameEntry{head: n.free}
	n.free = i
	n.used--
	switch {
	case n.used == 0:
		*n = names{seed: n.seed}
		n.entries.push(nameEntry{})
	case n.garbage > 4096 && n.garbage > n.stored/2:
		n.compact()
	}
}

// compact rewrites the names without the garbage.
func (n *names) compact() {
	old := *n
	n.bytes, n.stored, n.garbage = nil, 0, 0
	for i := range n.entries.n {
		if e := n.entry(i); e.length > 0 {
			e.offset = n.store(old.name(i))
		}
	}
}
