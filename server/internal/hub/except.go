package hub

import (
	"encoding/json"
	"strings"

	"github.com/roostws/roost/netpoll"
)

// Except are connections that do not get a message.
type Except struct {
	// Clients are single ones: of the server with the number Node (Config.Node), or, if that
	// is 0, of the server that publishes.
	Clients []netpoll.ID
	Node    uint32
	// Channels are those whose subscribers, on whatever server, do not get it.
	Channels []string
	// Names are those by which a protocol knows single connections, on whatever server.
	Names []string
	// Only, unless it is nil, are those of the message's subscribers who get it.
	Only *Group
}

// A Group is some connections.
type Group struct {
	Channels []string     // whose subscribers belong to it
	Names    []string     // of single connections, see Except.Names
	Clients  []netpoll.ID // what a shard has found for Names
}

// A broker knows nothing of exceptions: they travel in the place of the sender, which a
// message with exceptions does not have.

// exceptMark begins a sender that is an Except. An application that gave a user such an ID
// would leave some receivers out of what that user publishes, and no more.
const exceptMark = "\x00except "

// carried is an Except on its way; Life tells the hub whose Clients these are.
type carried struct {
	Life     string       `json:"life,omitempty"`
	Node     uint32       `json:"node,omitempty"`
	Clients  []netpoll.ID `json:"clients,omitempty"`
	Channels []string     `json:"channels,omitempty"`
	Names    []string     `json:"names,omitempty"`
	Only     *carriedOnly `json:"only,omitempty"`
}

// carriedOnly is a Group on its way.
type carriedOnly struct {
	Channels []string `json:"channels,omitempty"`
	Names    []string `json:"names,omitempty"`
}

// Carry returns an Except in the form in which it goes through a broker as the sender.
// Any goroutine.
func (h *Hub) Carry(e *Except) (from string) {
	c := carried{Life: h.life, Clients: e.Clients, Channels: e.Channels, Names: e.Names}
	if e.Node != 0 {
		c.Life, c.Node = "", e.Node
	}
	if e.Only != nil {
		c.Only = &carriedOnly{e.Only.Channels, e.Only.Names}
	}
	text, _ := json.Marshal(c) // texts and numbers only
	return exceptMark + string(text)
}

// uncarry reads it; nil if from is a sender.
func (h *Hub) uncarry(from string) *Except {
	text, ok := strings.CutPrefix(from, exceptMark)
	if !ok {
		return nil
	}
	var c carried
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil
	}
	if c.Life != h.life && (c.Node == 0 || c.Node != h.cfg.Node) {
		c.Clients = nil // connections of another server
	}
	e := &Except{Clients: c.Clients, Channels: c.Channels, Names: c.Names}
	if c.Only != nil {
		e.Only = &Group{Channels: c.Only.Channels, Names: c.Only.Names}
	}
	return e
}
