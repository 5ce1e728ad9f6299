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
	entries []nameEntry // row 0 is not used
	free    uint32      // first free row, linked by head
	index   []uint32    // open addressing by hash, linear probing; 0 is empty
	used    int
	bytes   []byte // the names, one behind the other
	garbage int    // bytes that belong to nobody
}

type nameEntry struct {
	hash   uint32
	offset uint32
	length uint16 // 0 only in free rows: empty names are not entered
	pins   uint16 // jobs that refer to the row
	head   uint32 // slot+1 of the user's first connection; the next free row
}

func newNames() *names {
	return &names{seed: maphash.MakeSeed(), entries: make([]nameEntry, 1)}
}

func (n *names) hash(name string) uint32 { return uint32(maphash.String(n.seed, name)) }

// name is a view of row i's name; it dies at the next call of intern.
func (n *names) name(i uint32) []byte {
	e := &n.entries[i]
	return n.bytes[e.offset : e.offset+uint32(e.length)]
}

// find answers the row of name, 0 if there is none.
func (n *names) find(name string) uint32 {
	if n.used == 0 {
		return 0
	}
	h := n.hash(name)
	mask := uint32(len(n.index) - 1)
	for at := h & mask; n.index[at] != 0; at = (at + 1) & mask {
		if i := n.index[at]; n.entries[i].hash == h && string(n.name(i)) == name {
			return i
		}
	}
	return 0
}

// intern answers the row of name, made if need be, with no connections.
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
		n.free = n.entries[i].head
	} else {
		n.entries = append(n.entries, nameEntry{})
		i = uint32(len(n.entries) - 1)
	}
	n.entries[i] = nameEntry{hash: n.hash(name), offset: uint32(len(n.bytes)), length: uint16(len(name))}
	n.bytes = append(n.bytes, name...)
	n.used++
	n.place(i)
	return i
}

func (n *names) place(i uint32) {
	mask := uint32(len(n.index) - 1)
	at := n.entries[i].hash & mask
	for n.index[at] != 0 {
		at = (at + 1) & mask
	}
	n.index[at] = i
}

func (n *names) rehash(size int) {
	n.index = make([]uint32, size)
	for i := range n.entries {
		if n.entries[i].length > 0 {
			n.place(uint32(i))
		}
	}
}

// remove ends row i.
func (n *names) remove(i uint32) {
	e := &n.entries[i]
	mask := uint32(len(n.index) - 1)
	at := e.hash & mask
	for n.index[at] != i {
		at = (at + 1) & mask
	}
	// Backward-shift deletion: no tombstones, so look-ups never slow down.
	for next := (at + 1) & mask; n.index[next] != 0; next = (next + 1) & mask {
		home := n.entries[n.index[next]].hash & mask
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
		*n = names{seed: n.seed, entries: make([]nameEntry, 1)}
	case n.garbage > 4096 && n.garbage > len(n.bytes)/2:
		n.compact()
	}
}

// compact rewrites the names without the garbage.
func (n *names) compact() {
	kept := make([]byte, 0, len(n.bytes)-n.garbage)
	for i := range n.entries {
		if e := &n.entries[i]; e.length > 0 {
			name := n.name(uint32(i))
			e.offset = uint32(len(kept))
			kept = append(kept, name...)
		}
	}
	n.bytes, n.garbage = kept, 0
}
