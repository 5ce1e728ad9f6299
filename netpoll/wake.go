//go:build linux || darwin || freebsd

package netpoll

import "golang.org/x/sys/unix"

// Wake is part of [Loop]. A loop that is awake sees the flag at the end of its
// turn; only one that sleeps costs a system call. No wake-up is lost: the loop
// says that it sleeps before it looks at the flag for the last time, and Wake
// sets the flag before it looks whether the loop sleeps.
func (l *loop) Wake() {
	if l.woken.Load() || l.woken.Swap(true) {
		return // OnWake is due already
	}
	if l.alwaysRing || l.sleeping.Load() {
		l.ring()
	}
}

// ring makes the loop's wait return. Any goroutine, at any time.
func (l *loop) ring() {
	l.doorbellMu.Lock()
	defer l.doorbellMu.Unlock()
	if l.doorbellWriter >= 0 {
		ringDoorbell(l.doorbellWriter)
	}
}

// closeDoorbell makes Wake do nothing.
func (l *loop) closeDoorbell() {
	l.doorbellMu.Lock()
	defer l.doorbellMu.Unlock()
	if l.doorbellWriter >= 0 && l.doorbellWriter != l.doorbellReader {
		_ = unix.Close(l.doorbellWriter)
	}
	if l.doorbellReader >= 0 {
		_ = unix.Close(l.doorbellReader)
	}
	l.doorbellReader, l.doorbellWriter = -1, -1
}
