package api

import (
	"context"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

// Backend is the server behind the API: a *server.Server, which documents the
// methods. They are called from many goroutines at a time.
type Backend interface {
	// BeginPublish publishes even if ctx is done: ctx only ends the wait for
	// the receipt, which result does. It copies the payload.
	BeginPublish(ctx context.Context, p server.Publication) (result func() (server.Receipt, error))
	// CheckNamespace refuses channels whose namespace is not configured.
	CheckNamespace(channel string) error
	ClearHistory(channel string) (n int, err error)
	History(channel string, q history.Query) (history.Page, error)
	Presence(ctx context.Context, channel, after string, limit int) (protocol.ChannelMembers, error)
	Channels(ctx context.Context, prefix, after string, limit int) (infos []server.ChannelInfo, more bool, err error)
	LargestChannels(ctx context.Context, prefix string, limit int) (infos []server.ChannelInfo, more bool, err error)
	Connections(ctx context.Context, user, after string, limit int) (infos []server.ConnectionInfo, more bool, err error)
	Disconnect(ctx context.Context, a server.Audience, code frame.CloseCode, reason string) (n int, err error)
	Subscribe(ctx context.Context, a server.Audience, channel string) (n int, err error)
	Unsubscribe(ctx context.Context, a server.Audience, channel string) (n int, err error)
	Stats() server.Stats
	Nodes() []server.NodeInfo
}
