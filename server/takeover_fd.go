package server

import (
	"net"
	"os"
)

// fileConn makes a net.Conn of a descriptor, which it takes over.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socket pair")
	defer f.Close()
	return net.FileConn(f) // it duplicates the descriptor
}
