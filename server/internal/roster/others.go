package roster

import (
	"encoding/json"
	"maps"
	"slices"
)

// A part is the members of a channel on one other node.
type part struct {
	version uint64
	users   map[string]string // by client
	// unknown: the node has not said yet who its members are. What is told meanwhile is
	// handed on as it comes.
	unknown bool
	// quiet: the subscribers of this node came when the members were there already, and
	// have found them by presence: they are not told of the first list. What has changed
	// since they came they are told, though the list has it: until heard is 0, notices that
	// begin before that version are news, too. It is 0 when such notices have come, or can come no more.
	quiet bool
	heard uint64
	// unsent: some of what the list has was not sent yet. filled is when it came, in sweeps.
	unsent bool
	filled int
	// retell: notices that were news may be lost. Who is there is told again.
	retell bool
	// seen are members that subscribers may know of by presence, which was faster: if they
	// turn out to have left, that is told. This is so when the version is seenAt.
	seen   map[string]string
	seenAt uint64
}

// Notice takes what another node has told of a channel.
func (r *Roster) Notice(name string, b []byte) {
	var n notice
	if json.Unmarshal(b, &n) != nil || n.Node == r.cfg.Node || !r.cfg.Covers(name) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A node that is not there has gone for good, or is asked for all when it has come.
	if ch := r.channels[name]; ch != nil && r.live[n.Node] != nil {
		r.take(name, ch.part(n.Node), &n)
	}
}

// part returns the part of a node, made if need be. With mu held.
func (ch *channel) part(node string) *part {
	p := ch.others[node]
	if p == nil {
		if ch.others == nil {
			ch.others = map[string]*part{}
		}
		p = &part{unknown: true}
		ch.others[node] = p
	}
	return p
}

// take takes a notice of a node that is there. With mu held.
func (r *Roster) take(name string, p *part, n *notice) {
	switch {
	case n.To <= p.version && n.From < p.heard:
		// News only for those who were not told of the list that has it.
		r.hint(name, p, n)
	case n.To <= p.version:
	case n.Ask:
		r.ask(n.Node, name)
	case n.From == 0:
		p.quiet, p.retell, p.heard = false, p.retell || p.heard > 0, 0 // something in it is new
		r.replace(name, p, n.To, n.Members)
		if len(p.seen) > 0 {
			r.ask(n.Node, name)
		}
	case p.unknown:
		p.version = n.To // what it answers must not be older
		r.hint(name, p, n)
		r.ask(n.Node, name)
	case n.From > p.version:
		r.ask(n.Node, name)
	default:
		told := n.From < p.heard
		if !told {
			p.heard = 0
		}
		for _, c := range n.Changes {
			if client, user, ok := c.Member.get(); ok && (p.change(client, user, c.Left) || told) {
				r.tell(&Change{name, client, user, c.Left})
			}
		}
		p.version = n.To
	}
}

// change changes a list, and reports whether that was a change.
func (p *part) change(client, user string, left bool) bool {
	_, known := p.users[client]
	_, seen := p.seen[client]
	delete(p.seen, client)
	if left {
		delete(p.users, client)
		return known || seen
	}
	if known {
		return false
	}
	if p.users == nil {
		p.users = map[string]string{}
	}
	p.users[client] = user
	return true
}

// replace takes a whole list, and tells what is new in it.
func (r *Roster) replace(name string, p *part, version uint64, members []member) {
	users := make(map[string]string, len(members))
	for _, m := range members {
		if client, user, ok := m.get(); ok {
			users[client] = user
		}
	}
	old, quiet, retell := p.users, p.quiet, p.retell
	p.version, p.users, p.unknown, p.quiet, p.retell = version, users, false, false, false
	r.resolve(name, p)
	if quiet || p.heard > 0 {
		p.heard, p.filled = version, r.sweeps
	}
	if quiet {
		return
	}
	r.tellAll(name, old, users, true)
	if retell {
		old = nil
	}
	r.tellAll(name, users, old, false)
}

// resolve tells who of those that were seen have left, according to a list that has just
// come.
func (r *Roster) resolve(name string, p *part) {
	if p.version >= p.seenAt {
		r.tellAll(name, p.seen, p.users, true)
		p.seen, p.seenAt = nil, 0
	}
}

// Version is what Seen is to be given with the members that this node has now, or had a
// moment ago. known reports whether the others are told of one of them.
func (r *Roster) Version(name string, each func(known func(client string) bool)) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.channels[name]
	each(func(client string) bool {
		if ch == nil {
			return false
		}
		_, known := ch.own.users[client]
		return known
	})
	if ch != nil && len(ch.own.users) > 0 {
		return ch.own.version
	}
	return r.version
}

// Seen notes that subscribers are about to learn of members on another node, by presence.
// each calls its argument with each of them, which returns false for those that have left
// meanwhile: they must not be shown, because that may have been told already. Seen reports
// whether the node is there: if not, none of its members must be shown, because nobody would
// tell that they leave.
func (r *Roster) Seen(name, node string, version uint64, each func(f func(client, user string) bool)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[node] == nil {
		return false
	}
	ch := r.channels[name]
	if ch == nil {
		return true // it is for somebody who is not in the channel
	}
	p := ch.part(node)
	if p.version >= version && !p.unknown {
		each(func(client, _ string) bool {
			_, known := p.users[client]
			return known
		})
		return true
	}
	p.seenAt = max(p.seenAt, version)
	each(func(client, user string) bool {
		p.see(client, user)
		return true
	})
	return true
}

// tellAll tells the change of those that are in one list and not in the other.
func (r *Roster) tellAll(name string, in, not map[string]string, left bool) {
	for _, client := range slices.Sorted(maps.Keys(in)) {
		if _, there := not[client]; !there {
			r.tell(&Change{name, client, in[client], left})
		}
	}
}

// hint tells what a notice says, without taking it for the list. Those who have joined are
// seen by that.
func (r *Roster) hint(name string, p *part, n *notice) {
	changes := n.Changes
	if n.From == 0 && !n.Ask {
		seen := p.seen
		p.seen = nil
		for _, m := range n.Members {
			if client, _, ok := m.get(); ok {
				delete(seen, client)
				changes = append(changes, changed{Member: m})
			}
		}
		r.tellAll(name, seen, nil, true)
	}
	for _, c := range changes {
		client, user, ok := c.Member.get()
		if !ok {
			continue
		}
		if c.Left {
			delete(p.seen, client)
		} else {
			p.see(client, user)
		}
		r.tell(&Change{name, client, user, c.Left})
	}
}

// see notes that subscribers may know of a member.
func (p *part) see(client, user string) {
	if _, known := p.users[client]; !known {
		if p.seen == nil {
			p.seen = map[string]string{}
		}
		p.seen[client] = user
	}
}

// tell tells the subscribers of this node, behind what waits for that. With mu held.
func (r *Roster) tell(c *Change) {
	if len(r.untold) == 0 && r.cfg.Tell(c) == nil {
		return
	}
	if len(r.untold) < untoldMax {
		r.untold = append(r.untold, c)
	}
	r.tellLater()
}

// untoldMax bounds what waits to be told, at some 200 bytes each: beyond it, hints are left
// out, as they are where the loops are busy.
const untoldMax = 1 << 18

// tellLater goes on when the loops may have room. With mu held.
func (r *Roster) tellLater() {
	if r.telling || r.closed {
		return
	}
	r.telling = true
	r.cfg.After(tellAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.telling = false
		for n := 1; len(r.untold) > 0; n++ {
			if r.cfg.Tell(r.untold[0]) != nil {
				r.tellLater()
				return
			}
			r.untold = r.untold[1:]
			if n%256 == 0 {
				r.mu.Unlock() // loops may wait for it
				r.mu.Lock()
			}
		}
		r.untold = nil
	})
}

// Attached notes that from now on what other nodes tell of a channel arrives, and asks them
// for what this node does not know.
func (r *Roster) Attached(name string) {
	if !r.cfg.Covers(name) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.channel(name)
	for _, node := range slices.Sorted(maps.Keys(r.live)) {
		if p := ch.others[node]; p == nil {
			ch.part(node).quiet = true
		}
		r.ask(node, name)
	}
	if ch.own.whole {
		r.failed[name] = true
		r.retry()
	}
}

// Interrupted notes that changes may be missing until channels are attached again.
func (r *Roster) Interrupted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ch := range r.channels {
		for _, p := range ch.others {
			p.retell = p.retell || p.heard > 0 // better told twice than not at all
			p.quiet, p.heard = false, 0
		}
	}
}

// Up notes that a node has come.
func (r *Roster) Up(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live[node] != nil {
		return
	}
	r.live[node] = &asking{due: map[string]bool{}}
	a := r.live[node]
	for name, ch := range r.channels {
		ch.part(node)
		a.due[name] = true
	}
	r.askNext(node, a)
}

// Down notes that a node has gone: its members have left.
func (r *Roster) Down(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, node)
	for _, name := range slices.Sorted(maps.Keys(r.channels)) {
		if ch := r.channels[name]; ch != nil && ch.others[node] != nil {
			p := ch.others[node]
			delete(ch.others, node)
			r.tellAll(name, p.users, nil, true)
			r.tellAll(name, p.seen, p.users, true)
		}
		r.mu.Unlock() // loops may wait for it
		r.mu.Lock()
	}
}
