package peer

import "sync"

// Hub is the set of connected clients of a relay. Any goroutine may call it.
// The zero value is empty and ready.
type Hub[C comparable] struct {
	order sync.Mutex // held for a whole broadcast: everyone sees one order

	mu    sync.Mutex
	conns map[C]struct{}
	list  []C // the same as a slice that is never modified; nil after a change
}

// Add joins c to the broadcasts that start from now on.
func (h *Hub[C]) Add(c C) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns == nil {
		h.conns = make(map[C]struct{})
	}
	h.conns[c] = struct{}{}
	h.list = nil
}

// Remove takes c out. It never waits for a broadcast, so a failing send may call it.
func (h *Hub[C]) Remove(c C) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.list = nil
}

// Broadcast calls send for everyone connected, one after the other. Broadcasts
// never overlap, so send has no competition from another one.
func (h *Hub[C]) Broadcast(send func(C)) {
	h.order.Lock()
	defer h.order.Unlock()
	for _, c := range h.all() {
		send(c)
	}
}

func (h *Hub[C]) all() []C {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.list == nil {
		h.list = make([]C, 0, len(h.conns))
		for c := range h.conns {
			h.list = append(h.list, c)
		}
	}
	return h.list
}
