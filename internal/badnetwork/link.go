package badnetwork

import (
	"net"
	"sync"
	"testing"
)

// A Link is a TCP proxy that works until it is told otherwise. All methods may be called by
// any goroutine.
type Link struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu   sync.Mutex
	wake sync.Cond
	// Guarded by mu.
	to      string
	stalled bool
	refuses bool
	closed  bool
	open    map[net.Conn]bool
}

// NewLink starts a link to an address, which the end of the test closes.
func NewLink(t testing.TB, to string) *Link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &Link{listener: l, to: to, open: map[net.Conn]bool{}}
	k.wake.L = &k.mu
	k.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			k.wg.Go(func() { k.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		k.set(func() { k.closed = true }, true)
		k.wg.Wait()
	})
	return k
}

// Addr is where the link begins.
func (k *Link) Addr() string { return k.listener.Addr().String() }

// To leads to another address from now on. What is open is reset.
func (k *Link) To(addr string) { k.set(func() { k.to = addr }, true) }

// Cut resets what is open, and what is opened from now on.
func (k *Link) Cut() { k.set(func() { k.refuses = true }, true) }

// Reset resets what is open.
func (k *Link) Reset() { k.set(func() {}, true) }

// Stall carries nothing any more, and both ends believe in their connections. What was
// sent arrives after Heal, where the ends have not given up.
func (k *Link) Stall() { k.set(func() { k.stalled = true }, false) }

// Heal ends Cut and Stall.
func (k *Link) Heal() { k.set(func() { k.stalled, k.refuses = false, false }, false) }

func (k *Link) set(change func(), reset bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	for c := range k.open {
		if reset {
			abort(c)
		}
	}
	k.wake.Broadcast()
}

// abort closes a connection by a reset.
func abort(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// pass waits while the link is stalled, and returns where it leads; "" if nowhere.
func (k *Link) pass() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.stalled && !k.closed {
		k.wake.Wait()
	}
	if k.closed || k.refuses {
		return ""
	}
	return k.to
}

// enter notes a connection, unless the link leads elsewhere by now.
func (k *Link) enter(to string, conns ...net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.refuses || k.to != to {
		return false
	}
	for _, c := range conns {
		k.open[c] = true
	}
	return true
}

func (k *Link) carry(near net.Conn) {
	defer abort(near)
	to := k.pass()
	if to == "" {
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer abort(far)
	if !k.enter(to, near, far) {
		return
	}
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.open, near)
		delete(k.open, far)
	}()
	k.wg.Go(func() {
		k.pump(far, near)
		abort(far)
		abort(near)
	})
	k.pump(near, far)
}

func (k *Link) pump(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || k.pass() == "" {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
