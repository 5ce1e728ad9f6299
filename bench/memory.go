package bench

// memory is what processes and the kernel hold, in bytes.
type memory struct {
	// anonymous is RssAnon: heap, stacks, tables; no program text, no files.
	anonymous, pss int64
	// slab is the kernel's, for the whole machine: both ends of a loopback
	// connection and everything else that goes on.
	slab int64
	// descriptors are the processes' open ones.
	descriptors int
}
