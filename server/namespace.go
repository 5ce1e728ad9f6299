package server

import (
	"strings"
	"time"
)

// A Namespace holds the settings of the channels whose names begin with
// "NAME:". A channel without a colon is in the namespace "". A name whose
// namespace is not configured has the settings of Namespace{}: no history,
// every client may subscribe, only the application publishes; over the native
// protocol such a channel does not exist (ErrorUnknownNamespace), but for "".
type Namespace struct {
	// Name is what stands before the colon.
	Name string
	// HistoryMessages is how many messages of a channel are kept, encoded, for
	// clients that come back or lag behind. If zero, none: a client that was away
	// starts with what is published next.
	HistoryMessages int
	// HistoryAge is how long they are kept at most. If zero, 5 minutes.
	HistoryAge time.Duration
	// SlowConsumer is what happens to a client that lags by more than the
	// history. If empty, ChannelDisconnect. Without history Config.SlowConsumer
	// decides.
	SlowConsumer ChannelPolicy
	// Subscribe tells who may subscribe over the native protocol. If empty, AccessAnyone.
	Subscribe Access
	// Publish tells who may publish over the native protocol. If empty, AccessNobody.
	Publish Access
	// Presence lets subscribers ask who else is there.
	Presence bool
	// JoinLeave tells subscribers who comes and goes, in channels of up to
	// JoinLeaveMax subscribers.
	JoinLeave bool
	// JoinLeaveMax is that bound, for one loop's part of a channel. If zero, 1,000.
	JoinLeaveMax int
}

// Access tells who may do something over the native protocol.
type Access string

const (
	// AccessAnyone: every client that is connected.
	AccessAnyone Access = "anyone"
	// AccessUsers: clients with an identity.
	AccessUsers Access = "users"
	// AccessGranted: clients to whom a token, or the application's hook, gives it.
	AccessGranted Access = "granted"
	// AccessNobody: only the application, through Server and the publish API.
	AccessNobody Access = "nobody"
)

// ChannelPolicy names what happens to a client that fell off a channel's history.
type ChannelPolicy string

const (
	// ChannelDisconnect closes it with 1013; it may come back and resume, or be
	// told that it can't.
	ChannelDisconnect ChannelPolicy = "disconnect"
	// ChannelSkip tells it how many messages it missed, and goes on with the newest.
	ChannelSkip ChannelPolicy = "skip"
	// ChannelLatest gives every client that lags only the newest message of each
	// key (Publication.Key), whether it fell off the history or not.
	ChannelLatest ChannelPolicy = "latest"
)

// DefaultHistoryAge is Namespace.HistoryAge where that is zero, with history.
const DefaultHistoryAge = 5 * time.Minute

// namespaceOf is the part of a channel's name before the first colon.
func namespaceOf(channel string) string {
	name, _, ok := strings.Cut(channel, ":")
	if !ok {
		return ""
	}
	return name
}
