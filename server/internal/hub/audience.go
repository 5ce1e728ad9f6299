package hub

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/roostws/roost/netpoll"
)

// A publication goes into the inboxes of those shards only that may have someone to give
// it to: an inbox costs a wake-up of its loop, and most channels have their few subscribers
// on few loops. What the hub knows of that must cost nothing for each channel or user,
// of which there may be millions, so it is a table of counters by a hash of their names. Two
// names in one row cost a wake-up that was not needed; a shard that has subscribers is never
// left out.
//
// A shard counts itself in (Interest) before it looks where the channel stands. So a
// publication that it is left out of came before that: it has no place in an order with the
// subscription, or an offset up to the one that the subscription begins behind. An application
// that has asked for a subscription from another goroutine, and publishes then, has that order:
// while something of the kind is in an inbox, everything goes there (Inbox.MaySubscribe).

// audienceRows is the number of rows: with a channel for each of a few thousand connections,
// few wake-ups are for nothing. A row has four bytes for each shard, and those that are never
// used are not resident.
const audienceRows = 1 << 15

// audience counts, by a hash of the channel and by shard, what makes a shard interested.
type audience []atomic.Int32

// shardSet is a set of shards, by index.
type shardSet [netpoll.MaxLoops / 64]uint64

func (s *shardSet) has(shard int) bool { return s[shard/64]&(1<<(shard%64)) != 0 }

// row returns the counters of a channel, whose name is in two parts: with a user's there is
// no need to make a string of them for each connection.
func (h *Hub) row(prefix, name string) audience {
	var sum maphash.Hash
	sum.SetSeed(h.seed)
	_, _ = sum.WriteString(prefix) // never fails
	_, _ = sum.WriteString(name)
	at := int(sum.Sum64()>>32%audienceRows) * len(h.inboxes)
	return h.audience[at : at+len(h.inboxes)]
}

// listeners returns the shards whose inboxes e belongs into, and their number. It is called
// once for an entry: others count themselves in meanwhile.
func (h *Hub) listeners(e *Entry) (to shardSet, n int) {
	if e.To == ToAll {
		for i := range h.inboxes {
			to[i/64] |= 1 << (i % 64)
		}
		return to, len(h.inboxes)
	}
	row := h.row("", e.Message.Channel)
	for i := range row {
		// In this order: what leaves an inbox has counted its shard in before.
		if h.inboxes[i].MaySubscribe() || row[i].Load() > 0 {
			to[i/64] |= 1 << (i % 64)
			n++
		}
	}
	return to, n
}
