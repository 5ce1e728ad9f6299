package hub

import (
	"sync"
	"time"
)

// pages are the reads of the broker that are under way, and those that wait. After an outage
// every channel is read, and what that returns goes into the inboxes at once: reading waits
// while one of them is full, as delivery does, and only so many pages are on their way that
// those that come then are few.
type pages struct {
	mu sync.Mutex
	// Guarded by mu.
	waiting  []func()
	underWay int
	later    bool // a timer looks again
}

const (
	// pagesMax is how many reads are under way at most: as many as a round trip to the broker
	// is worth.
	pagesMax = 64
	// roomAgain is after how long inboxes that were full are looked at again.
	roomAgain = time.Millisecond
)

// whenRoom calls read when there is room for what it reads, and pageTaken is to be called
// when that was taken. Any goroutine; stripes may be locked.
func (h *Hub) whenRoom(read func()) {
	h.pages.mu.Lock()
	h.pages.waiting = append(h.pages.waiting, read)
	h.pages.mu.Unlock()
	h.nextPages()
}

// pageTaken notes that a read is over.
func (h *Hub) pageTaken() {
	h.pages.mu.Lock()
	h.pages.underWay--
	h.pages.mu.Unlock()
	h.nextPages()
}

// nextPages begins the reads for which there is room.
func (h *Hub) nextPages() {
	for {
		read := h.nextPage()
		if read == nil {
			return
		}
		read()
	}
}

// nextPage takes one of the reads that wait, if there is room.
func (h *Hub) nextPage() (read func()) {
	p := &h.pages
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-h.cfg.Done:
		p.waiting = nil
	default:
	}
	switch {
	case len(p.waiting) == 0 || p.underWay >= pagesMax:
		return nil
	case h.anyFull():
		if !p.later {
			p.later = true
			time.AfterFunc(roomAgain, func() {
				p.mu.Lock()
				p.later = false
				p.mu.Unlock()
				h.nextPages()
			})
		}
		return nil
	}
	read, p.waiting = p.waiting[0], p.waiting[1:]
	p.underWay++
	return read
}
