package pusher

import (
	"context"
	"log/slog"

	"github.com/roostws/roost/server/protocol"
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

var hookKinds = map[string]bool{
	hookOccupied: true, hookVacated: true, hookMemberAdded: true, hookMemberRemoved: true, hookClientEvent: false, hookCacheMiss: false, hookCount: false,
}

const hookNames = "channel_occupied, channel_vacated, member_added, member_removed, client_event, cache_miss or subscription_count"

type hooks struct{}

func (a *app) startHooks(*slog.Logger) error                { return nil }
func (a *app) hook(kind, channel, user string, data []byte) {}
func (p *Server) hookMember(m *protocol.Membership)         {}
func (p *Server) event(e *protocol.Event)                   {}
func (p *Server) endHooks()                                 {}

// EndHooks delivers the web hooks that wait, until ctx is done. It is for when the server has
// ended.
func (p *Server) EndHooks(ctx context.Context) error { return nil }
