package shard

import (
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Carrier stands between a TLS connection and its socket from the start, so
// that the socket can be taken from below it: until a loop adopts the
// connection it passes everything on, afterwards it is a tlsConn.
type Carrier struct {
	net.Conn
	loop atomic.Pointer[tlsConn]
}

// Read is net.Conn's.
func (c *Carrier) Read(p []byte) (int, error) {
	if l := c.loop.Load(); l != nil {
		return l.Read(p)
	}
	return c.Conn.Read(p)
}

// Write is net.Conn's.
func (c *Carrier) Write(p []byte) (int, error) {
	if l := c.loop.Load(); l != nil {
		return l.Write(p)
	}
	return c.Conn.Write(p)
}

func closeFD(fd int) { _ = unix.Close(fd) }
