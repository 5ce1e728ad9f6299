package frame

import "github.com/gobwas/ws"

// Mask masks or unmasks p in place with key (RFC 6455, section 5.3; both are
// the same XOR). offset is the place of p[0] in its frame's payload, not
// negative, so that a payload can be done piece by piece.
//
// The work is gobwas/ws's: SSE2 or AVX2 where the processor has them.
func Mask(p []byte, key [4]byte, offset int) {
	ws.Cipher(p, key, offset)
}
