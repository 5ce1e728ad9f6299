package protocol

import (
	"slices"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
)

// grants are the subscriptions to channels with history that the application has
// made for users, apart from those it makes at each Connect. A connection that
// comes back within the history's age, while the old one may still be thought
// alive, resumes them. Any goroutine.
type grants struct {
	mu sync.Mutex
	// Guarded by mu.
	known map[grantKey]*grant
	ended []endedGrant // the oldest first
}

type grantKey struct{ user, channel string }

type grant struct {
	connections int       // that have the subscription now
	until       time.Time // when it is forgotten, if there are none
}

type endedGrant struct {
	key   grantKey
	until time.Time
}

// grantsMax bounds them: some 200 bytes each. Beyond it a subscription is not
// recoverable.
const grantsMax = 1 << 20

// hold notes that a connection of a user has a subscription.
func (g *grants) hold(user, channel string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(time.Now())
	key := grantKey{user, channel}
	one := g.known[key]
	if one == nil {
		if len(g.known) >= grantsMax {
			return
		}
		if g.known == nil {
			g.known = map[grantKey]*grant{}
		}
		one = &grant{}
		g.known[key] = one
	}
	one.connections++
}

// release notes that a connection does not have it any more; age is for how long it
// can be resumed.
func (g *grants) release(user, channel string, age time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.sweep(now)
	key := grantKey{user, channel}
	one := g.known[key]
	if one == nil {
		return
	}
	if one.connections--; one.connections > 0 {
		return
	}
	if age <= 0 {
		delete(g.known, key)
		return
	}
	one.until = now.Add(age)
	g.ended = append(g.ended, endedGrant{key, one.until})
}

// revoke forgets the subscription of a user, whatever connections have it.
func (g *grants) revoke(user, channel string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.known, grantKey{user, channel})
}

// has reports whether a user may resume a channel.
func (g *grants) has(user, channel string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.known[grantKey{user, channel}]
	return one != nil && (one.connections > 0 || time.Now().Before(one.until))
}

// sweep forgets what can't be resumed any more. With the lock held.
func (g *grants) sweep(now time.Time) {
	for len(g.ended) > 0 && !now.Before(g.ended[0].until) {
		first := g.ended[0]
		if one := g.known[first.key]; one != nil && one.connections <= 0 && one.until.Equal(first.until) {
			delete(g.known, first.key)
		}
		g.ended[0] = endedGrant{}
		g.ended = g.ended[1:]
	}
}

// grant notes that the application has subscribed a connection to a channel.
func (x *Sessions) grant(s *shard.Shard, id netpoll.ID, channel string) {
	ns := x.rules.Namespaces[NamespaceOf(channel)]
	user := s.User(id)
	if ns == nil || !ns.History || user == "" || x.codec(s, id) == nil || x.rules.KeeperOf(s.Protocol(id)) != nil {
		return
	}
	n := x.of(id)
	n.granted = append(n.granted, channel)
	x.rules.grants.hold(user, channel)
}

// ungrant forgets that.
func (x *Sessions) ungrant(s *shard.Shard, id netpoll.ID, n *session, channel string) {
	if i := slices.Index(n.granted, channel); i >= 0 {
		n.granted = slices.Delete(n.granted, i, i+1)
		x.rules.grants.release(s.User(id), channel, 0)
	}
}

// releaseGrants keeps what the application has granted to a connection that ends.
func (x *Sessions) releaseGrants(s *shard.Shard, id netpoll.ID) {
	n := x.byID[id]
	if n == nil {
		return
	}
	for _, channel := range n.granted {
		x.rules.grants.release(s.User(id), channel, x.rules.Namespaces[NamespaceOf(channel)].HistoryAge)
	}
}

// Revoke forgets that a user may resume a subscription that the application has
// made. Any goroutine.
func (r *Rules) Revoke(user, channel string) { r.grants.revoke(user, channel) }

// resumable returns the channels that the client of a Connect resumes although the
// application has not named them this time.
func (t *task) resumable(user string, named []string) (channels []string) {
	for channel := range t.cmd.Resume {
		if user != "" && !slices.Contains(named, channel) && t.x.rules.grants.has(user, channel) {
			channels = append(channels, channel)
		}
	}
	slices.Sort(channels)
	return channels
}
