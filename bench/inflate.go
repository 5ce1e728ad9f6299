package bench

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"

	"github.com/roostws/roost/frame"
)

// rsvDeflated marks the first frame of a compressed message (RFC 7692,
// section 6).
const rsvDeflated = 4

// compressionOffer leaves no state between messages, so that the same bytes are
// always the same message.
var compressionOffer = frame.DeflateOffer(frame.DeflateConfig{})

// deflateTail is what a sender leaves out (RFC 7692, section 7.2.1), and a last
// empty block.
const deflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// An inflater reads compressed messages. It is not the one that Roost's server
// is made of: a common mistake would not show. The zero value is ready.
type inflater struct {
	r   io.ReadCloser
	out bytes.Buffer
}

// inflate returns the message, valid until the next call.
func (f *inflater) inflate(p []byte) ([]byte, error) {
	in := io.MultiReader(bytes.NewReader(p), bytes.NewReader([]byte(deflateTail)))
	if f.r == nil {
		f.r = flate.NewReader(in)
	} else if err := f.r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, err
	}
	f.out.Reset()
	n, err := f.out.ReadFrom(io.LimitReader(f.r, 2*MaxPayloadBytes))
	if err == nil && n == 2*MaxPayloadBytes {
		err = fmt.Errorf("more than %d bytes", n)
	}
	return f.out.Bytes(), err
}
