package intake

import (
	"net"
	"sync/atomic"
)

// A Carrier stands between a TLS connection and its socket from the start, so that
// the socket can be taken from below it. It passes everything on until an event
// loop adopts the connection (see Adopt); afterwards the loop carries the bytes.
type Carrier struct {
	net.Conn
	loop atomic.Pointer[ciphertext]
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
