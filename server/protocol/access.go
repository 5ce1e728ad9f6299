package protocol

import (
	"strings"

	"github.com/roostws/roost/server/internal/hub"
)

// Access is a rule of a namespace: which clients may subscribe, or publish.
type Access string

const (
	// AccessAnyone: every connected client.
	AccessAnyone Access = "anyone"
	// AccessUsers: clients with an identity.
	AccessUsers Access = "users"
	// AccessGranted: clients whose Permissions cover the channel, or which the
	// application admits when it is asked.
	AccessGranted Access = "granted"
	// AccessNobody: only the application, through Server and the publish API.
	AccessNobody Access = "nobody"
)

// Permissions are patterns of channel names: a name, or a prefix followed by
// "*", which stands for any rest.
type Permissions struct {
	Subscribe []string
	Publish   []string
}

// Covers reports whether one of the patterns (see Permissions) fits the name.
func Covers(patterns []string, name string) bool {
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "*"); p == name || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// UserPrefix begins the names of users' own channels: "user:ID" is in every
// connection of the user ID, and cannot be subscribed or left.
const UserPrefix = hub.UserPrefix
