//go:build linux

package main

import (
	"bytes"
	"io"
)

// readAll reads a whole message whose first frame has firstLength bytes. A message
// of one frame, nearly all of them, takes one allocation of the right size.
func readAll(r io.Reader, firstLength int64) ([]byte, error) {
	const trusted = 64 << 10 // a header may claim any length
	b := bytes.NewBuffer(make([]byte, 0, min(firstLength, trusted)+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}
