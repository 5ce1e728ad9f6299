package nodes

import (
	"bytes"
	"encoding/json"
	"errors"
)

// prefix begins the channels of nodes. everyone is the channel of all of them; that of one
// node is nodeChannel of its ID.
const (
	prefix   = "\x00"
	everyone = prefix + "nodes"
)

func nodeChannel(id string) string { return prefix + "node:" + id }

const (
	// version is that of the header.
	version = 1
	// partBytes is how much of a body one message has: less than any broker's limit (1 MB
	// with NATS, 512 MB with Redis).
	partBytes = 256 << 10
	// BodyMaxBytes is how long a body may be: what is longer is refused by the sender.
	BodyMaxBytes = 8 << 20
)

// What a message is.
const (
	opHere   = "here" // the sender's Info, as JSON
	opBye    = "bye"
	opTell   = "tell"
	opAsk    = "ask"
	opAnswer = "answer"
	// opRefuse is an answer without one: the kind is not known, too much is asked at a
	// time, or the answer is too long.
	opRefuse = "refuse"
)

// A header is the first line of each message. Unknown members are ignored.
type header struct {
	Version int    `json:"v"`
	From    string `json:"from"`
	Op      string `json:"op"`
	Kind    Kind   `json:"kind,omitempty"`
	// Question is the number of an ask, and of the answer to it.
	Question uint64 `json:"question,omitempty"`
	// Part counts from 0; More says that another part follows.
	Part int  `json:"part,omitempty"`
	More bool `json:"more,omitempty"`
}

// split returns the messages of a header and its body.
func split(h header, body []byte) (payloads [][]byte) {
	h.Version = version
	for {
		part := body[:min(len(body), partBytes)]
		body = body[len(part):]
		h.More = len(body) > 0
		line, err := json.Marshal(h)
		if err != nil {
			panic(err) // there is nothing in a header that has no JSON
		}
		payloads = append(payloads, append(append(line, '\n'), part...))
		if !h.More {
			return payloads
		}
		h.Part++
	}
}

var errMessage = errors.New("nodes: what came is not a message of this version")

// parse returns header and body of a message. The body is the payload's.
func parse(payload []byte) (h header, body []byte, err error) {
	line, body, ok := bytes.Cut(payload, []byte("\n"))
	if !ok || json.Unmarshal(line, &h) != nil || h.Version > version || h.From == "" {
		return h, nil, errMessage
	}
	return h, body, nil
}

// A whole puts the parts of one sender in one channel together: they come one after the
// other.
type whole struct {
	body []byte
	next int // the part that is due
}

// add adds a part and returns the body when it is complete. What does not fit, because the
// parts before it were lost, is dropped.
func (w *whole) add(h *header, part []byte) (body []byte, complete, dropped bool) {
	if h.Part == 0 {
		w.body, w.next = nil, 0
		if !h.More {
			return part, true, false
		}
	}
	if h.Part != w.next || len(w.body)+len(part) > BodyMaxBytes {
		w.body, w.next = nil, -1 // until a first part comes
		return nil, false, true
	}
	w.body = append(w.body, part...)
	w.next++
	if h.More {
		return nil, false, false
	}
	body = w.body
	w.body, w.next = nil, -1
	return body, true, false
}
