package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"

	"github.com/roostws/roost/server/protocol"
)

// A Batch is the body of a Sender's request.
type Batch struct {
	// Events are in order for each client and each channel, within and between
	// batches, except for those that are Late.
	Events []Event `json:"events"`
	// Late says that the receiver failed on these events before, and has accepted
	// later ones meanwhile, which may be of the same clients and channels.
	Late bool `json:"late,omitempty"`
	// Dropped is how many events were lost before these, since the last batch that
	// got through.
	Dropped uint64 `json:"dropped,omitempty"`
}

// An Event is a protocol.Event in a Batch. Fields that say nothing are left out.
type Event struct {
	Type protocol.EventType `json:"type"`
	// Time is in Unix milliseconds.
	Time    int64  `json:"time"`
	Client  string `json:"client,omitempty"`
	User    string `json:"user,omitempty"`
	Channel string `json:"channel,omitempty"`
	// Epoch and Offset are the position, in channels with history.
	Epoch  string  `json:"epoch,omitempty"`
	Offset *uint64 `json:"offset,omitempty"`
	// Code, Reason and Age (in seconds) tell how a connection ended.
	Code   *int     `json:"code,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Age    *float64 `json:"age,omitempty"`
	// Data is the message, as the client sent it.
	Data json.RawMessage `json:"data,omitempty"`
	// Encoding is "base64" where the message is not JSON: Data is then a string.
	Encoding string `json:"encoding,omitempty"`
	// Protocol, Namespace and Socket are those of clients whose protocol has them, Method the
	// name of their event.
	Protocol  string `json:"protocol,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Socket    string `json:"socket,omitempty"`
	Method    string `json:"method,omitempty"`
}

// defaultEvents are sent if SenderConfig.Events is empty. The others come many times
// for each connection.
var defaultEvents = []protocol.EventType{
	protocol.EventConnected, protocol.EventDisconnected, protocol.EventOccupied, protocol.EventVacated, protocol.EventMessage, protocol.EventCalled,
}

// allEvents are the types that SenderConfig.Events may hold.
var allEvents = append([]protocol.EventType{
	protocol.EventSubscribed, protocol.EventUnsubscribed, protocol.EventAcknowledged,
}, defaultEvents...)

// encode returns e as JSON.
func encode(e *protocol.Event) []byte {
	w := Event{
		Type: e.Type, Time: e.Time.UnixMilli(),
		Client: e.Client, User: e.User, Channel: e.Channel, Reason: e.Reason,
		Protocol: e.Protocol, Namespace: e.Namespace, Socket: e.Socket, Method: e.Method,
	}
	if e.Position.Epoch != "" {
		w.Epoch, w.Offset = e.Position.Epoch, &e.Position.Offset
	}
	if e.Type == protocol.EventDisconnected {
		code, age := int(e.Code), math.Round(e.Age.Seconds()*1000)/1000
		w.Code, w.Age = &code, &age
	}
	switch {
	case len(e.Data) == 0:
	case !e.Binary && json.Valid(e.Data):
		w.Data = e.Data
	default:
		w.Data, w.Encoding = strconv.AppendQuote(nil, base64.StdEncoding.EncodeToString(e.Data)), "base64"
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // this is not a page
	if err := encoder.Encode(w); err != nil {
		panic("webhook: an event is not JSON: " + err.Error()) // strings, numbers and valid JSON are
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// cost returns roughly how much memory a waiting event takes, in bytes: itself, and
// what it points to.
func cost(e *protocol.Event) int {
	const itself = 256 // the size class of protocol.Event, and its place in the queue
	return itself + len(e.Client) + len(e.User) + len(e.Channel) + len(e.Position.Epoch) + len(e.Reason) + len(e.Data) + len(e.Namespace) + len(e.Socket) + len(e.Method)
}
