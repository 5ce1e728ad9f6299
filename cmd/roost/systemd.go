package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// activation holds the listening sockets that systemd has opened (man
// sd_listen_fds): descriptors from 3 on, named by their socket units.
type activation struct {
	names []string // of descriptor firstSocket + index
	used  []bool
}

const firstSocket = 3

// systemdSockets reads the variables of socket activation and removes them from the
// environment, so that child processes do not inherit them.
func systemdSockets() (*activation, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name) // cannot fail: the name is valid
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return &activation{}, nil // for another process
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS is %q: want a number", count)
	}
	a := &activation{names: make([]string, n), used: make([]bool, n)}
	copy(a.names, strings.Split(names, ":"))
	return a, nil
}

// resolve replaces systemd and systemd:NAME by fd:N. Each socket is used once.
func (a *activation) resolve(flag string, addrs []string) ([]string, error) {
	var resolved []string
	for _, addr := range addrs {
		word, name, named := strings.Cut(addr, ":")
		if word != "systemd" {
			resolved = append(resolved, addr)
			continue
		}
		found := false
		for i := range a.names {
			if !a.used[i] && (!named || a.names[i] == name) {
				a.used[i], found = true, true
				resolved = append(resolved, "fd:"+strconv.Itoa(firstSocket+i))
			}
		}
		if !found {
			return nil, usagef("%s %s: systemd has opened no such socket (it passed %d, named %q): start roost through its socket unit, see deploy/systemd", flag, addr, len(a.names), a.names)
		}
	}
	return resolved, nil
}

// tellSystemd sends a state to the service manager, if NOTIFY_SOCKET names one (man
// sd_notify).
func tellSystemd(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
