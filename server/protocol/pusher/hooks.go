package pusher

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/webhook"
)

// The kinds of web hooks.
const (
	hookOccupied      = "channel_occupied"
	hookVacated       = "channel_vacated"
	hookMemberAdded   = "member_added"
	hookMemberRemoved = "member_removed"
	hookClientEvent   = "client_event"
	hookCacheMiss     = "cache_miss"
	hookCount         = "subscription_count"
)

// hookKinds are the web hooks that there are, and whether they are sent without being asked
// for.
var hookKinds = map[string]bool{
	hookOccupied: true, hookVacated: true, hookMemberAdded: true, hookMemberRemoved: true,
	hookClientEvent: false, hookCacheMiss: false, hookCount: false,
}

const hookNames = "channel_occupied, channel_vacated, member_added, member_removed, client_event, cache_miss or subscription_count"

// startHooks begins to send an app's web hooks, if it has any: in batches, and again until
// they are taken, as those of docs/webhooks.md.
func (a *app) startHooks(p *Server) (err error) {
	if a.WebhookURL == "" {
		return nil
	}
	var all, wanted []protocol.EventType
	for kind, sent := range hookKinds {
		if all = append(all, protocol.EventType(kind)); sent && len(a.WebhookEvents) == 0 {
			wanted = append(wanted, protocol.EventType(kind))
		}
	}
	for _, kind := range a.WebhookEvents {
		wanted = append(wanted, protocol.EventType(kind))
	}
	a.hooks, err = webhook.NewSender(webhook.SenderConfig{URL: a.WebhookURL, Events: wanted, Logger: p.options.Logger, Form: &webhook.Form{
		Events: all,
		Event:  p.encodeHook,
		Begin: func() []byte {
			return append(strconv.AppendInt([]byte(`{"time_ms":`), time.Now().UnixMilli(), 10), `,"events":[`...)
		},
		Sign: func(h http.Header, body []byte) {
			h.Set("X-Pusher-Key", a.Key)
			h.Set("X-Pusher-Signature", a.sign(string(body)))
		},
	}})
	return err
}

// hook sends a web hook, if it is wanted. data is what the kind has beside channel and user.
func (a *app) hook(kind, channel, user string, data []byte) {
	if a.hooks != nil {
		a.hooks.Event(&protocol.Event{Type: protocol.EventType(kind), Channel: channel, User: user, Data: data})
	}
}

// hookMember sends the web hook of a user who has joined a channel, or left it.
func (p *Server) hookMember(m *protocol.Membership) {
	id, channel, _ := p.channelOf(m.Channel)
	if a := p.byID[id]; a != nil {
		kind := hookMemberAdded
		if m.Left {
			kind = hookMemberRemoved
		}
		a.hook(kind, channel, m.User, nil)
	}
}

// event turns events of the server into web hooks.
func (p *Server) event(e *protocol.Event) {
	kind := ""
	switch e.Type {
	case protocol.EventOccupied:
		kind = hookOccupied
	case protocol.EventVacated:
		kind = hookVacated
	case protocol.EventMessage:
		kind = hookClientEvent
	default:
		return
	}
	id, channel, ok := p.channelOf(e.Channel)
	a := p.byID[id]
	if !ok || a == nil || a.hooks == nil || strings.HasPrefix(channel, userPrefix) {
		return
	}
	own := *e
	own.Type, own.Channel = protocol.EventType(kind), channel
	if !isPresence(channel) {
		own.User = ""
	}
	a.hooks.Event(&own)
}

// encodeHook returns a web hook as JSON.
func (p *Server) encodeHook(e *protocol.Event) []byte {
	b := jsonx.AppendText([]byte(`{"name":`), string(e.Type))
	b = jsonx.AppendText(append(b, `,"channel":`...), e.Channel)
	switch e.Type {
	case hookCount:
		b = append(append(b, `,"subscription_count":`...), e.Data...)
	case hookClientEvent:
		b = p.appendClientEvent(b, e)
	}
	if e.User != "" {
		b = jsonx.AppendText(append(b, `,"user_id":`...), e.User)
	}
	return append(b, '}')
}

// appendClientEvent appends what the web hook of a client event has.
func (p *Server) appendClientEvent(b []byte, e *protocol.Event) []byte {
	if !json.Valid(e.Data) || e.Data[0] != '{' {
		return b
	}
	name, _, _ := textOf(e.Data, "event")
	b = jsonx.AppendText(append(b, `,"event":`...), name)
	data := memberOf(e.Data, "data")
	if len(data) == 0 || data[0] != '"' {
		data = inText(data)
	}
	b = append(append(b, `,"data":`...), data...)
	text, _, _ := strings.Cut(e.Client, "@")
	if id, err := netpoll.ParseID(text); err == nil {
		b = append(appendSocketID(append(b, `,"socket_id":"`...), p.rules.Host.Node(), id), '"')
	}
	return b
}

// EndHooks delivers the web hooks that wait, until ctx is done. It is for when the server has
// ended.
func (p *Server) EndHooks(ctx context.Context) error {
	var errs []error
	for _, a := range p.byID {
		if a.hooks != nil {
			errs = append(errs, a.hooks.Close(ctx))
		}
	}
	return errors.Join(errs...)
}
