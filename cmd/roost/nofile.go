package main

import (
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
// asked for if it fits, as many as fit if 0 was.
func fitConnections(asked int, nofile uint64) (int, error) {
	most, _ := server.Settings().Lookup("Limits.MaxConnections")
	fits := min(doctor.ConnectionsFor(nofile), int64(most.Default.(int)))
	switch {
	case asked == 0 && fits > 0:
		return int(fits), nil
	case asked == 0:
		asked = 1
	case int64(asked) <= doctor.ConnectionsFor(nofile):
		return asked, nil
	}
	want := doctor.NofileFor(int64(asked))
	return 0, usagef(`--max-connections %d needs about %d file descriptors, and this process may open %d: room for %d connections.
Choose one of these:
  ulimit -n %[2]d                        in the shell that starts roost (as root, or with sudo prlimit --pid $$ --nofile=%[2]d:%[2]d)
  LimitNOFILE=%[2]d                      in the [Service] section of its systemd unit
  docker run --ulimit nofile=%[2]d:%[2]d    for a container
  --max-connections %[4]d                to serve as many as fit
roost doctor --target %[1]d tells about all other limits too`,
		asked, want, nofile, doctor.ConnectionsFor(nofile))
}
