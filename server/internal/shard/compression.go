package shard

import (
	"github.com/roostws/roost/frame"

	"github.com/roostws/roost/server/internal/counters"
)

// An offer is a permessage-deflate negotiation that was seen before. Browsers
// and libraries send a handful of different ones, so that a storm of handshakes
// parses each once and allocates nothing.
type offer struct {
	params   frame.DeflateParams
	response string
}

// offersMax bounds the offers remembered: their text is the client's.
const offersMax = 64

// negotiate returns the response to a Sec-WebSocket-Extensions header (RFC 7692,
// section 5).
func (s *Shard) negotiate(header []byte) (response string) {
	o, known := s.intake.offers[string(header)]
	if !known {
		params, answer, err := frame.NegotiateDeflate(string(header), *s.cfg.Deflate)
		if err != nil {
			return "" // not after Upgrade has checked the syntax
		}
		o = offer{params, answer}
		if s.intake.offers == nil {
			s.intake.offers = map[string]offer{}
		}
		if len(s.intake.offers) < offersMax && len(header) < 256 {
			s.intake.offers[string(header)] = o
		}
	}
	s.intake.offered = o.params
	return o.response
}

// setDeflate makes a connection speak what was agreed on. Without context
// takeover that is one byte in its slot.
func (c conn) setDeflate(p *frame.DeflateParams) {
	if !p.Enabled {
		return
	}
	c.setWindowBits(int(p.ServerMaxWindowBits))
	c.s.count.Inc(counters.Deflated)
	if w := p.ServerWindow(); w != nil {
		c.makeExt().sent = w
	}
	if w := p.ClientWindow(); w != nil {
		c.makeExt().received = w
	}
}
