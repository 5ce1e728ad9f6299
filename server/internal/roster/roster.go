package roster

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Change is a join, or a leave, of a connection.
type Change struct {
	Channel, Client, User string
	Left                  bool
}

// Config is what a Roster needs of its node. The functions must not call the Roster, except
// where they say so.
type Config struct {
	// Node is this node's ID.
	Node string
	// Covers reports whether the joins and leaves of a channel are told.
	Covers func(channel string) bool
	// Receives reports whether a channel is attached.
	Receives func(channel string) bool
	// Publish hands b to all nodes that have attached a channel, through the broker. It
	// does not block, and keeps the order of each channel. done is called once: at once, or
	// by another goroutine. It keeps b.
	Publish func(channel string, b []byte, done func(error))
	// Ask asks another node. done is called once, by another goroutine; it gets ok if there
	// is an answer.
	Ask func(node string, question []byte, done func(answer []byte, ok bool))
	// Tell tells the subscribers on this node, in order. It must not block. If it returns
	// an error the change is told again soon.
	Tell func(c *Change) error
	// After calls f after a while. Tests replace it.
	After func(d time.Duration, f func())
}

// A Roster is one node's part. Any goroutine may call its methods, none of which blocks.
type Roster struct {
	cfg Config

	mu sync.Mutex
	// Guarded by mu.
	version  uint64 // of the last change of this node's members, in whatever channel
	channels map[string]*channel
	live     map[string]*asking // the other nodes that are there
	failed   map[string]bool    // channels whose changes have to be sent again
	retrying bool
	untold   []*Change // what Tell has not taken yet
	telling  bool
	sweeps   int
	closed   bool
}

// channel is what is known of one.
type channel struct {
	own    own
	others map[string]*part // by node
}

// own is the members on this node.
type own struct {
	users   map[string]string // by client
	version uint64            // of the last change
	// sent is the version that the others have been told, 0 if they know nothing; whole:
	// they have to be told all members, because they may have missed something.
	sent    uint64
	whole   bool
	sending bool
	changes []changed // since sent, those under way left out
}

const (
	// retryAfter is when what has failed is tried again.
	retryAfter = time.Second
	// tellAfter is when Tell is tried again.
	tellAfter = 5 * time.Millisecond
	// changesMax is from how many changes on all members are sent instead, and noticeMax is
	// how many these are at most: if there are more, the others have to ask.
	changesMax, noticeMax = 1000, 2000
	// membersMax is how many members of a channel a node tells others of at most.
	membersMax = 20_000
)

// New makes a Roster.
func New(cfg Config) *Roster {
	return &Roster{cfg: cfg, channels: map[string]*channel{}, live: map[string]*asking{}, failed: map[string]bool{}}
}

// Changed notes a join or a leave on this node, and sends it to the others. A leave is noted
// for each join that was noted, whatever the size of the channel by then.
func (r *Roster) Changed(c Change) {
	r.mu.Lock()
	ch := r.channel(c.Channel)
	o := &ch.own
	if _, known := o.users[c.Client]; known != c.Left || !c.Left && len(o.users) == membersMax {
		r.mu.Unlock()
		return
	}
	r.version++
	o.version = r.version
	if c.Left {
		delete(o.users, c.Client)
	} else {
		if o.users == nil {
			o.users = map[string]string{}
		}
		o.users[c.Client] = c.User
	}
	o.changes = append(o.changes, changed{newMember(c.Client, c.User), c.Left})
	if len(o.changes) > changesMax {
		o.whole, o.changes = true, nil
	}
	n := o.next(r.cfg.Node)
	r.mu.Unlock()
	r.send(c.Channel, n)
}

// channel returns what is known of a channel, made if need be. With mu held.
func (r *Roster) channel(name string) *channel {
	ch := r.channels[name]
	if ch == nil {
		ch = &channel{}
		r.channels[name] = ch
	}
	return ch
}

// next returns the notice that is due, nil if there is none or one is under way. With mu
// held.
func (o *own) next(node string) *notice {
	if o.sending || o.sent == o.version && !o.whole {
		return nil
	}
	n := &notice{Node: node, From: o.sent, To: o.version, Changes: o.changes}
	if o.whole || o.sent == 0 {
		n.From, n.Changes = 0, nil
		if n.Ask = len(o.users) > noticeMax; !n.Ask {
			n.Members = o.members()
		}
	}
	o.sending, o.whole, o.changes = true, false, nil
	return n
}

// members returns all members, in an order of their own.
func (o *own) members() []member {
	members := make([]member, 0, len(o.users))
	for _, client := range slices.Sorted(maps.Keys(o.users)) {
		members = append(members, newMember(client, o.users[client]))
	}
	return members
}

// send hands a notice to the broker.
func (r *Roster) send(name string, n *notice) {
	if n != nil {
		r.cfg.Publish(name, encode(n), func(err error) { r.sent(name, n.To, err) })
	}
}

// sent takes the result, and goes on with what came meanwhile.
func (r *Roster) sent(name string, to uint64, err error) {
	r.mu.Lock()
	ch := r.channels[name]
	if ch == nil {
		r.mu.Unlock()
		return
	}
	o := &ch.own
	o.sending = false
	if err != nil {
		o.whole = true
		r.failed[name] = true
		r.retry()
		r.mu.Unlock()
		return
	}
	o.sent = to
	if len(o.users) == 0 && o.version == to {
		o.sent, o.version = 0, 0 // as if there had never been a member
	}
	n := o.next(r.cfg.Node)
	r.mu.Unlock()
	r.send(name, n)
}

// retry sends soon what has failed. With mu held.
func (r *Roster) retry() {
	if r.retrying || r.closed {
		return
	}
	r.retrying = true
	r.cfg.After(retryAfter, func() {
		r.mu.Lock()
		r.retrying = false
		if r.closed {
			r.mu.Unlock()
			return
		}
		failed := r.failed
		r.failed = map[string]bool{}
		r.askAll()
		r.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(failed)) {
			r.sendDue(name)
		}
	})
}

// sendDue sends what is due in a channel.
func (r *Roster) sendDue(name string) {
	r.mu.Lock()
	var n *notice
	if ch := r.channels[name]; ch != nil {
		n = ch.own.next(r.cfg.Node)
	}
	r.mu.Unlock()
	r.send(name, n)
}

// settled is after how many sweeps what was sent has arrived, or the broker was interrupted.
const settled = 3

// Sweep forgets what is not needed any more. It is called every second, or less often.
func (r *Roster) Sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweeps++
	for _, ch := range r.channels {
		for _, p := range ch.others {
			if !p.unsent && r.sweeps-p.filled >= settled {
				p.heard = 0
			}
		}
	}
	if len(r.untold) > 0 {
		return // who subscribes soon would be told what is forgotten
	}
	for name, ch := range r.channels {
		o := &ch.own
		if len(o.users) == 0 && !o.sending && o.version == o.sent && !o.whole && !r.cfg.Receives(name) {
			delete(r.channels, name)
		}
	}
}

// Answer answers what another node asks.
func (r *Roster) Answer(b []byte) []byte {
	var q question
	if json.Unmarshal(b, &q) != nil || len(q.Channels) != len(q.Versions) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := answer{Version: r.version}
	size := 0
	for i, name := range q.Channels {
		ch := r.channels[name]
		switch {
		case ch == nil || len(ch.own.users) == 0:
			a.Lists = append(a.Lists, nil)
		case ch.own.version == q.Versions[i]:
			a.Lists = append(a.Lists, &list{Version: ch.own.version, Same: true})
		default:
			a.Lists = append(a.Lists, &list{Version: ch.own.version, Members: ch.own.members(), Unsent: ch.own.sent != ch.own.version || ch.own.whole})
		}
		if ch != nil {
			size += len(ch.own.users)
		}
		if size > answerMaxMembers {
			break
		}
	}
	return encode(a)
}

// Close ends what happens by itself.
func (r *Roster) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.untold = true, nil
}
