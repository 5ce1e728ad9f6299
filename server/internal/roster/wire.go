package roster

import "encoding/json"

// A member is one connection, as it is written: ["client"], or ["client","user"].
type member []string

func newMember(client, user string) member {
	if user == "" {
		return member{client}
	}
	return member{client, user}
}

// get returns the parts of a member. It returns ok for what another node may have written.
func (m member) get() (client, user string, ok bool) {
	if len(m) > 1 {
		user = m[1]
	}
	if len(m) > 0 {
		client = m[0]
	}
	return client, user, client != ""
}

// A notice tells the nodes that have attached a channel what has changed on one node.
type notice struct {
	Node string `json:"node"`
	// From is the version before the changes, and To the one after them. From is 0 in a
	// notice with all members.
	From uint64 `json:"from,omitempty"`
	To   uint64 `json:"to"`
	// Changes are in order.
	Changes []changed `json:"changes,omitempty"`
	// Members are all there are, if From is 0, unless these are too many: then Ask is set.
	Members []member `json:"members,omitempty"`
	Ask     bool     `json:"ask,omitempty"`
}

// changed is a join or a leave.
type changed struct {
	Member member `json:"m"`
	Left   bool   `json:"left,omitempty"`
}

// A question asks a node for its members in channels. Versions are those that the asking
// node knows, 0 for none.
type question struct {
	Channels []string `json:"channels"`
	Versions []uint64 `json:"versions"`
}

// An answer has a list for each channel of the question, or for as many of the first ones
// as there was room for.
type answer struct {
	// Version is the node's: channels without members are as of then.
	Version uint64  `json:"version"`
	Lists   []*list `json:"lists"` // null: no members
}

type list struct {
	Version uint64   `json:"version"`
	Same    bool     `json:"same,omitempty"` // the version is the one that is known
	Members []member `json:"members,omitempty"`
	Unsent  bool     `json:"unsent,omitempty"` // a notice of the last changes is still to come
}

// encode returns v as JSON.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // there is nothing in these types that has no JSON
	}
	return b
}
