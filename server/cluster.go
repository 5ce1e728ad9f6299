package server

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/nodes"
	"github.com/roostws/roost/server/internal/roster"
	"github.com/roostws/roost/server/protocol"
)

// cluster is what a server with a broker does together with the others: the members of
// channels, who joins and leaves, and counts for receipts. Any goroutine.
type cluster struct {
	s      *Server
	nodes  *nodes.Nodes
	roster *roster.Roster
	counts counts
}

// Kinds of messages between nodes.
const (
	kindRoster   nodes.Kind = "roster"   // roster.Roster.Answer
	kindPresence nodes.Kind = "presence" // presenceQuestion, presencePart
	kindCounts   nodes.Kind = "counts"   // see counts
	kindAttached nodes.Kind = "attached" // the name of a channel; "1" if it is attached
)

// sweepInterval is how often what nodes remember of each other is looked through.
const sweepInterval = time.Second

// newCluster makes that of a server whose broker and nodes are there.
func newCluster(s *Server) *cluster {
	c := &cluster{s: s, nodes: s.nodes}
	c.counts.init(c)
	c.roster = roster.New(roster.Config{
		Node:     c.nodes.ID(),
		Covers:   func(channel string) bool { return s.joinLeave(channel) != nil },
		Receives: func(channel string) bool { return s.parts.Load().hub.Receives(channel) },
		Publish: func(channel string, b []byte, done func(error)) {
			if running := s.parts.Load(); running != nil {
				running.hub.Notice(channel, b, done)
			} else {
				done(errNotStarted)
			}
		},
		Ask: func(node string, question []byte, done func([]byte, bool)) {
			go func() {
				answers, _ := c.nodes.Ask(s.ctx, []string{node}, kindRoster, question)
				b, ok := answers[node]
				done(b, ok)
			}()
		},
		Tell: func(m *roster.Change) error {
			user, info := uncarried(m.User)
			return s.announce(&protocol.Membership{Channel: m.Channel, Client: m.Client, User: user, Info: info, Left: m.Left})
		},
		After: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
	})
	c.nodes.Handle(kindRoster, func(_ string, question []byte) []byte { return c.roster.Answer(question) })
	c.nodes.Handle(kindPresence, func(_ string, question []byte) []byte { return c.presenceHere(question) })
	c.nodes.Handle(kindCounts, func(_ string, told []byte) []byte { c.counts.take(told); return nil })
	c.nodes.Handle(kindAttached, func(_ string, channel []byte) []byte {
		if s.parts.Load().hub.Receives(string(channel)) {
			return []byte("1")
		}
		return nil
	})
	c.nodes.OnChange(func(node nodes.Info, up bool) {
		if up {
			c.counts.up(node.ID)
			c.roster.Up(node.ID)
		} else {
			c.counts.down(node.ID)
			c.roster.Down(node.ID)
		}
	})
	return c
}

// run sweeps until the server ends.
func (c *cluster) run() {
	t := time.NewTicker(sweepInterval)
	defer t.Stop()
	for {
		select {
		case <-c.s.ctx.Done():
			c.roster.Close()
			return
		case <-t.C:
			c.roster.Sweep()
		}
	}
}

// attached asks how many other nodes have attached a channel, for brokers that do not know
// that. It returns false if one did not answer.
func (c *cluster) attached(ctx context.Context, channel string) (n int, known bool) {
	answers, missing := c.nodes.Ask(ctx, nil, kindAttached, []byte(channel))
	for _, b := range answers {
		n += len(b)
	}
	return n, len(missing) == 0 && c.s.shards.Hub.Broker.Health().Publishing == nil
}

// Notice, Attached, Interrupted and Counted are part of hub.Cluster.
func (c *cluster) Notice(channel string, b []byte) { c.roster.Notice(channel, b) }
func (c *cluster) Attached(channel string)         { c.roster.Attached(channel) }
func (c *cluster) Interrupted()                    { c.roster.Interrupted() }
func (c *cluster) Counted(tag uint64, matched, written int) {
	c.counts.add(tag, matched, written)
}

// joinLeave returns the namespace of a channel whose joins and leaves are told, nil for
// others.
func (s *Server) joinLeave(channel string) *protocol.Namespace {
	if ns := s.rules.Namespaces[protocol.NamespaceOf(channel)]; ns != nil && ns.JoinLeave {
		return ns
	}
	return nil
}

// announce tells the subscribers on this server of a join or a leave.
func (s *Server) announce(m *protocol.Membership) error {
	if r := s.rules.Registrar(m.Channel); r != nil {
		return r.Changed(m, func(told *protocol.Membership) error { return s.tellMembers(told, 0) })
	}
	most := 0
	if ns := s.joinLeave(m.Channel); ns != nil {
		most = ns.JoinLeaveMax
	}
	return s.tellMembers(m, most)
}

// tellMembers hands the news of a join or a leave to the subscribers on this server, where
// these are at most so many; 0: wherever.
func (s *Server) tellMembers(m *protocol.Membership, most int) error {
	notice := hub.NewNotice(m)
	if notice.SubscribersMax = most; m.Others && m.ID != 0 {
		notice.Except = &hub.Except{Clients: []netpoll.ID{m.ID}}
	}
	_, err := s.parts.Load().hub.Channel(m.Channel, notice, nil)
	return err
}

// The roster carries one text for each member. What a Registrar shows of one goes with it
// behind a zero byte, with which no user's ID begins.

// carried returns a user, and what a Registrar shows of it, as one text.
func carried(user string, info []byte) string {
	if len(info) == 0 {
		return user
	}
	b := append(jsonx.AppendText([]byte("\x00["), user), ',')
	return string(append(append(b, info...), ']'))
}

// uncarried reads it.
func uncarried(text string) (user string, info []byte) {
	list, ok := strings.CutPrefix(text, "\x00")
	if !ok {
		return text, nil
	}
	var both [2]json.RawMessage
	if json.Unmarshal([]byte(list), &both) != nil || json.Unmarshal(both[0], &user) != nil {
		return "", nil
	}
	return user, both[1]
}

// presence is Server.Presence.
func (c *cluster) presence(ctx context.Context, channel, after string, limit int) (protocol.ChannelMembers, error) {
	question, err := json.Marshal(presenceQuestion{channel, after, limit})
	if err != nil {
		return protocol.ChannelMembers{}, err
	}
	others := make(chan map[string][]byte, 1)
	missing := false
	go func() {
		answers, m := c.nodes.Ask(ctx, nil, kindPresence, question)
		missing = len(m) > 0
		others <- answers
	}()
	all, err := c.s.presence(ctx, channel, after, limit)
	if err != nil {
		return all, err
	}
	answers := <-others // Ask ends with ctx
	all.Incomplete = missing || c.s.shards.Hub.Broker.Health().Receiving != nil
	for node, b := range answers {
		var part presencePart
		if json.Unmarshal(b, &part) != nil || !c.show(channel, node, &part, &all) {
			all.Incomplete = true
		}
	}
	slices.SortFunc(all.Members, compareMembers)
	all.Truncated = all.Truncated || len(all.Members) > limit || limit == 0 && all.Clients > 0
	all.Members = slices.Clip(all.Members[:min(len(all.Members), limit)])
	return all, nil
}

// show adds the members on another node, and reports whether they may be shown.
func (c *cluster) show(channel, node string, part *presencePart, all *protocol.ChannelMembers) bool {
	left := 0
	each := func(show func(client, user string) bool) {
		for _, m := range part.Members {
			if !m.Told || show(m.Client, carried(m.User, m.Info)) {
				all.Members = append(all.Members, m.Member)
			} else {
				left++
			}
		}
	}
	if c.s.joinLeave(channel) == nil {
		each(func(string, string) bool { return true }) // the other node tells, this one does not
	} else if !c.roster.Seen(channel, node, part.Version, each) {
		return false
	}
	all.Clients += max(part.Clients-left, 0)
	all.Truncated = all.Truncated || part.Truncated
	return true
}

// presenceQuestion asks for the members of a channel.
type presenceQuestion struct {
	Channel string `json:"channel"`
	After   string `json:"after,omitempty"`
	Limit   int    `json:"limit"`
}

// presencePart is what one node has to say. Version is the roster's.
type presencePart struct {
	Clients   int            `json:"clients"`
	Members   []presenceLine `json:"members,omitempty"`
	Truncated bool           `json:"truncated,omitempty"`
	Version   uint64         `json:"version,omitempty"`
}

// A presenceLine is a member. Told: the roster has it.
type presenceLine struct {
	protocol.Member
	Told bool `json:",omitempty"`
}

// presenceHere answers another node.
func (c *cluster) presenceHere(question []byte) []byte {
	var q presenceQuestion
	if json.Unmarshal(question, &q) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.s.ctx, nodes.AskTimeout)
	defer cancel()
	found, err := c.s.presence(ctx, q.Channel, q.After, q.Limit)
	if err != nil {
		return nil
	}
	part := presencePart{Clients: found.Clients, Truncated: found.Truncated, Members: make([]presenceLine, 0, len(found.Members))}
	for _, m := range found.Members {
		part.Members = append(part.Members, presenceLine{Member: m})
	}
	if c.s.joinLeave(q.Channel) != nil {
		part.Version = c.roster.Version(q.Channel, func(known func(client string) bool) {
			for i := range part.Members {
				part.Members[i].Told = known(part.Members[i].Client)
			}
		})
	}
	b, err := json.Marshal(part)
	if err != nil {
		return nil
	}
	return b
}

// compareMembers orders connections by the numbers in their names, and then by their nodes.
func compareMembers(a, b protocol.Member) int {
	nameA, nodeA, _ := strings.Cut(a.Client, "@")
	nameB, nodeB, _ := strings.Cut(b.Client, "@")
	idA, _ := netpoll.ParseID(nameA)
	idB, _ := netpoll.ParseID(nameB)
	return cmp.Or(cmp.Compare(idA, idB), strings.Compare(nodeA, nodeB))
}
