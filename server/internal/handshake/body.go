package handshake

// Chunked decodes a body in the chunked transfer coding (RFC 9112, section 7.1) as it
// arrives. The zero value is at the beginning. Extensions and trailers are dropped.
type Chunked struct {
	state chunkState
	left  int64 // of the chunk
	line  int   // bytes of the line, or of the trailers
}

type chunkState uint8

const (
	chunkSize  chunkState = iota // at the digits of a size
	chunkBlank                   // behind them: space is allowed before an extension
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer // at the beginning of a line behind the last chunk
	chunkTrailerLine
	chunkTrailerLF
	chunkEndLF
	chunkDone
)

// chunkLineMax bounds a size with its extensions, and all trailers together.
const chunkLineMax = 1024

var errChunk = bad("the chunked request body is malformed", "Send the size of each chunk in hexadecimal digits, CR LF, the chunk, CR LF; the last one has size 0.")

// Decode appends what p has of the body to dst, but no more than limit bytes in all,
// and returns how much of p it has used: all, unless the body has ended (done). The
// error is errChunk, or ErrBodyTooLarge.
func (d *Chunked) Decode(dst, p []byte, limit int) (body []byte, n int, done bool, err error) {
	for n < len(p) && d.state != chunkDone {
		if d.state == chunkData {
			k := int(min(d.left, int64(len(p)-n)))
			if len(dst)+k > limit {
				return dst, n, false, ErrBodyTooLarge
			}
			dst = append(dst, p[n:n+k]...)
			n += k
			if d.left -= int64(k); d.left == 0 {
				d.state = chunkDataCR
			}
			continue
		}
		if !d.step(p[n]) {
			return dst, n, false, errChunk
		}
		n++
		if d.left > int64(limit) {
			return dst, n, false, ErrBodyTooLarge
		}
	}
	return dst, n, d.state == chunkDone, nil
}

// step takes a byte that is no data and reports whether it may stand there.
func (d *Chunked) step(c byte) bool {
	if d.line++; d.line > chunkLineMax {
		return false
	}
	switch d.state {
	case chunkSize:
		digit, ok := hexDigit(c)
		switch {
		case ok && d.left < 1<<40:
			d.left = d.left<<4 | int64(digit)
		case d.line == 1 || ok:
			return false // no digit at all, or too many
		default:
			return d.sizeEnds(c)
		}
	case chunkBlank:
		return d.sizeEnds(c)
	case chunkExtension:
		if c == '\r' {
			d.state = chunkSizeLF
		} else if c == '\n' || c == 0 {
			return false
		}
	case chunkSizeLF:
		d.line = 0
		if d.state = chunkData; d.left == 0 {
			d.state = chunkTrailer
		}
		return c == '\n'
	case chunkDataCR:
		d.state = chunkDataLF
		return c == '\r'
	case chunkDataLF:
		d.state, d.line = chunkSize, 0
		return c == '\n'
	case chunkTrailer:
		if d.state = chunkTrailerLine; c == '\r' {
			d.state = chunkEndLF
		}
		return c != '\n' && c != 0
	case chunkTrailerLine:
		if c == '\r' {
			d.state = chunkTrailerLF
		}
		return c != '\n' && c != 0
	case chunkTrailerLF:
		d.state = chunkTrailer
		return c == '\n'
	case chunkEndLF:
		d.state = chunkDone
		return c == '\n'
	}
	return true
}

// sizeEnds takes a byte behind the digits of a size.
func (d *Chunked) sizeEnds(c byte) bool {
	switch c {
	case '\r':
		d.state = chunkSizeLF
	case ';':
		d.state = chunkExtension
	case ' ', '\t':
		d.state = chunkBlank
	default:
		return false
	}
	return true
}

func hexDigit(c byte) (n byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
