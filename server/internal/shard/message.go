package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/wire"
)

// variant tells apart the forms in which connections get a message: of each wire and
// protocol, the first is plain, and the others are compressed with windows of 8 to
// 15 bits, which only WebSocket is.
func (sl *slot) variant() int {
	v := wireVariants*int(sl.kind()) + windowVariants*sl.protocol()
	if bits := sl.windowBits(); bits != 0 {
		v += bits - 7
	}
	return v
}

const (
	windowVariants = 9
	wireVariants   = windowVariants * (hub.ProtocolsMax + 1)
)

// prepared returns m as connections of a protocol get it, nil if they do not.
func (s *Shard) prepared(m *hub.Message, protocol int) *frame.Prepared {
	if protocol == 0 {
		return m.Raw()
	}
	return m.Form(protocol, s.protocols[protocol-1].Encode)
}

// appendEncoded appends what encoded returns.
func (s *Shard) appendEncoded(dst []byte, m *hub.Message, variant int) []byte {
	if kind := wire.Kind(variant / wireVariants); kind != wire.WebSocket {
		if f := s.prepared(m, variant%wireVariants/windowVariants); f != nil {
			dst = wire.Of(kind).AppendMessage(dst, f.Opcode(), f.Payload())
		}
		return dst
	}
	return append(dst, s.encoded(m, variant)...)
}

// encoded returns m as the bytes that a connection of this variant gets, none if
// it does not get the message.
func (s *Shard) encoded(m *hub.Message, variant int) []byte {
	f := s.prepared(m, variant%wireVariants/windowVariants)
	switch bits := variant % windowVariants; {
	case f == nil:
		return nil
	case variant >= wireVariants: // another wire
		// Jobs keep it; a message that is read later is encoded again.
		return s.appendEncoded(nil, m, variant)
	case bits == 0:
		return f.Bytes()
	default:
		return f.Compressed(bits + 7)
	}
}
