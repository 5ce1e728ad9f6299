package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/jsonx"
)

// A Host is the server as the sessions see it. Any goroutine may call its methods.
type Host interface {
	// Publish publishes on behalf of a user. The name of the channel was checked.
	Publish(channel, from, key string, t frame.Opcode, data []byte) (history.Position, error)
	// PublishExcept publishes to a channel but for some of its subscribers; except may be
	// nil. The name of the channel was not checked. It does not wait for a broker.
	PublishExcept(channel string, t frame.Opcode, data []byte, except *hub.Except) error
	// BeginExcept is PublishExcept for those who want to know what becomes of it: what it
	// returns waits for the broker, until ctx is done.
	BeginExcept(ctx context.Context, channel string, t frame.Opcode, data []byte, except *hub.Except) (result func() error)
	// Node is the server's number among those on its broker: see hub.Except.
	Node() uint32
	// Remote reports whether a broker orders the messages. Publish is not used then, but
	// PublishLater, which calls done at once or on another goroutine; it keeps data.
	Remote() bool
	PublishLater(channel, from, key string, t frame.Opcode, data []byte, done func(history.Position, error))
	// Want asks the broker for a channel. It returns nil if connections may subscribe to it
	// now, or resume at since; if not, done is called when they may, and forgo has to be
	// called when nothing waits for that any more.
	Want(channel string, since *history.Position, done func()) (forgo func())
	// Presence asks all loops; it must not be called on one.
	Presence(ctx context.Context, channel string, limit int) (ChannelMembers, error)
	// History returns a part of what is kept of a channel.
	History(channel string, q history.Query) (history.Page, error)
	// Announce tells the subscribers of a channel of a membership: those of other servers,
	// and, if here, those of this one. If the loops are busy, it is left out.
	Announce(m *Membership, here bool)
	// Name returns a connection's name, as Audience.Client of the server takes it.
	Name(id netpoll.ID) string
	// Context ends with the server.
	Context() context.Context
	// Work runs a job of the application, which may block, on another goroutine. It
	// returns false if too many are under way.
	Work(job func()) bool
	// Panicked reports a panic in the application's code.
	Panicked(in string, id netpoll.ID, value any)
}

// ErrBadName: a channel name or user ID is empty, too long, not valid UTF-8, or
// of a kind that cannot be used so.
var ErrBadName = errors.New("server: bad name")

// ErrMessageTooBig: a message is larger than may be sent.
var ErrMessageTooBig = errors.New("server: message too big")

// CheckDepth refuses JSON that is nested deeper than most: receivers could not read
// it, and one that comes back to its place in a channel would get it again and
// again. What is not JSON travels as a string, however many brackets it has.
func CheckDepth(what string, data []byte, most int) error {
	if n := jsonx.Depth(data); n > most && json.Valid(data) {
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("%s is nested %d deep: want at most %d", what, n, most)}
	}
	return nil
}

// CheckName refuses names that could not be told apart, logged or bounded. what
// is what it is a name of.
func CheckName(what, name string, maxBytes int) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the %s is empty", ErrBadName, what)
	case len(name) > maxBytes:
		return fmt.Errorf("%w: the %s has %d bytes: want at most %d", ErrBadName, what, len(name), maxBytes)
	case name[0] == 0: // of the servers' own channels (server/internal/nodes)
		return fmt.Errorf("%w: the %s begins with a zero byte", ErrBadName, what)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the %s is not valid UTF-8", ErrBadName, what)
	}
	return nil
}

// CheckChannel refuses names of channels that no connection can be subscribed to:
// also those of users, in which each connection of the user is by itself.
func CheckChannel(name string, maxBytes int) error {
	if err := CheckName("channel", name, maxBytes); err != nil {
		return err
	}
	if strings.HasPrefix(name, UserPrefix) {
		return fmt.Errorf("%w: %q is the channel of a user: it can't be joined or left", ErrBadName, name)
	}
	return nil
}
