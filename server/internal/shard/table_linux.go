package shard

import "golang.org/x/sys/unix"

// noReserve: the reserved space is mostly never used, so it must not count as
// promised where the system keeps such an account.
const noReserve = unix.MAP_NORESERVE
