// Package badnetwork is a network for tests: a TCP proxy that ends every connection.
package badnetwork

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards connections to a server, and ends each after a number of
// bytes, and so mostly within a frame: by a reset, an orderly end, or by swallowing what
// comes for a while. It is slow at times, too. All methods may be called by any
// goroutine.
type Proxy struct {
	listener net.Listener
	to       string
	most     int
	wg       sync.WaitGroup

	// Guarded by mu.
	mu   sync.Mutex
	rand *rand.Rand
	good bool
	cuts int
}

// New starts a proxy to an address, which the end of the test closes. A connection
// brings the client between 300 and 300+most bytes, drawn at random. The test's log
// has the seed.
func New(t testing.TB, to string, most int) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("the network's seed is %d", seed)
	p := &Proxy{listener: l, to: to, most: most, rand: rand.New(rand.NewPCG(seed, 0))}
	p.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.carry(near.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.wg.Wait()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Heal makes connections last from now on.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.good = true
}

// Cuts is how many connections it has cut.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

func (p *Proxy) draw(most int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rand.IntN(most)
}

func (p *Proxy) carry(near *net.TCPConn) {
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = near.Close()
		return
	}
	defer func() { _ = far.Close(); _ = near.Close() }()
	p.wg.Go(func() { // upwards
		p.pump(far, near, 200+p.draw(1000), func() {})
		_ = far.Close()
		_ = near.Close()
	})
	p.pump(near, far, 300+p.draw(p.most), func() {
		switch p.draw(3) {
		case 0:
			_ = near.SetLinger(0) // a reset
		case 1: // swallowed: both ends believe in the connection
			buffer := make([]byte, 1024)
			_ = far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			for err := error(nil); err == nil; {
				_, err = far.Read(buffer)
			}
		}
	})
}

// pump forwards up to a number of bytes, then cut is called.
func (p *Proxy) pump(to, from net.Conn, most int, cut func()) {
	buffer := make([]byte, 512)
	for {
		got, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		good := p.good
		p.mu.Unlock()
		if !good && got >= most {
			_, _ = to.Write(buffer[:most])
			p.mu.Lock()
			p.cuts++
			p.mu.Unlock()
			cut()
			return
		}
		most -= got
		if p.draw(8) == 0 {
			time.Sleep(time.Duration(p.draw(5)) * time.Millisecond)
		}
		if _, err := to.Write(buffer[:got]); err != nil {
			return
		}
	}
}
