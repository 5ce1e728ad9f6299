package main

import (
	"cmp"
	"fmt"
	"syscall"

	"github.com/roostws/roost/cmd/roost/internal/doctor"
	"github.com/roostws/roost/server"
)

// raiseNofile lifts the soft descriptor limit to the hard one and returns what
// the process may open now. Go does the same when it starts; this also covers
// a limit that was raised from outside since.
func raiseNofile() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := limit
		raised.Cur = limit.Max
		// macOS refuses more than kern.maxfilesperproc: the limit that Go
		// has found for it stays.
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return uint64(limit.Cur), nil
}

// fitConnections returns the connection limit for nofile descriptors: what was
// asked for, or as many as fit if that is less or nothing (0) was asked for.
func fitConnections(asked int, nofile uint64) (int, error) {
	most, _ := server.Settings().Lookup("Limits.MaxConnections")
	fits := doctor.ConnectionsFor(nofile)
	switch {
	case fits <= 0:
		return 0, usagef("this process may open %d files, which leaves none for a connection: %s", nofile, moreDescriptors(cmp.Or(asked, 1)))
	case asked == 0:
		asked = most.Default.(int)
	}
	return int(min(fits, int64(asked))), nil
}

// moreDescriptors says how to have enough of them for so many connections.
func moreDescriptors(connections int) string {
	return fmt.Sprintf("ulimit -n %[1]d before it starts (as root; LimitNOFILE=%[1]d in a systemd unit, docker run --ulimit nofile=%[1]d:%[1]d). roost doctor --target %d checks the other limits",
		doctor.NofileFor(int64(connections)), connections)
}
