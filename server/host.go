package server

import (
	"context"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/roster"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// newRules returns what the loops' sessions have in common.
func (s *Server) newRules() *protocol.Rules {
	r := &protocol.Rules{
		Host: host{s}, Codecs: s.cfg.protocols(), Application: s.cfg.Application, Events: s.cfg.Events, Logger: s.cfg.Logger,
		Namespaces: map[string]*protocol.Namespace{}, NameMaxBytes: s.cfg.Limits.ChannelNameMaxBytes, MessageMaxBytes: s.cfg.Limits.MessageMaxBytes, DataMaxDepth: s.cfg.Limits.DataMaxDepth,
		SubscriptionsMax: s.cfg.Limits.SubscriptionsMax, PingInterval: max(s.cfg.Timeouts.PingInterval, 0), PongTimeout: s.cfg.Timeouts.PongTimeout, Timeout: s.cfg.Timeouts.HandshakeTimeout,
	}
	for _, ns := range s.cfg.Namespaces {
		r.Namespaces[ns.Name] = &protocol.Namespace{
			Subscribe: ns.Subscribe, Publish: ns.Publish, History: ns.HistoryMessages > 0, HistoryAge: ns.HistoryAge, Presence: ns.Presence,
			JoinLeave: ns.JoinLeave, JoinLeaveMax: ns.JoinLeaveMax,
		}
		r.JoinLeave = r.JoinLeave || ns.JoinLeave
	}
	return r
}

// host is the server as the sessions of its protocols see it.
type host struct{ s *Server }

func (h host) Publish(channel, from, key string, t frame.Opcode, data []byte) (history.Position, error) {
	p := Publication{Channel: channel, Type: t, Payload: data, Key: key, From: from}
	if err := h.s.checkPublication(&p); err != nil {
		return history.Position{}, err
	}
	return h.s.put(&p, nil)
}

func (h host) PublishExcept(channel string, t frame.Opcode, data []byte, except *hub.Except) error {
	p := Publication{Channel: channel, Type: t, Payload: data, except: except}
	if err := h.s.checkPublication(&p); err != nil {
		return err
	}
	if h.s.cfg.Broker != nil {
		_, err := h.s.beginRemote(NoWait, &p)()
		return err
	}
	_, err := h.s.put(&p, nil)
	return err
}

func (h host) BeginExcept(ctx context.Context, channel string, t frame.Opcode, data []byte, except *hub.Except) func() error {
	if except != nil && except.Node == h.Node() {
		except.Node = 0
	}
	if except != nil && except.Node != 0 && h.s.cfg.Broker == nil {
		except = nil // connections of a server that is gone
	}
	p := Publication{Channel: channel, Type: t, Payload: data, except: except}
	if h.s.cfg.Broker == nil {
		err := h.s.checkPublication(&p)
		if err == nil {
			_, err = h.s.put(&p, nil)
		}
		return func() error { return err }
	}
	result := h.s.BeginPublish(ctx, p)
	return func() error {
		_, err := result()
		return err
	}
}

func (h host) Node() uint32 { return nodeNumber(h.s.nodes.ID()) }

func (h host) Presence(ctx context.Context, channel string, limit int) (protocol.ChannelMembers, error) {
	return h.s.Presence(ctx, channel, "", limit)
}

func (h host) Remote() bool { return h.s.cfg.Broker != nil }

func (h host) PublishLater(channel, from, key string, t frame.Opcode, data []byte, done func(history.Position, error)) {
	p := Publication{Channel: channel, Type: t, Payload: data, Key: key, From: from}
	if err := h.s.checkPublication(&p); err != nil {
		done(history.Position{}, err)
		return
	}
	h.s.putLater(h.s.publication(&p), nil, func(placed broker.Placed, err error) { done(placed.Position, err) })
}

func (h host) Want(channel string, since *history.Position, done func()) (forgo func()) {
	return h.s.parts.Load().hub.Want(channel, since, done)
}

// History is about a channel that the client is in: nothing has to be waited for.
func (h host) History(channel string, q history.Query) (history.Page, error) {
	return h.s.parts.Load().hub.Query(channel, q), nil
}

func (h host) Announce(m *protocol.Membership, here bool) {
	if here {
		if err := h.s.announce(m); err != nil {
			h.s.cfg.Logger.Debug("a join or leave was not announced", "channel", m.Channel, "err", err)
		}
	}
	if c := h.s.cluster; c != nil {
		c.roster.Changed(roster.Change{Channel: m.Channel, Client: m.Client, User: carried(m.User, m.Info), Left: m.Left})
	}
}

func (h host) Name(id netpoll.ID) string { return h.s.nameOf(id) }
func (h host) Context() context.Context  { return h.s.ctx }
func (h host) Work(job func()) bool      { return h.s.work.Do(job) }

func (h host) Panicked(in string, id netpoll.ID, value any) { h.s.panicked(in, id, value) }

// shardProtocol returns what the shards know of a protocol.
func shardProtocol(c protocol.Codec) shard.Protocol {
	beat := c.Heartbeat()
	p := shard.Protocol{Ask: beat.Ask, Answer: beat.Answer, Paced: beat.Paced}
	if r, ok := c.(protocol.Registrar); ok {
		p.Stopping, p.Silent = r.Stopping(), r.Silent()
	}
	p.Encode = func(m *hub.Message) *frame.Prepared {
		return protocol.Prepare(func(out *protocol.Packets) {
			switch news := m.Notice.(type) {
			case *protocol.Membership:
				c.Membership(out, news)
				return
			case hub.Reset:
				c.Reset(out, m.Channel, history.Position{Epoch: m.Epoch, Offset: m.Offset})
				return
			}
			pub := protocol.Message{
				Channel: m.Channel, Offset: m.Offset, Data: m.Payload(), Binary: m.Opcode() == frame.OpBinary, Key: m.Key, From: m.From,
			}
			pub.Place = history.Position{Epoch: m.Epoch, Offset: m.Offset}
			if m.Begins {
				pub.Epoch = m.Epoch
			}
			c.Message(out, &pub)
		})
	}
	return p
}

// A Binder is a codec (Application.Protocols) that serves requests of its own about a
// server: Bind is called by New.
type Binder interface{ Bind(*Server) }
