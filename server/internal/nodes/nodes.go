package nodes

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/internal/workers"
)

const (
	// Beat is how often a node says that it is there, and Lease how long it may be silent.
	Beat  = 3 * time.Second
	Lease = 10 * time.Second
	// SilentMax is how long a node may be silent until it is not waited for any more.
	SilentMax = 2 * Beat
	// AskTimeout is how long Ask waits at most.
	AskTimeout = 2 * time.Second
	// asksMax is how many questions of others are worked on at a time.
	asksMax = 256
	// sendingMaxBytes bounds what the broker has not answered yet, and queueMaxBytes what
	// has arrived and waits for the handlers.
	sendingMaxBytes = 32 << 20
	queueMaxBytes   = 32 << 20
	// messageBytes is what a message takes beside its body, rounded up.
	messageBytes = 512
	// byeWait is how long Close waits until the goodbye is on its way.
	byeWait = time.Second
)

// A Kind names what a message is about. Both sides of two neighbouring releases may know
// different ones.
type Kind string

// A Handler takes what another node has told, or answers what it has asked; of what was
// told the answer is ignored. body is the handler's.
type Handler func(from string, body []byte) (answer []byte)

// An Info describes a node.
type Info struct {
	// ID is the node's as long as its process lives; Name is for people, and need not be
	// unique.
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Version is that of the program.
	Version string `json:"version,omitempty"`
	// Addrs are the addresses that clients connect to.
	Addrs       []string `json:"addrs,omitempty"`
	Connections int64    `json:"connections"`
	// Since is when it started, in Unix milliseconds, by its own clock.
	Since int64 `json:"since"`
}

// Label is the node's name, or its ID if it has none.
func (i *Info) Label() string { return cmp.Or(i.Name, i.ID) }

// Counts are what a Nodes counts.
type Counts struct {
	Nodes            int    // that are there, this one among them
	Sent, Received   uint64 // messages
	Dropped          uint64 // messages that were lost, or not understood, as far as this node knows
	Asked, Undecided uint64 // questions, and those that not all nodes have answered
}

// A Nodes is one node among the others. Any goroutine may call its methods.
type Nodes struct {
	// Immutable.
	id     string
	broker broker.Broker // nil: there are no others
	info   func() Info
	work   *workers.Pool
	done   chan struct{}

	// Written before Start.
	handlers map[Kind]Handler
	onChange []func(Info, bool)

	sending sync.Mutex // held while the parts of one message are handed over

	// Atomic.
	counts struct{ sent, received, dropped, asked, undecided atomic.Uint64 }
	unsent atomic.Int64 // bytes that the broker has not answered yet

	mu sync.Mutex
	// Guarded by mu.
	peers     map[string]*peer
	left      map[string]time.Time // when those that are gone for good said goodbye
	heard     time.Duration        // how long this node has heard itself
	echo      time.Time            // when it heard itself last
	attached  int                  // of its two channels, those that have been attached once
	questions uint64               // asked so far
	asks      map[uint64]*ask      // those that wait for answers
	closed    bool

	queue  queue
	ending sync.WaitGroup // the goroutines of Start
}

// New makes a node. b may be nil: then there are no others, and it costs nothing. info is
// called for each beat, by any goroutine; its ID is filled in.
func New(b broker.Broker, info func() Info) *Nodes {
	var random [5]byte
	_, _ = rand.Read(random[:]) // never fails
	n := &Nodes{
		id: strings.ToLower(base32.StdEncoding.EncodeToString(random[:])), broker: b, info: info, work: workers.New(asksMax, 1), done: make(chan struct{}),
		handlers: map[Kind]Handler{}, peers: map[string]*peer{}, left: map[string]time.Time{}, asks: map[uint64]*ask{},
	}
	n.queue.wake.L = &n.queue.mu
	return n
}

// ID returns this node's ID.
func (n *Nodes) ID() string { return n.id }

// Handle sets who takes messages of a kind. Those that are told come one after the other,
// on one goroutine, which the handler holds up; questions are answered on goroutines of
// their own and may take a moment. It is called before the broker starts.
func (n *Nodes) Handle(kind Kind, h Handler) { n.handlers[kind] = h }

// OnChange sets a function that is told when another node comes (up) or goes: a node comes
// before anything that it tells is handled, on the same goroutine, and when it has gone,
// nothing of it is handled any more. One that was cut off for long goes and comes again,
// and need not have noticed. Before it has said so, only the ID of a node may be known.
// OnChange is called before the broker starts.
func (n *Nodes) OnChange(f func(node Info, up bool)) { n.onChange = append(n.onChange, f) }

// All returns the nodes that are there, this one among them, in the order of their names.
func (n *Nodes) All() []Info {
	all := []Info{n.self()}
	n.mu.Lock()
	for _, p := range n.peers {
		all = append(all, p.info)
	}
	n.mu.Unlock()
	slices.SortFunc(all, func(a, b Info) int { return cmp.Or(strings.Compare(a.Label(), b.Label()), strings.Compare(a.ID, b.ID)) })
	return all
}

// Alone reports whether no other node is there.
func (n *Nodes) Alone() bool {
	if n.broker == nil {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.peers) == 0
}

// Has reports whether another node is there.
func (n *Nodes) Has(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[id] != nil
}

func (n *Nodes) self() Info {
	i := n.info()
	i.ID = n.id
	return i
}

// Counts returns the counters of this moment.
func (n *Nodes) Counts() Counts {
	n.mu.Lock()
	nodes := len(n.peers) + 1
	n.mu.Unlock()
	c := &n.counts
	return Counts{nodes, c.sent.Load(), c.received.Load(), c.dropped.Load(), c.asked.Load(), c.undecided.Load()}
}

// Tell sends b to a node, or to all others if to is empty, and does not wait: what is lost
// is counted. It keeps b, which may have BodyMaxBytes.
func (n *Nodes) Tell(to string, kind Kind, b []byte) {
	if to == "" {
		n.TellAll(kind, b, func(bool) {})
	} else if n.broker != nil {
		n.send(nodeChannel(to), header{Op: opTell, Kind: kind}, b, func(bool) {})
	}
}

// TellAll sends b to all other nodes. done is called once, at once or by a goroutine of the
// broker: ok reports that the broker has taken it. What is not ok may have arrived. It keeps
// b.
func (n *Nodes) TellAll(kind Kind, b []byte, done func(ok bool)) {
	if n.broker == nil {
		done(true)
		return
	}
	n.send(everyone, header{Op: opTell, Kind: kind}, b, done)
}

// send hands a message to the broker. done is called once: at once, or by a goroutine of the
// broker when that has answered. Without ok the message has not arrived, or nobody knows.
func (n *Nodes) send(channel string, h header, body []byte, done func(ok bool)) {
	h.From = n.id
	lost := func() {
		if h.Op != opHere { // the next one comes by itself
			n.counts.dropped.Add(1)
		}
		done(false)
	}
	size := int64(len(body) + messageBytes)
	if len(body) > BodyMaxBytes || n.unsent.Load()+size > sendingMaxBytes {
		lost()
		return
	}
	payloads := split(h, body)
	n.sending.Lock()
	defer n.sending.Unlock()
	select {
	case <-n.done:
		lost()
		return
	default:
	}
	n.counts.sent.Add(1)
	var waiting, failed atomic.Int32
	waiting.Store(int32(len(payloads)))
	for _, payload := range payloads {
		n.unsent.Add(int64(len(payload)))
		p := &broker.Publication{Message: broker.Message{Channel: channel, Type: frame.OpBinary, Payload: payload}}
		n.broker.Publish(p, func(_ broker.Placed, err error) {
			n.unsent.Add(-int64(len(payload)))
			if err != nil {
				failed.Add(1)
			}
			switch {
			case waiting.Add(-1) > 0:
			case failed.Load() > 0:
				lost()
			default:
				done(true)
			}
		})
	}
}
