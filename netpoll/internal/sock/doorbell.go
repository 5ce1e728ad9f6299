//go:build linux || darwin || freebsd

package sock

import (
	"sync"

	"golang.org/x/sys/unix"
)

// MaxVectors is how many slices one system call takes: IOV_MAX on all our
// systems.
const MaxVectors = 1024

// A Doorbell is a descriptor that becomes readable when it is rung, which
// interrupts the wait of a poller.
type Doorbell struct {
	reader int // read without mu by the waiting goroutine; -1 after Close

	// Guarded by mu: Ring may be called after Close, when another file may have
	// the number of the descriptor.
	mu     sync.Mutex
	writer int
}

// NewDoorbell opens a doorbell.
func NewDoorbell() (*Doorbell, error) {
	reader, writer, err := openDoorbell()
	if err != nil {
		return nil, err
	}
	return &Doorbell{reader: reader, writer: writer}, nil
}

// FD returns the descriptor to watch for reading.
func (d *Doorbell) FD() int { return d.reader }

// Ring makes FD readable. Any goroutine may call it, also after Close.
func (d *Doorbell) Ring() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writer >= 0 {
		ringDoorbell(d.writer)
	}
}

// Silence makes FD unreadable again. Only the goroutine that waits may call it.
func (d *Doorbell) Silence() { silenceDoorbell(d.reader) }

// Close closes the descriptors. Nothing may wait for FD any more. Later calls
// do nothing.
func (d *Doorbell) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writer < 0 {
		return
	}
	_ = unix.Close(d.writer)
	if d.reader != d.writer {
		_ = unix.Close(d.reader)
	}
	d.reader, d.writer = -1, -1
}
