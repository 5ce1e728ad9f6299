package server

import (
	"cmp"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/nodes"
)

// A NodeInfo is one of the servers on a broker.
type NodeInfo struct {
	// ID is the server's as long as its process lives; names of connections end with it.
	ID string
	// Name and Version are its Config.NodeName and Config.NodeVersion.
	Name, Version string
	// Addrs are the addresses of its listeners.
	Addrs []string
	// Connections is how many it has; of other servers it is some seconds old.
	Connections int
	// Since is when it was made, by its own clock.
	Since time.Time
	// Self reports that it is the one that was asked.
	Self bool
}

// newNodes makes this server one of the nodes on its broker, if it has one.
func (s *Server) newNodes() *nodes.Nodes {
	return nodes.New(s.cfg.Broker, func() nodes.Info {
		info := nodes.Info{Name: s.cfg.NodeName, Version: s.cfg.NodeVersion, Since: s.start.UnixMilli()}
		for _, addr := range s.Addrs() {
			info.Addrs = append(info.Addrs, addr.String())
		}
		if p := s.parts.Load(); p != nil {
			info.Connections = p.group.Connections()
		}
		return info
	})
}

// label is what other servers show as this one's name; empty without a broker.
func (s *Server) label() string {
	if s.cfg.Broker == nil {
		return ""
	}
	return cmp.Or(s.cfg.NodeName, s.nodes.ID())
}

// Nodes returns the servers on Config.Broker that are there, in the order of their names:
// this one, and those that were heard within the last 10 s; while the broker is away, those
// that were there before. Any goroutine.
func (s *Server) Nodes() []NodeInfo {
	var all []NodeInfo
	for _, i := range s.nodes.All() {
		all = append(all, NodeInfo{
			ID: i.ID, Name: i.Name, Version: i.Version, Addrs: i.Addrs, Connections: int(i.Connections), Since: time.UnixMilli(i.Since), Self: i.ID == s.nodes.ID(),
		})
	}
	return all
}

// nameOf returns the name of one of this server's connections.
func (s *Server) nameOf(id netpoll.ID) string {
	if s.cfg.Broker == nil {
		return id.String()
	}
	return id.String() + "@" + s.nodes.ID()
}
