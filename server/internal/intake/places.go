package intake

import "github.com/roostws/roost/netpoll"

// Places bounds how many connections are in the middle of something that costs
// memory or a goroutine. Connections beyond the bound queue for a place.
type Places struct {
	// Max is how many there are.
	Max int

	taken   int
	waiting []netpoll.ID // some may have ended meanwhile
}

// Take takes a place. Without a free one it puts id into the queue and returns
// false.
func (p *Places) Take(id netpoll.ID) bool {
	if p.taken < p.Max {
		p.taken++
		return true
	}
	p.waiting = append(p.waiting, id)
	return false
}

// Give gives a place back.
func (p *Places) Give() { p.taken-- }

// Next returns the first connection in the queue, which has a place from then on.
// It returns false if the queue is empty or all places are taken. A caller that
// does not find the connection any more gives the place back.
func (p *Places) Next() (id netpoll.ID, ok bool) {
	if len(p.waiting) == 0 || p.taken >= p.Max {
		return 0, false
	}
	id = p.waiting[0]
	if p.waiting = p.waiting[1:]; len(p.waiting) == 0 {
		p.waiting = nil
	}
	p.taken++
	return id, true
}

// Waiting returns how long the queue is when those are taken out of it of which
// gone reports true.
func (p *Places) Waiting(gone func(netpoll.ID) bool) int {
	left := p.waiting[:0]
	for _, id := range p.waiting {
		if !gone(id) {
			left = append(left, id)
		}
	}
	p.waiting = left
	return len(left)
}
