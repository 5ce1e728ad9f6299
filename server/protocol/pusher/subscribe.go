package pusher

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// A refusal is why a client may not subscribe.
type refusal struct {
	kind, text string
	status     int
}

// refuse tells a client that it may not subscribe.
func (p *Server) refuse(s *shard.Shard, id netpoll.ID, channel string, r refusal) {
	data := jsonx.AppendText([]byte(`{"type":`), r.kind)
	data = jsonx.AppendText(append(data, `,"error":`...), r.text)
	data = strconv.AppendInt(append(data, `,"status":`...), int64(r.status), 10)
	p.send(s, id, "pusher:subscription_error", channel, append(data, '}'))
}

// refused tells a client of an error of the server.
func (p *Server) refused(s *shard.Shard, id netpoll.ID, channel string, err *protocol.Error) {
	kind := "ServerError"
	if err.Code == protocol.CodeLimit {
		kind = "LimitReached"
	}
	p.refuse(s, id, channel, refusal{kind, err.Message, err.Status()})
}

func unauthorized(format string, args ...any) refusal {
	return refusal{"AuthError", fmt.Sprintf(format, args...), 401}
}

// subscribe acts on a subscription.
func (p *Server) subscribe(s *shard.Shard, id netpoll.ID, a *app, k *packet) {
	r, ok := k.request()
	if !ok {
		p.fail(s, id, codeMalformed, "Invalid message format: want data with a channel")
		return
	}
	if !validChannel(r.channel) {
		p.refuse(s, id, r.channel, refusal{"InvalidChannel", fmt.Sprintf("Invalid channel name %.170q: want up to %d letters, digits and _-=@,.;", r.channel, channelNameMax), 400})
		return
	}
	channel := p.hubName(a, r.channel)
	if user, ok := strings.CutPrefix(channel, protocol.UserPrefix); ok {
		if s.User(id) != user {
			p.refuse(s, id, r.channel, unauthorized("The channel is another user's, or the connection has not signed in"))
			return
		}
		p.send(s, id, "pusher_internal:subscription_succeeded", r.channel, []byte(`"{}"`))
		return
	}
	who, why := p.authorize(s, id, a, &r)
	if why.kind != "" {
		p.refuse(s, id, r.channel, why)
		return
	}
	if s.Subscribed(id, channel) {
		p.succeeded(s, id, a, r.channel, channel, nil)
		return
	}
	if isPresence(r.channel) {
		if p.rolls.full(channel, who.user, a.PresenceMaxMembers) {
			p.refuse(s, id, r.channel, fullChannel(a))
			return
		}
		p.remember(s, id, channel, who)
	}
	p.loop(s).sessions.Enter(s, id, channel, func(_ protocol.ChannelState, err *protocol.Error) {
		if err != nil {
			p.forget(s, id, channel)
			p.refused(s, id, r.channel, err)
			return
		}
		p.entered(s, id, a, r.channel, channel)
	})
}

func fullChannel(a *app) refusal {
	return refusal{"LimitReached", fmt.Sprintf("The presence channel has %d members, and that is the limit", a.PresenceMaxMembers), 4004}
}

// authorize checks the signature of a subscription, and returns who the connection is in a
// presence channel. The refusal has a kind if it is one.
func (p *Server) authorize(s *shard.Shard, id netpoll.ID, a *app, r *request) (who member, why refusal) {
	if !isGuarded(r.channel) {
		return who, why
	}
	text := string(appendSocketID(nil, p.rules.Host.Node(), id)) + ":" + r.channel
	if isPresence(r.channel) || r.channelData != "" {
		text += ":" + r.channelData
	}
	if !a.authorized(text, r.auth) {
		return who, unauthorized("Invalid signature: want KEY:HMAC of the socket ID, the channel and its data, made with the app's secret")
	}
	if !isPresence(r.channel) {
		return who, why
	}
	data := []byte(r.channelData)
	if len(data) > a.PresenceMaxBytes {
		return who, refusal{"LimitReached", fmt.Sprintf("channel_data has %d bytes: want at most %d", len(data), a.PresenceMaxBytes), 4301}
	}
	if jsonx.IsObject(data) && protocol.CheckDepth("channel_data", data, p.rules.DataMaxDepth) == nil {
		if user, _, ok := textOf(data, "user_id"); ok && protocol.CheckName("user", user, p.rules.NameMaxBytes) == nil {
			return member{user, memberOf(data, "user_info")}, why
		}
	}
	return who, unauthorized("channel_data is no JSON object with a user_id")
}

// remember notes who a connection is in a presence channel.
func (p *Server) remember(s *shard.Shard, id netpoll.ID, channel string, who member) {
	r := p.loop(s).rest(id)
	if r.members == nil {
		r.members = map[string]member{}
	}
	r.members[channel] = who
}

func (p *Server) forget(s *shard.Shard, id netpoll.ID, channel string) {
	if c := p.loop(s).conns[id]; c.rest != nil {
		delete(c.rest.members, channel)
	}
}

// entered tells a client that it is in a channel: of a presence channel over several
// servers, when these have said who is there.
func (p *Server) entered(s *shard.Shard, id netpoll.ID, a *app, name, channel string) {
	p.count.changed(p, a, channel)
	if !isPresence(name) || !p.rules.Host.Remote() {
		p.succeeded(s, id, a, name, channel, nil)
		return
	}
	var found protocol.ChannelMembers
	p.loop(s).sessions.Ask(s, id, "Presence", func(ctx context.Context) (err error) {
		found, err = p.rules.Host.Presence(ctx, channel, presenceAskMax)
		return err
	}, func(error) { // who could not be asked is not there
		if s.Subscribed(id, channel) {
			p.succeeded(s, id, a, name, channel, found.Members)
		}
	})
}

// presenceAskMax bounds the connections of a presence channel that other servers tell.
const presenceAskMax = 20_000

// succeeded tells a client that it is in a channel, who else is there, and its last event.
// others are members that the servers have named.
func (p *Server) succeeded(s *shard.Shard, id netpoll.ID, a *app, name, channel string, others []protocol.Member) {
	data := []byte(`"{}"`)
	if isPresence(name) {
		list, count := p.rolls.list(channel, others)
		if c := p.loop(s).conns[id]; c.rest != nil && others != nil && count > a.PresenceMaxMembers && p.rolls.alone(channel, c.rest.members[channel].user) {
			p.loop(s).sessions.Leave(s, id, channel)
			p.forget(s, id, channel)
			p.refuse(s, id, name, fullChannel(a))
			return
		}
		data = inText(list)
	}
	p.send(s, id, "pusher_internal:subscription_succeeded", name, data)
	if isCache(name) {
		p.sendLast(s, id, a, name, channel)
	}
}

// sendLast sends the last event of a cache channel, or that there is none.
func (p *Server) sendLast(s *shard.Shard, id netpoll.ID, a *app, name, channel string) {
	page, err := p.rules.Host.History(channel, history.Query{Limit: 1, Reverse: true})
	if err == nil && len(page.Messages) > 0 {
		last := &page.Messages[len(page.Messages)-1]
		var out protocol.Packets
		p.Message(&out, &protocol.Message{Channel: channel, Data: last.Payload, Binary: last.Type == frame.OpBinary})
		out.Each(func(op frame.Opcode, payload []byte) { s.Reply(id, op, payload) })
		return
	}
	p.send(s, id, "pusher:cache_miss", name, nil)
	a.hook(hookCacheMiss, name, "", nil)
}

// unsubscribe acts on the end of a subscription.
func (p *Server) unsubscribe(s *shard.Shard, id netpoll.ID, a *app, k *packet) {
	r, ok := k.request()
	if !ok || r.channel == "" {
		p.fail(s, id, codeMalformed, "Invalid message format: want data with a channel")
		return
	}
	channel := p.hubName(a, r.channel)
	if p.loop(s).sessions.Leave(s, id, channel) {
		p.forget(s, id, channel)
		p.count.changed(p, a, channel)
	}
}
