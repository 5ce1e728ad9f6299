package hub

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"hash/maphash"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// ErrBusy is returned where the inbox of a shard is full, or where the broker has too much
// to answer. Try again later, or slow down.
var ErrBusy = errors.New("server: busy, a loop's inbox is full")

// Config is what the hub needs to know. It is copied by New.
type Config struct {
	// Namespaces are those with history, by name.
	Namespaces map[string]*Namespace
	// HistoryMaxBytes bounds all histories together.
	HistoryMaxBytes int
	// LagMaxBytes bounds what all histories keep beyond their settings, for
	// connections that read on.
	LagMaxBytes int
	// Occupancy turns Occupy on, for some 100 bytes a channel.
	Occupancy bool
	// Now is time.Now, but in tests.
	Now func() time.Time
	// Broker orders the messages, from StartBroker on; nil: the hub does.
	Broker broker.Broker
	// Cluster is told what the broker hands over beside messages. Nil: there is none.
	Cluster Cluster
	// Node is this node's number among those that count for each other, in the tags of
	// publications.
	Node uint32
	// Local reports whether this node delivers the messages of a channel itself while the
	// broker is away.
	Local func(channel string) bool
	// Done is closed when the server ends.
	Done <-chan struct{}
}

// A Cluster is what this node has in common with others on its broker. The hub calls its
// methods one after the other, on the broker's goroutine, without a lock. They must not block.
type Cluster interface {
	// Notice takes what another node, or this one, has told about a channel.
	Notice(channel string, b []byte)
	// Attached says that what is told about a channel arrives from now on, and Interrupted
	// that something may be missing until then.
	Attached(channel string)
	Interrupted()
	// Counted takes the counts of this node for another node's publication. Any goroutine.
	Counted(tag uint64, matched, written int)
}

// Target is a kind of audience.
type Target uint8

const (
	// ToChannel is the subscribers of a channel.
	ToChannel Target = iota
	// ToUser is the connections of a user.
	ToUser
	// ToAll is every connection.
	ToAll
)

// An Entry is a message on its way into an inbox.
type Entry struct {
	To Target
	// Name is the channel or the user.
	Name    string
	Message *Message
	// History has the message; nil without history.
	History *History
	// Tally is nil if the publisher wants no receipt.
	Tally *Tally
	// Over, if positive, paces the delivery over this time.
	Over time.Duration
}

// An Inbox takes what the hub publishes, for the connections of one shard.
type Inbox interface {
	// Full reports that the inbox has no room. Any goroutine.
	Full() bool
	// MaySubscribe reports that what is in the inbox may make connections subscribers, or
	// give them a user: what is published after that was put there is for them. Any goroutine.
	MaySubscribe() bool
	// Deliver puts e at the end of the inbox, full or not, and does not block: the
	// stripe's lock is held. It fails after the end of the shard only.
	Deliver(e Entry) error
}

const (
	stripes         = 64
	floorsPerStripe = 64
	historySeed     = 40 // bits in the random part of epochs
)

// A Hub orders messages, keeps the recent ones and hands them to the inboxes, in
// one order per target: connections on different loops see the same sequence. Any
// goroutine may call its methods, except where noted.
type Hub struct {
	// Immutable.
	cfg      Config
	inboxes  []Inbox
	seed     maphash.Seed
	life     string // the random part of epochs
	audience audience

	broker broker.Broker // Config.Broker

	stripes [stripes]stripe
	swept   int // owned by the caller of Sweep: the next stripe

	// Atomic: any goroutine.
	kept    kept
	refused atomic.Uint64
	started atomic.Bool   // the broker is
	tags    atomic.Uint64 // of this node's publications
	tallies sync.Map      // of those whose counts are waited for, by tag
	pages   pages
	// publishing is the size of what the broker has not answered yet.
	publishing atomic.Int64
}

// New makes the hub of a server whose shards have these inboxes.
func New(cfg Config, inboxes []Inbox) *Hub {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var random [historySeed / 8]byte
	_, _ = rand.Read(random[:]) // never fails
	h := &Hub{
		cfg: cfg, broker: cfg.Broker, inboxes: inboxes, seed: maphash.MakeSeed(), audience: make(audience, audienceRows*len(inboxes)),
		life: strings.ToLower(base32.StdEncoding.EncodeToString(random[:])),
	}
	h.tags.Store(mathrand.Uint64())
	return h
}

// UserPrefix begins the names of users' channels.
const UserPrefix = "user:"

// UserChannel is the name of the channel of a user.
func UserChannel(user string) string { return UserPrefix + user }

// Namespace returns the settings of a channel's namespace, nil for one without
// history.
func (h *Hub) Namespace(channel string) *Namespace {
	if len(h.cfg.Namespaces) == 0 {
		return nil
	}
	name, _, found := strings.Cut(channel, ":")
	if !found {
		name = ""
	}
	return h.cfg.Namespaces[name]
}

// stripe returns that of a channel, and the channel's floor there.
func (h *Hub) stripe(channel string) (*stripe, *uint64) {
	hash := maphash.String(h.seed, channel)
	st := &h.stripes[hash%stripes]
	return st, &st.floors[hash/stripes%floorsPerStripe]
}

// epochOf is the epoch of a history that begins behind floor.
func (h *Hub) epochOf(floor uint64) string {
	if floor == 0 {
		return h.life
	}
	return h.life + "." + strconv.FormatUint(floor, 36)
}

// history returns the history of a channel, made if need be. With the lock held.
func (h *Hub) history(st *stripe, floor *uint64, name string, ns *Namespace) *History {
	l := st.histories[name]
	if l == nil {
		if st.histories == nil {
			st.histories = map[string]*History{}
		}
		l = &History{hub: h, stripe: st, ns: ns, name: name, epoch: h.epochOf(*floor), floor: floor, start: *floor, first: *floor + 1}
		st.histories[name] = l
		h.kept.channels.Add(1)
	}
	return l
}

// Channel publishes m to a channel's subscribers. tally may be nil, here and
// below. The position is empty without history.
func (h *Hub) Channel(name string, m *Message, tally *Tally) (history.Position, error) {
	m.Channel = name
	return h.publish(Entry{To: ToChannel, Name: name, Message: m, Tally: tally})
}

// User publishes m to a user's connections.
func (h *Hub) User(name string, m *Message, tally *Tally) (history.Position, error) {
	m.Channel = UserChannel(name)
	return h.publish(Entry{To: ToUser, Name: name, Message: m, Tally: tally})
}

// All publishes m to every connection.
func (h *Hub) All(m *Message, tally *Tally) error {
	_, err := h.publish(Entry{To: ToAll, Message: m, Tally: tally})
	return err
}

// Spread publishes m to a target, to each connection at a moment of its own within
// this time. The message is in no history and in no order with others.
func (h *Hub) Spread(to Target, name string, m *Message, over time.Duration, tally *Tally) error {
	switch to {
	case ToChannel:
		m.Channel = name
	case ToUser:
		m.Channel = UserChannel(name)
	}
	if h.full() {
		return ErrBusy
	}
	return h.deliver(Entry{To: to, Name: name, Message: m, Tally: tally, Over: max(over, 1)})
}

// publish numbers a message, if its channel has history, and delivers it.
func (h *Hub) publish(e Entry) (history.Position, error) {
	if h.full() {
		return history.Position{}, ErrBusy
	}
	m := e.Message
	var ns *Namespace
	if e.To != ToAll && m.Notice == nil {
		ns = h.Namespace(m.Channel)
	}
	st, floor := h.stripe(m.Channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	if ns == nil {
		return history.Position{}, h.deliver(e)
	}
	e.History = h.history(st, floor, m.Channel, ns)
	to, n := h.listeners(&e)
	m.unserved.Store(int32(n))
	e.History.append(m, h.cfg.Now())
	return history.Position{Epoch: m.Epoch, Offset: m.Offset}, h.deliverTo(to, n, e)
}

// deliver puts e into the inbox of every shard that it may concern. For messages that are
// in order it is called with the stripe's lock held: that is what makes the order the same
// everywhere.
func (h *Hub) deliver(e Entry) error {
	to, n := h.listeners(&e)
	return h.deliverTo(to, n, e)
}

// deliverTo is deliver to what listeners has returned.
func (h *Hub) deliverTo(to shardSet, n int, e Entry) error {
	if e.Tally != nil {
		e.Tally.begin(n)
	}
	for i, in := range h.inboxes {
		if !to.has(i) {
			continue
		}
		// There was room a moment ago; that is bound enough, and all of them or none
		// shall have the message.
		if err := in.Deliver(e); err != nil {
			return err
		}
	}
	return nil
}

// full reports, and counts, that a message can't be taken.
func (h *Hub) full() bool {
	if h.anyFull() {
		h.refused.Add(1)
		return true
	}
	return false
}

// anyFull reports whether an inbox has no room.
func (h *Hub) anyFull() bool {
	for _, in := range h.inboxes {
		if in.Full() {
			return true
		}
	}
	return false
}

// Occupy notes that a shard has begun (change 1) or ended (-1) to have subscribers
// of a channel. If the channel was empty, or is now, it calls report, with a lock
// held: nothing may be published or subscribed meanwhile.
func (h *Hub) Occupy(channel string, change int, report func(occupied bool)) {
	if !h.cfg.Occupancy {
		return
	}
	st, _ := h.stripe(channel)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.occupied == nil {
		st.occupied = map[string]int{}
	}
	st.occupied[channel] += change
	switch n := st.occupied[channel]; {
	case n == 0:
		delete(st.occupied, channel)
		report(false)
	case n == 1 && change > 0:
		report(true)
	}
}

// Stats are counters of the hub at one moment.
type Stats struct {
	// Channels with history, and the Messages and Bytes that are kept of them.
	Channels, Messages, Bytes int64
	// Readers read on, and ExtraBytes are kept for them beyond the settings.
	Readers, ExtraBytes int64
	// Evicted counts messages dropped because of Config.HistoryMaxBytes, Refused
	// publications refused with ErrBusy.
	Evicted, Refused uint64
	// With a broker: Mirrors are channels that this node has attached; Reads were made of
	// them, because of Holes among others. Interruptions of what it receives, and
	// PublishErrors.
	Mirrors                                    int64
	Reads, Holes, Interruptions, PublishErrors uint64
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	k := &h.kept
	return Stats{
		Channels: k.channels.Load(), Messages: k.messages.Load(), Bytes: k.bytes.Load(),
		Readers: k.readers.Load(), ExtraBytes: k.extra.Load(),
		Evicted: k.evicted.Load(), Refused: h.refused.Load(),
		Mirrors: k.mirrors.Load(), Reads: k.reads.Load(), Holes: k.holes.Load(), Interruptions: k.interruptions.Load(),
		PublishErrors: k.publishErrors.Load(),
	}
}
