package server

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/nodes"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Lists of connections and channels, of this server and of all on its broker.

// A ChannelInfo is a channel with subscribers.
type ChannelInfo struct {
	Name    string `json:"name"`
	Clients int    `json:"clients"`
}

// A ConnectionInfo is one connection of a user.
type ConnectionInfo struct {
	Client     string         `json:"client"`
	User       string         `json:"user,omitempty"`
	RemoteAddr netip.AddrPort `json:"remote_addr"`
	// Node is the name of its server, or the ID; empty without Config.Broker.
	Node string `json:"node,omitempty"`
	// Subprotocol is the agreed one, empty if none.
	Subprotocol string `json:"subprotocol,omitempty"`
	// Protocol is the protocol's name: "socketio", or the subprotocol; empty for raw messages.
	Protocol string `json:"protocol,omitempty"`
	// Age is how long it has been open.
	Age time.Duration `json:"age"`
	// Channels are its subscriptions.
	Channels []string `json:"channels,omitempty"`
	// LagMessages is how many published messages it has still to read, as far as
	// that is known, and PendingBytes is what waits for this connection alone.
	LagMessages  uint64 `json:"lag_messages,omitempty"`
	PendingBytes int    `json:"pending_bytes,omitempty"`
}

// A listQuestion asks another server for a part of a list.
type listQuestion struct {
	User   string `json:"user,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	After  string `json:"after,omitempty"`
	Limit  int    `json:"limit"`
	// Of the largest channels: none with fewer clients, and the number of those in some
	// channels whatever it is.
	AtLeast int      `json:"at_least,omitempty"`
	Names   []string `json:"names,omitempty"`
}

// A part is a part of a list.
type part[T any] struct {
	List []T  `json:"list"`
	More bool `json:"more,omitempty"`
}

// partMaxBytes bounds a part on its way to another server: the rest is for the next page.
const partMaxBytes = nodes.BodyMaxBytes / 2

// cut returns the first of a list, and whether there are more.
func cut[T any](list []T, limit int) part[T] {
	if len(list) > limit {
		return part[T]{slices.Clip(list[:limit]), true}
	}
	return part[T]{list, false}
}

// fit shortens a part until it can be sent.
func fit[T any](p part[T]) part[T] {
	for len(p.List) > 1 && len(encode(p.List)) > partMaxBytes {
		p = part[T]{p.List[:len(p.List)/2], true}
	}
	return p
}

// Channels returns up to limit channels with subscribers whose names begin with
// prefix and come after the name after, in the order of their names, and whether there
// are more. It looks at all channels that exist, with Config.Broker on all servers: if
// some of these have not answered, the error is an *IncompleteError beside the rest.
func (s *Server) Channels(ctx context.Context, prefix, after string, limit int) (infos []ChannelInfo, more bool, err error) {
	q := &listQuestion{Prefix: prefix, After: after, Limit: limit}
	own, others, err := everywhere(ctx, s, kindChannels, q, func() (part[ChannelInfo], error) { return s.channels(ctx, q) })
	if others == nil {
		return own.List, own.More, err
	}
	parts := slices.Collect(maps.Values(others))
	parts = append(parts, own)
	// What comes after the end of a part that has more cannot be counted.
	end, more := "", false
	for _, p := range parts {
		if !p.More {
			continue
		}
		if n := len(p.List); n > 0 && (!more || p.List[n-1].Name < end) {
			end = p.List[n-1].Name
		}
		more = true
	}
	all := sum(parts)
	if more {
		maps.DeleteFunc(all, func(name string, _ int) bool { return name > end })
	}
	list := cut(sorted(all, byName), limit)
	return list.List, list.More || more, err
}

func (s *Server) answerChannels(ctx context.Context, q *listQuestion) (part[ChannelInfo], error) {
	p, err := s.channels(ctx, q)
	return fit(p), err
}

// channels is Channels for this server.
func (s *Server) channels(ctx context.Context, q *listQuestion) (part[ChannelInfo], error) {
	clients, err := s.clients(ctx, func(name string) bool { return strings.HasPrefix(name, q.Prefix) && name > q.After })
	return cut(sorted(clients, byName), q.Limit), err
}

// clients returns how many connections are in this server's channels.
func (s *Server) clients(ctx context.Context, wanted func(name string) bool) (map[string]int, error) {
	clients := map[string]int{}
	err := askLoops(ctx, s, func(sh *shard.Shard) (found []ChannelInfo) {
		sh.AllChannels(func(name string, n int) {
			if wanted(name) {
				found = append(found, ChannelInfo{name, n})
			}
		})
		return found
	}, func(found []ChannelInfo) bool {
		for _, c := range found {
			clients[c.Name] += c.Clients
		}
		return true
	})
	return clients, err
}

func byName(a, b ChannelInfo) int { return strings.Compare(a.Name, b.Name) }

func bySize(a, b ChannelInfo) int {
	return cmp.Or(cmp.Compare(b.Clients, a.Clients), strings.Compare(a.Name, b.Name))
}

func sorted(clients map[string]int, order func(a, b ChannelInfo) int) []ChannelInfo {
	var list []ChannelInfo
	for name, n := range clients {
		list = append(list, ChannelInfo{name, n})
	}
	slices.SortFunc(list, order)
	return list
}

// sum adds up the connections of each channel.
func sum(parts []part[ChannelInfo]) map[string]int {
	all := map[string]int{}
	for _, p := range parts {
		for _, c := range p.List {
			all[c.Name] += c.Clients
		}
	}
	return all
}

// candidatesMax is how many channels a server names in the second round of LargestChannels.
// Where more are so large, and about as large, the last ones of the list may not be those
// with the most.
const candidatesMax = 10_000

// LargestChannels is Channels in another order: those with the most subscribers come
// first.
//
// Over several servers a channel may be among the largest together, and among those of no
// single one. So a first round finds how large the last one of the list is at least; one
// that is larger has its share of that on some server, where the second round finds it; and
// a third round counts these everywhere.
func (s *Server) LargestChannels(ctx context.Context, prefix string, limit int) (infos []ChannelInfo, more bool, err error) {
	round := func(q *listQuestion) ([]part[ChannelInfo], error) {
		q.Prefix = prefix
		own, others, e := everywhere(ctx, s, kindLargest, q, func() (part[ChannelInfo], error) { return s.largest(ctx, q) })
		if e != nil {
			err = e
		}
		return append(slices.Collect(maps.Values(others)), own), e
	}
	parts, _ := round(&listQuestion{Limit: limit})
	list := cut(sorted(sum(parts), bySize), limit)
	more = list.More || slices.ContainsFunc(parts, func(p part[ChannelInfo]) bool { return p.More })
	if len(parts) == 1 || !more || limit == 0 {
		return list.List, more, err
	}
	share := list.List[len(list.List)-1].Clients / len(parts)
	if len(list.List) < limit {
		share = 0
	}
	parts, _ = round(&listQuestion{Limit: candidatesMax, AtLeast: max(share, 1)})
	names := slices.Sorted(maps.Keys(sum(append(parts, list))))
	parts, _ = round(&listQuestion{Names: names})
	list = cut(sorted(sum(parts), bySize), limit)
	return list.List, more, err
}

func (s *Server) answerLargest(ctx context.Context, q *listQuestion) (part[ChannelInfo], error) {
	p, err := s.largest(ctx, q)
	return fit(p), err
}

// largest is LargestChannels for this server, or how many are in some channels.
func (s *Server) largest(ctx context.Context, q *listQuestion) (part[ChannelInfo], error) {
	if len(q.Names) > 0 {
		names := map[string]bool{}
		for _, name := range q.Names {
			names[name] = true
		}
		clients, err := s.clients(ctx, func(name string) bool { return names[name] })
		return part[ChannelInfo]{List: sorted(clients, byName)}, err
	}
	clients, err := s.clients(ctx, func(name string) bool { return strings.HasPrefix(name, q.Prefix) })
	maps.DeleteFunc(clients, func(_ string, n int) bool { return n < q.AtLeast })
	return cut(sorted(clients, bySize), q.Limit), err
}

// Connections returns up to limit connections of a user, or of all if user is empty,
// in the order of their servers' IDs and there of their names' numbers, after the connection
// named after, if that is not empty; and whether there are more. With Config.Broker these are
// those of all servers: if some of these have not answered, the error is an *IncompleteError
// beside the rest. It must not be called from callbacks.
func (s *Server) Connections(ctx context.Context, user, after string, limit int) (infos []ConnectionInfo, more bool, err error) {
	if user != "" {
		if err := s.checkName("user", user); err != nil {
			return nil, false, err
		}
	}
	if after != "" {
		id, node, err := s.connOf(after)
		if err != nil {
			return nil, false, err
		}
		if node == "" {
			after = s.nameOf(id) // other servers need it with the node
		}
	}
	q := &listQuestion{User: user, After: after, Limit: limit}
	own, others, err := everywhere(ctx, s, kindConnections, q, func() (part[ConnectionInfo], error) { return s.connections(ctx, q) })
	if others == nil {
		return own.List, own.More, err
	}
	others[s.nodes.ID()] = own
	for _, id := range slices.Sorted(maps.Keys(others)) {
		infos = append(infos, others[id].List...)
		if more = others[id].More; more {
			break
		}
	}
	list := cut(infos, limit)
	return list.List, list.More || more, err
}

func (s *Server) answerConnections(ctx context.Context, q *listQuestion) (part[ConnectionInfo], error) {
	p, err := s.connections(ctx, q)
	return fit(p), err
}

// connections is Connections for this server.
func (s *Server) connections(ctx context.Context, q *listQuestion) (part[ConnectionInfo], error) {
	var from netpoll.ID
	if q.After != "" {
		id, node, err := s.connOf(q.After)
		switch {
		case err != nil:
			return part[ConnectionInfo]{}, err
		case node > s.nodes.ID():
			return part[ConnectionInfo]{}, nil // these were on a page before
		case node == "":
			from = id
		}
	}
	var infos []ConnectionInfo
	err := askLoops(ctx, s, func(sh *shard.Shard) (found []ConnectionInfo) {
		// One more shows that there are more.
		chosen := least{after: from, limit: q.Limit + 1 - len(infos)}
		add := func(id netpoll.ID) bool { return chosen.add(sh.Origin(id)) }
		if q.User != "" {
			sh.UserMembers(q.User, add)
		} else {
			sh.All(add)
		}
		for _, id := range chosen.cut() {
			found = append(found, s.connection(sh, sh.Current(id)))
		}
		return found
	}, func(found []ConnectionInfo) bool {
		infos = append(infos, found...)
		return len(infos) <= q.Limit
	})
	return cut(infos, q.Limit), err
}

func (s *Server) connection(sh *shard.Shard, id netpoll.ID) ConnectionInfo {
	info := ConnectionInfo{Client: s.nameOf(sh.Origin(id)), Node: s.label(), User: sh.User(id), RemoteAddr: sh.RemoteAddr(id), Age: sh.Age(id)}
	if n := sh.Protocol(id); n != 0 {
		codec := s.cfg.Application.Protocols[n-1]
		info.Subprotocol, info.Protocol = codec.Subprotocol(), protocol.NameOf(codec)
	}
	info.LagMessages, info.PendingBytes = sh.Lag(id)
	sh.Channels(id, func(name string) bool {
		info.Channels = append(info.Channels, name)
		return true
	})
	slices.Sort(info.Channels)
	return info
}
