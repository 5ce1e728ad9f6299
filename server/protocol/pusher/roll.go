package pusher

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// rolls are who is in the presence channels that have subscribers on this server: users,
// with their connections on all servers.
type rolls struct {
	mu sync.Mutex
	// Guarded by mu.
	byChannel map[string]*roll
}

// A roll is one channel's.
type roll struct {
	clients map[string]string // user by connection
	users   map[string]*present
	local   int // connections of this server
	// whole: the servers were asked who was there before. Later changes come by themselves.
	whole bool
}

// A present is a user who is there.
type present struct {
	connections int
	info        json.RawMessage
}

func (r *roll) add(client, user string, info []byte) (first bool) {
	r.clients[client] = user
	u := r.users[user]
	if u == nil {
		u = &present{info: info}
		r.users[user] = u
	}
	u.connections++
	return u.connections == 1
}

func (r *roll) remove(client string) (user string, last bool) {
	user = r.clients[client]
	delete(r.clients, client)
	u := r.users[user]
	u.connections--
	if u.connections == 0 {
		delete(r.users, user)
	}
	return user, u.connections == 0
}

// Registers reports whether a channel is a presence channel of an app.
func (p *Server) Registers(channel string) bool {
	_, name, ok := p.channelOf(channel)
	return ok && isPresence(name)
}

// Member returns who a connection is in a presence channel.
func (p *Server) Member(s *shard.Shard, id netpoll.ID, channel string) (user string, info []byte, ok bool) {
	c := p.loop(s).conns[id]
	if c.rest == nil {
		return "", nil, false
	}
	m, ok := c.rest.members[channel]
	return m.user, m.info, ok
}

// Changed notes that a connection, of whatever server, has joined a presence channel, or
// left it, and has the subscribers of this server told of users who come or go with it. The
// lock is held meanwhile, so that they learn it in the order in which it is noted here.
func (p *Server) Changed(m *protocol.Membership, tell func(*protocol.Membership) error) error {
	p.rolls.mu.Lock()
	defer p.rolls.mu.Unlock()
	r := p.rolls.byChannel[m.Channel]
	if r == nil {
		if m.ID == 0 || m.Left {
			return nil // nobody here wants to know
		}
		r = &roll{clients: map[string]string{}, users: map[string]*present{}}
		p.rolls.byChannel[m.Channel] = r
	}
	_, known := r.clients[m.Client]
	if m.User == "" && !m.Left || known != m.Left {
		return nil
	}
	told := *m
	told.Others = true
	changed := false
	if m.Left {
		u := r.users[r.clients[m.Client]]
		told.User, changed = r.remove(m.Client)
		told.Info = u.info
	} else {
		changed = r.add(m.Client, m.User, m.Info)
	}
	if m.ID != 0 {
		if m.Left {
			r.local--
		} else {
			r.local++
		}
	}
	if r.local == 0 {
		delete(p.rolls.byChannel, m.Channel)
	}
	if !changed {
		return nil
	}
	err := tell(&told)
	switch {
	case m.ID != 0:
		p.hookMember(&told)
	case err != nil && m.Left: // it is told again soon
		r.add(m.Client, told.User, told.Info)
	case err != nil:
		r.remove(m.Client)
	}
	return err
}

// full reports whether a channel has no room for a user.
func (x *rolls) full(channel, user string, most int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.byChannel[channel]
	return r != nil && r.users[user] == nil && len(r.users) >= most
}

// alone reports whether a user is in a channel by one connection.
func (x *rolls) alone(channel, user string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.byChannel[channel]
	return r != nil && r.users[user] != nil && r.users[user].connections == 1
}

// list returns the users in a channel as the protocol has them, and how many these are.
// others are what the servers have said: if that was not known before, it is from now on.
func (x *rolls) list(channel string, others []protocol.Member) (data []byte, count int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	users := map[string]json.RawMessage{}
	if r := x.byChannel[channel]; r != nil {
		for _, m := range others {
			if _, known := r.clients[m.Client]; known || m.User == "" {
				continue
			}
			if !r.whole {
				r.add(m.Client, m.User, m.Info)
			} else {
				users[m.User] = m.Info // its join is on its way
			}
		}
		r.whole = r.whole || others != nil
		for user, u := range r.users {
			users[user] = u.info
		}
	}
	ids := make([]string, 0, len(users))
	for user := range users {
		ids = append(ids, user)
	}
	slices.Sort(ids)
	list, hash := []byte(`{"presence":{"ids":[`), []byte(`],"hash":{`)
	for i, user := range ids {
		if i > 0 {
			list, hash = append(list, ','), append(hash, ',')
		}
		list = jsonx.AppendText(list, user)
		hash = append(jsonx.AppendText(hash, user), ':')
		if info := users[user]; len(info) > 0 {
			hash = append(hash, info...)
		} else {
			hash = append(hash, "null"...)
		}
	}
	data = append(append(list, hash...), `},"count":`...)
	return append(appendInt(data, len(ids)), "}}"...), len(ids)
}
