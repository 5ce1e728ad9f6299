package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/epoll"
)

// generatorTick is how often a generator looks for what does not wake it:
// upgrades that time out, the end of a drain.
const generatorTick = 20 * time.Millisecond

// serveGenerator is the child process: it reads requests from in until it
// ends and writes replies to out.
func serveGenerator(in io.Reader, out io.Writer) error {
	if _, err := raiseDescriptorLimit(); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the machine's time belongs to the server
	var g *generator
	started := make(chan struct{})
	engine, err := epoll.Driver.Start(netpoll.Config{Loops: 1, TickInterval: generatorTick},
		func(l netpoll.Loop) netpoll.Handler {
			g = newGenerator(l, out)
			close(started)
			return g
		})
	if err != nil {
		return fmt.Errorf("start event loop: %w", err)
	}
	<-started
	go g.writeReplies()
	dec := json.NewDecoder(bufio.NewReader(in))
	for {
		var r request
		if err := dec.Decode(&r); err != nil {
			if err == io.EOF {
				return engine.Close()
			}
			return fmt.Errorf("read request: %w", err)
		}
		g.post(r)
	}
}

// A generator is one event loop full of client connections. Except where
// noted, everything belongs to the loop's goroutine.
type generator struct {
	loop netpoll.Loop
	out  io.Writer
	// replies are written by a goroutine of their own: a parent that is slow
	// to read must not stop the loop.
	replies chan reply

	mu    sync.Mutex
	inbox []request // Guarded by mu.
	calls []func()  // Guarded by mu: what handshakes want of the loop.

	conns []conn
	first int     // number of conns[0]
	slots []int32 // index into conns, by netpoll slot
	// held are bytes of incomplete frames and responses, pending those that a
	// socket did not take; both only as long as there are any.
	held, pending map[int32][]byte
	frame         []byte
	payload       []byte
	// secure are the connections with TLS; plain and cipher are buffers of a
	// moment.
	secure        map[int32]*tlsClient
	plain, cipher []byte
	inflater      inflater
	// json makes payloads look like JSON.
	json bool
	// native: messages may be replies and heartbeats of the native protocol.
	native bool
	// transport is the clients'; fallback has what those of a fallback need.
	transport Transport
	fallback  fallback
	rng       *rand.Rand

	opening   *opening
	hostility hostility
	traffic   *traffic
	stream    streamState
	// frameBytes is the size of the frame that is being handled.
	frameBytes int
	queue      []*publishing
	last       lastMessage

	view generatorView
}

// connState is where a connection stands.
type connState uint8

const (
	connNone       connState = iota // not connected, or gone
	connConnecting                  // connect(2) or the upgrade is under way
	connOpen
	connClosing // reset asked for by the parent
)

// conn is one client connection, without a pointer.
type conn struct {
	id      netpoll.ID
	state   connState
	stalled bool
	// publisher is set once it has published: it may never receive anything.
	publisher bool
	// compressed: permessage-deflate was agreed on.
	compressed bool
	// asking: a poll is under way.
	asking  bool
	class   int8   // index of its traffic class, plus one
	stream  uint32 // the publisher's stream that it receives; 0 is none
	track   tracker
	sendSeq uint64
	started int64
}

func newGenerator(l netpoll.Loop, out io.Writer) *generator {
	return &generator{
		loop: l, out: out,
		replies: make(chan reply, 4096),
		held:    make(map[int32][]byte),
		pending: make(map[int32][]byte),
		secure:  make(map[int32]*tlsClient),
		rng:     rand.New(rand.NewPCG(uint64(os.Getpid()), 1)),
		view:    newGeneratorView(),
	}
}

// post hands a request to the loop. Any goroutine.
func (g *generator) post(r request) {
	g.mu.Lock()
	g.inbox = append(g.inbox, r)
	g.mu.Unlock()
	g.loop.Wake()
}

// call runs fn on the loop, soon. Any goroutine.
func (g *generator) call(fn func()) {
	g.mu.Lock()
	g.calls = append(g.calls, fn)
	g.mu.Unlock()
	g.loop.Wake()
}

func (g *generator) writeReplies() {
	w := bufio.NewWriter(g.out)
	enc := json.NewEncoder(w)
	for r := range g.replies {
		if enc.Encode(r) != nil || (len(g.replies) == 0 && w.Flush() != nil) {
			os.Exit(1) // the parent is gone
		}
	}
}

func (g *generator) reply(r reply) { g.replies <- r }

// OnWake serves requests, then whatever is due.
func (g *generator) OnWake() bool {
	g.mu.Lock()
	inbox, calls := g.inbox, g.calls
	g.inbox, g.calls = nil, nil
	g.mu.Unlock()
	for _, fn := range calls {
		fn()
	}
	for i := range inbox {
		g.serve(&inbox[i])
	}
	more := g.openMore()
	g.publishDue()
	g.trafficDue()
	g.pollsDue()
	return more
}

// OnTick looks after what has deadlines.
func (g *generator) OnTick() {
	g.openingTick()
	g.trafficTick()
}

func (g *generator) serve(r *request) {
	switch r.Op {
	case opOpen:
		g.startOpening(r.ID, r.Open)
	case opProbe:
		g.stream = streamState{id: r.Stream, probing: true}
		g.reply(reply{ID: r.ID})
	case opMembers:
		count, free := g.members(r.Stream)
		g.reply(reply{ID: r.ID, Count: count, Free: free})
	case opArm:
		g.arm(r.Stream, r.Seq)
		g.reply(reply{ID: r.ID, Count: g.stream.members})
	case opPublish:
		g.startPublishing(r.Publish)
		g.reply(reply{ID: r.ID})
	case opTraffic:
		g.startTraffic(r.ID, r.Traffic)
	case opStall:
		g.reply(reply{ID: r.ID, Count: g.stall(r.Percent)})
	case opResume:
		g.resume()
		g.reply(reply{ID: r.ID})
	case opReset:
		g.reset()
		g.reply(reply{ID: r.ID})
	case opDecoy:
		g.startDecoy(r.ID, r.Hostile)
	case opHostile:
		g.startHostile(r.ID, r.Hostile)
	case opCalm:
		g.calm(r.ID)
	case opCount:
		g.reply(reply{ID: r.ID, Counts: g.snapshot()})
	default:
		g.reply(reply{ID: r.ID, Error: "unknown op " + string(r.Op)})
	}
}

// snapshot copies the counters: the reply is encoded on another goroutine.
func (g *generator) snapshot() *generatorView {
	v := g.view
	v.Open, v.Compressed = 0, 0
	for i := range g.conns {
		if g.conns[i].state == connOpen {
			v.Open++
			if g.conns[i].compressed {
				v.Compressed++
			}
		}
	}
	v.ClosedBy = make(map[string]int, len(g.view.ClosedBy))
	for reason, n := range g.view.ClosedBy {
		v.ClosedBy[reason] = n
	}
	v.Latency, v.Lateness = newHistogram(), newHistogram()
	v.Latency.merge(g.view.Latency)
	v.Lateness.merge(g.view.Lateness)
	return &v
}

// stall stops reading on percent of the connections, evenly spread. The first
// is never among them: it may be a publisher.
func (g *generator) stall(percent int) (count int) {
	for i := range g.conns {
		c := &g.conns[i]
		if c.state == connOpen && !c.publisher && (i+1)*percent/100 > i*percent/100 {
			c.stalled = true
			g.loop.PauseRead(c.id)
			count++
		}
	}
	g.view.Stalled = count
	return count
}

func (g *generator) resume() {
	for i := range g.conns {
		if c := &g.conns[i]; c.stalled && c.state == connOpen {
			g.loop.ResumeRead(c.id)
		}
		g.conns[i].stalled = false
	}
	g.view.Stalled = 0
}

// reset closes all connections by RST, without a goodbye.
func (g *generator) reset() {
	g.stopPolling()
	for i := range g.conns {
		if c := &g.conns[i]; c.state == connOpen || c.state == connConnecting {
			c.state = connClosing
			resetOnClose(g.loop.FD(c.id))
			g.loop.Abort(c.id)
		}
	}
}

// fault keeps the first surprise for the report.
func (g *generator) fault(format string, args ...any) {
	if g.view.FirstFault == "" {
		g.view.FirstFault = fmt.Sprintf(format, args...)
	}
}
