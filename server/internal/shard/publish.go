package shard

import (
	"crypto/rand"
	"encoding/base32"
	"hash/maphash"
	"strings"
	"time"
)

// A Publisher puts messages into the inboxes of all shards, in one order per
// target: who subscribes on one loop and who subscribes on another see the
// same sequence.
type Publisher struct {
	cfg     *Config
	group   *Group
	seed    maphash.Seed
	history history
	// One lock is held while a message goes into each inbox, which is what makes
	// the order the same everywhere.
	stripes [64]stripe
	swept   int // loop of shard 0 only: the next stripe to look after
}

// NewPublisher makes the publisher of a group.
func NewPublisher(cfg *Config, g *Group) *Publisher {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	p := &Publisher{cfg: cfg, group: g, seed: maphash.MakeSeed()}
	p.history.epoch = strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	p.history.maxBytes = int64(cfg.HistoryMaxBytes)
	p.history.maxExtra = int64(cfg.LagMaxBytes)
	g.publisher = p
	return p
}

// Epoch is that of all positions. Any goroutine.
func (p *Publisher) Epoch() string { return p.history.epoch }

// stripe is that of a channel's name.
func (p *Publisher) stripe(name string) *stripe {
	return &p.stripes[maphash.String(p.seed, name)%uint64(len(p.stripes))]
}

// namespace answers the settings of a channel's namespace, nil for one without
// history.
func (c *Config) namespace(channel string) *Namespace {
	if len(c.Namespaces) == 0 {
		return nil
	}
	name, _, found := strings.Cut(channel, ":")
	if !found {
		name = ""
	}
	return c.Namespaces[name]
}

// userChannel is what the channel of a user is called.
func userChannel(user string) string { return "user:" + user }

// publish puts o into every inbox, and its message into the history of its
// channel before.
func (p *Publisher) publish(o op) error {
	if p.group.full() {
		p.group.shards[0].count.InboxRefused.Add(1)
		return ErrBusy
	}
	o.message.Channel = o.name
	switch {
	case o.kind == opUser:
		o.message.Channel = userChannel(o.name)
	case o.kind == opBroadcast:
		o.message.Channel = ""
	}
	var ns *Namespace
	if o.kind != opBroadcast && o.message.Notice == nil {
		ns = p.cfg.namespace(o.message.Channel)
	}
	st := p.stripe(o.message.Channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	members := int32(len(p.group.shards))
	if ns != nil {
		o.log = p.history.log(st, o.message.Channel, ns)
		o.message.Time = time.Now().UnixMilli()
		o.message.inFlight.Store(members)
		p.history.append(o.log, o.message, p.cfg.Clock())
	}
	if o.tally != nil {
		o.tally.left.Store(members)
	}
	for _, s := range p.group.shards {
		// Room was there a moment ago; that is bound enough, and all shards or
		// none shall have the message.
		if err := s.post(o, true); err != nil {
			return err
		}
	}
	return nil
}

// Channel publishes m to a channel's subscribers. tally may be nil. Any
// goroutine.
func (p *Publisher) Channel(name string, m *Message, tally *Tally) error {
	return p.publish(op{kind: opPublish, name: name, message: m, tally: tally})
}

// User publishes m to a user's connections. Any goroutine.
func (p *Publisher) User(name string, m *Message, tally *Tally) error {
	return p.publish(op{kind: opUser, name: name, message: m, tally: tally})
}

// Broadcast publishes m to everybody. Any goroutine.
func (p *Publisher) Broadcast(m *Message, tally *Tally) error {
	return p.publish(op{kind: opBroadcast, message: m, tally: tally})
}

// Position is where a channel stands. Its Epoch is empty without history. Any
// goroutine.
func (p *Publisher) Position(channel string) Position {
	if p.cfg.namespace(channel) == nil {
		return Position{}
	}
	st := p.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	return Position{p.history.epoch, st.tip(channel)}
}

// Page is a part of a channel's history.
type Page struct {
	Position
	Messages  []*Message
	More, Gap bool
}

// History answers up to limit messages behind since, or the oldest; with reverse
// those before since, or the newest, the newest first. Any goroutine.
func (p *Publisher) History(channel string, since *Position, limit int, reverse bool) Page {
	ns := p.cfg.namespace(channel)
	if ns == nil {
		return Page{}
	}
	st := p.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	page := Page{Position: Position{p.history.epoch, st.tip(channel)}}
	known := since == nil || since.Epoch == p.history.epoch
	l := st.logs[channel]
	if l == nil || l.len() == 0 {
		page.Gap = !known || since != nil && since.Offset != page.Offset && !reverse
		return page
	}
	p.history.evict(l, time.Now().UnixMilli())
	from, to := l.first, l.tip()+1 // [from, to) is what may be shown
	if kept := uint64(l.ns.Messages); to-from > kept {
		from = to - kept // what is kept for laggers only is not history
	}
	switch {
	case !known:
		page.Gap = true
	case since != nil && !reverse:
		page.Gap = since.Offset+1 < from || since.Offset >= to
		if since.Offset < to {
			from = max(from, since.Offset+1)
		}
	case since != nil:
		page.Gap = since.Offset > to
		to = min(to, max(since.Offset, from))
	}
	if to < from {
		to = from
	}
	n := min(uint64(limit), to-from)
	page.More = n < to-from
	if !reverse {
		page.Messages = l.since(nil, from, int(n), 1<<62)
		return page
	}
	for i := range n {
		page.Messages = append(page.Messages, l.ring[l.taken+int(to-1-i-l.first)])
	}
	return page
}

// HistoryStats is how much history there is: channels, messages, bytes, and what
// was dropped because of Config.HistoryMaxBytes. Any goroutine.
func (p *Publisher) HistoryStats() (channels, messages, bytes int64, evicted uint64) {
	h := &p.history
	return h.channels.Load(), h.messages.Load(), h.bytes.Load(), h.evicted.Load()
}

// sweep looks after one stripe at each tick of shard 0: all of them every 16 s
// with the default tick.
func (p *Publisher) sweep() {
	p.history.sweep(&p.stripes[p.swept], p.cfg.Clock(), time.Now().UnixMilli())
	p.swept = (p.swept + 1) % len(p.stripes)
}
