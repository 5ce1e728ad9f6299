package shard

import (
	"hash/maphash"
	"sync"

	"github.com/roostws/roost/frame"
)

// A Publisher puts messages into the inboxes of all shards, in one order per
// target: who subscribes on one loop and who subscribes on another see the
// same sequence.
type Publisher struct {
	group *Group
	seed  maphash.Seed
	// Targets are spread over some locks; one is held while a message goes into
	// each inbox, which is what makes the order the same everywhere.
	locks [64]sync.Mutex
}

// NewPublisher makes the publisher of a group.
func NewPublisher(g *Group) *Publisher { return &Publisher{group: g, seed: maphash.MakeSeed()} }

func (p *Publisher) publish(o op) error {
	if p.group.full() {
		p.group.shards[0].count.InboxRefused.Add(1)
		return ErrBusy
	}
	lock := &p.locks[0]
	if o.kind != opBroadcast {
		lock = &p.locks[maphash.String(p.seed, o.name)%uint64(len(p.locks))]
	}
	lock.Lock()
	defer lock.Unlock()
	for _, s := range p.group.shards {
		// Room was there a moment ago; that is bound enough, and all shards or
		// none shall have the message.
		if err := s.post(o, true); err != nil {
			return err
		}
	}
	return nil
}

// Channel publishes f to a channel's subscribers. Any goroutine.
func (p *Publisher) Channel(name string, f *frame.Prepared) error {
	return p.publish(op{kind: opPublish, name: name, frame: f})
}

// User publishes f to a user's connections. Any goroutine.
func (p *Publisher) User(name string, f *frame.Prepared) error {
	return p.publish(op{kind: opUser, name: name, frame: f})
}

// Broadcast publishes f to everybody. Any goroutine.
func (p *Publisher) Broadcast(f *frame.Prepared) error {
	return p.publish(op{kind: opBroadcast, frame: f})
}
