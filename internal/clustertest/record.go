package clustertest

import (
	"fmt"
	"sync"
)

// A place is a position in a channel.
type place struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}

// A record is what is known of all messages, and the violations that it shows.
type record struct {
	mu       sync.Mutex
	channels map[string]map[string]*epoch
	found    []string
	count    int
}

// An epoch is what is known of one epoch of a channel.
type epoch struct {
	at    map[uint64]string // the key of the message at an offset
	where map[string]uint64 // the offset of a message
	acked map[uint64]bool
}

func newRecord() *record { return &record{channels: map[string]map[string]*epoch{}} }

// violate notes a violation.
func (k *record) violate(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.violateLocked(format, args...)
}

func (k *record) violateLocked(format string, args ...any) {
	if k.count++; len(k.found) < 50 {
		k.found = append(k.found, fmt.Sprintf(format, args...))
	}
}

func (k *record) violations() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.count - len(k.found); n > 0 {
		return append(k.found, fmt.Sprintf("and %d more", n))
	}
	return k.found
}

func (k *record) epochs() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.channels {
		n += len(c)
	}
	return n
}

// note notes the message at a place, as it was delivered or acknowledged.
func (k *record) note(channel string, at place, key string, acked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.channels[channel]
	if c == nil {
		c = map[string]*epoch{}
		k.channels[channel] = c
	}
	e := c[at.Epoch]
	if e == nil {
		e = &epoch{at: map[uint64]string{}, where: map[string]uint64{}, acked: map[uint64]bool{}}
		c[at.Epoch] = e
	}
	if known, ok := e.at[at.Offset]; ok && known != key {
		k.violateLocked("%s %v: %s, and %s for others", channel, at, key, known)
	}
	if offset, ok := e.where[key]; ok && offset != at.Offset {
		k.violateLocked("%s: %s is at %v, and at %d, too", channel, key, at, offset)
	}
	e.at[at.Offset], e.where[key] = key, at.Offset
	if acked {
		e.acked[at.Offset] = true
	}
}

// compare compares what is known of a channel's last epoch with its history.
func (k *record) compare(channel string, tip place, history []kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.channels[channel][tip.Epoch]
	if e == nil {
		return
	}
	found := map[uint64]string{}
	for i, m := range history {
		found[m.Offset] = m.Data.Key
		if i > 0 && m.Offset != history[i-1].Offset+1 {
			k.violateLocked("%s: the history has a hole between %d and %d", channel, history[i-1].Offset, m.Offset)
		}
	}
	for offset, key := range e.at {
		switch is, ok := found[offset]; {
		case !ok && e.acked[offset]:
			k.violateLocked("%s: %s was acknowledged at %d of the last epoch, and is not in the history (%d messages, tip %d)", channel, key, offset, len(history), tip.Offset)
		case ok && is != key:
			k.violateLocked("%s: %s was at %d, and the history has %s there", channel, key, offset, is)
		}
	}
}
