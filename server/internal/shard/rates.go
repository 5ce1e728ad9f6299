package shard

import (
	"github.com/roostws/roost/internal/offheap"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/gcra"
)

// rates bounds the messages, pings and pongs of each connection, if Config.MessageRate is set. A
// connection without a token is not read until the next one is there.
type rates struct {
	tokens  offheap.Table[gcra.Bucket]
	limited []netpoll.ID // with flagPausedRate
}

// spend takes one of the connection's tokens.
func (c conn) spend() {
	s := c.s
	rate := s.cfg.MessageRate
	if rate == 0 {
		return
	}
	tokens, now := &s.rates.tokens.Rows[c.id.Slot()], s.clock()
	tokens.Take(now, rate)
	if tokens.Wait(now, rate) > 0 {
		s.count.Inc(counters.RateLimited)
		s.rates.limited = append(s.rates.limited, c.id)
		c.pause(flagPausedRate)
	}
}

// resumeLimited reads connections again that have used up their rate and have a
// token again.
func (s *Shard) resumeLimited() {
	r := &s.rates
	if len(r.limited) == 0 {
		return
	}
	limited := r.limited
	r.limited = nil // resume may add to it
	now := s.clock()
	for _, id := range limited {
		if r.tokens.Rows[id.Slot()].Wait(now, s.cfg.MessageRate) > 0 {
			r.limited = append(r.limited, id)
		} else if c, ok := s.find(id); ok {
			c.resume(flagPausedRate)
		}
	}
}
