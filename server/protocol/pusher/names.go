package pusher

import (
	"strings"

	"github.com/roostws/roost/server/protocol"
)

// A channel of an app is a channel of the server: NAMESPACE:APP/CHANNEL. The namespace is
// Options.Namespace, with what the channel's kind adds to it, so that each kind has its own
// settings.

// The kinds of channels that have a namespace of their own: what is added to
// Options.Namespace.
const (
	kindPlain         = ""
	kindCache         = "-cache"
	kindPresence      = "-presence"
	kindPresenceCache = "-presence-cache"
)

var kinds = []string{kindPlain, kindCache, kindPresence, kindPresenceCache}

// userPrefix begins the channel in which a user who has signed in is by itself.
const userPrefix = "#server-to-user-"

// kindOf returns the kind of a channel of an app.
func kindOf(channel string) string {
	switch {
	case strings.HasPrefix(channel, "presence-cache-"):
		return kindPresenceCache
	case strings.HasPrefix(channel, "presence-"):
		return kindPresence
	case strings.HasPrefix(channel, "cache-"), strings.HasPrefix(channel, "private-cache-"), strings.HasPrefix(channel, "private-encrypted-cache-"):
		return kindCache
	}
	return kindPlain
}

func isCache(channel string) bool    { return strings.HasSuffix(kindOf(channel), kindCache) }
func isPresence(channel string) bool { return strings.HasPrefix(channel, "presence-") }

// isGuarded reports whether a client has to show a signature for a channel.
func isGuarded(channel string) bool {
	return strings.HasPrefix(channel, "private-") || isPresence(channel)
}

func isEncrypted(channel string) bool { return strings.HasPrefix(channel, "private-encrypted-") }

// hubName returns the server's name of a channel of an app.
func (p *Server) hubName(a *app, channel string) string {
	if user, ok := strings.CutPrefix(channel, userPrefix); ok {
		return protocol.UserPrefix + a.ID + "/" + user
	}
	return p.options.Namespace + kindOf(channel) + ":" + a.ID + "/" + channel
}

// channelOf returns the app's ID and the name that its clients know of a channel of the
// server. It returns ok false for a channel that is no app's.
func (p *Server) channelOf(hubName string) (app, channel string, ok bool) {
	if rest, found := strings.CutPrefix(hubName, protocol.UserPrefix); found {
		app, user, ok := strings.Cut(rest, "/")
		return app, userPrefix + user, ok
	}
	namespace, rest, _ := strings.Cut(hubName, ":")
	if kind, found := strings.CutPrefix(namespace, p.options.Namespace); !found || kind != kindPlain && kind[0] != '-' {
		return "", "", false
	}
	return strings.Cut(rest, "/")
}

// Limits of names, as Pusher has them.
const (
	channelNameMax = 164
	eventNameMax   = 200
)

// validChannel reports whether clients and back ends may use a channel's name.
func validChannel(name string) bool {
	if user, ok := strings.CutPrefix(name, userPrefix); ok {
		name = user
	}
	if name == "" || len(name) > channelNameMax {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("_-=@,.;", c) >= 0:
		default:
			return false
		}
	}
	return true
}
