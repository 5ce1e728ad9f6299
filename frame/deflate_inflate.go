package frame

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/flate"
)

// inflateTail is what RFC 7692, section 7.2.2, puts back behind a compressed
// message, and an empty final block, so that the stream has an end.
const inflateTail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// deflateWindowBytes is how far back a DEFLATE stream can refer.
const deflateWindowBytes = 1 << maxWindowBits

// deflatedMaxBytes is how many bytes a message of n bytes may have compressed, by
// a compressor that emits no empty blocks: what zlib's deflateBound allows for
// any of its settings, of which the worst spends 9 bits on a literal (fixed
// Huffman codes), or a block's header on each few hundred bytes.
func deflatedMaxBytes(n int64) int64 {
	const rest = 64
	if n > math.MaxInt64-n/8-n/64-rest {
		return math.MaxInt64
	}
	return n + n/8 + n/64 + rest
}

// An inflater is a decompressor and its input. One takes about 50 KiB, so they
// are pooled and stay with no connection.
type inflater struct {
	r  io.ReadCloser
	in inflateSource
}

// inflateSource reads a payload, then inflateTail.
type inflateSource struct {
	payload []byte
	tail    string
}

func (s *inflateSource) Read(p []byte) (n int, err error) {
	if n = copy(p, s.payload); n > 0 {
		s.payload = s.payload[n:]
		return n, nil
	}
	if n = copy(p, s.tail); n > 0 || len(p) == 0 {
		s.tail = s.tail[n:]
		return n, nil
	}
	return 0, io.EOF
}

func (s *inflateSource) ReadByte() (byte, error) {
	if len(s.payload) > 0 {
		c := s.payload[0]
		s.payload = s.payload[1:]
		return c, nil
	}
	if len(s.tail) > 0 {
		c := s.tail[0]
		s.tail = s.tail[1:]
		return c, nil
	}
	return 0, io.EOF
}

var inflaters = sync.Pool{New: func() any {
	f := new(inflater)
	f.r = flate.NewReader(&f.in)
	return f
}}

// start begins a stream that may refer back to dict.
func (f *inflater) start(dict []byte) {
	// Reset of this package's reader always works.
	if err := f.r.(flate.Resetter).Reset(&f.in, dict); err != nil {
		panic("frame: " + err.Error())
	}
}

var errInflateCorrupt = &ProtocolError{CloseInvalidPayload, "compressed message is corrupt"}

func inflatesTooBig(limit int64) error {
	return &ProtocolError{CloseMessageTooBig, fmt.Sprintf("message inflates to more than %d bytes", limit)}
}

// inflate decompresses the payload of a message, which it only reads. No more
// than limit bytes come out, and little more is ever held: a bomb is freed as
// soon as it has shown itself. w, nil without context takeover, learns the
// message. The caller frees the buffer.
func inflate(payload []byte, limit int64, w *Window) (*buffer, error) {
	// No stream at all. The sender should have sent one byte (section 7.2.3.6);
	// zlib's users take this for the empty message too.
	if len(payload) == 0 {
		return newBuffer(0), nil
	}
	f := inflaters.Get().(*inflater)
	f.in = inflateSource{payload, inflateTail}
	f.start(w.Bytes())
	out, err := f.readAll(newBuffer(4*len(payload)), limit, w)
	f.in = inflateSource{}
	inflaters.Put(f)
	if err != nil {
		out.free()
		return nil, err
	}
	w.Add(out.b)
	return out, nil
}

func (f *inflater) readAll(out *buffer, limit int64, w *Window) (*buffer, error) {
	last := int(min(limit, math.MaxInt-1)) + 1
	for {
		if len(out.b) == cap(out.b) {
			out = out.withRoom(1, last)
		}
		n, err := f.r.Read(out.b[len(out.b):cap(out.b)])
		out.b = out.b[:len(out.b)+n]
		if int64(len(out.b)) > limit {
			return out, inflatesTooBig(limit)
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return out, errInflateCorrupt
		case len(f.in.payload) == 0:
			return out, nil
		default:
			// A block with BFINAL set inside the message is allowed (section
			// 7.2.3.4); what follows starts at the next byte.
			f.start(lastBytes(w.Bytes(), out.b))
		}
	}
}

// lastBytes is as much of a followed by b as a stream can refer to.
func lastBytes(a, b []byte) []byte {
	if len(b) >= deflateWindowBytes || len(a) == 0 {
		return b[max(0, len(b)-deflateWindowBytes):]
	}
	a = a[max(0, len(a)+len(b)-deflateWindowBytes):]
	return append(append(make([]byte, 0, len(a)+len(b)), a...), b...)
}
