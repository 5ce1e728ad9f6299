package nats

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/internal/wire"
)

// A life is one life of the connections: one for commands, one that receives. If either
// breaks, or nothing comes back that was sent around, the life is over, and another one
// begins. There is one way back, and everything is read anew after it.
type life struct {
	// Immutable.
	b        *Broker
	commands *nats.Conn
	receiver *nats.Conn
	links    [2]*link
	id       string // names what the life sends to itself
	memory   string // begins the epochs of the server's memory
	arrivals chan *nats.Msg
	// broken is done when the life is over, with the reason that fail got first.
	broken context.Context
	fail   context.CancelCauseFunc
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu   sync.Mutex
	wake sync.Cond
	// Guarded by mu.
	subs       []subscription
	plains     []*job
	sequencers map[string]*sequencer
	spots      map[string]spot
	reads      []func()
	readers    int
	probes     []probe // on their way, the oldest first
	probeCount uint64
	missing    error // why messages may be missing, until receive has said so

	delivering atomic.Bool
	refusing   atomic.Bool // JetStream refuses what it is asked
}

// A subscription is one that waits to be made or, unless on, ended.
type subscription struct {
	channel string
	on      bool
}

// connect makes the connections.
func (b *Broker) connect() (*life, error) {
	l := &life{
		b: b, id: wire.NewID(), arrivals: make(chan *nats.Msg, arrivalsMax),
		sequencers: map[string]*sequencer{}, spots: map[string]spot{},
	}
	l.broken, l.fail = context.WithCancelCause(context.Background())
	l.wake.L = &l.mu
	l.ctx, l.cancel = context.WithCancel(context.Background())
	var err error
	if l.commands, err = l.dial(0, nil); err == nil {
		l.receiver, err = l.dial(1, l.hold)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(l.ctx, answerTimeout)
		err = l.ensure(ctx)
		cancel()
	}
	if err != nil {
		l.cancel()
		l.hangUp()
		return nil, err
	}
	switch {
	case b.options.Memory != nil:
		l.memory = b.options.Memory()
	case !b.options.Trust && l.commands.ConnectedClusterName() == "":
		sum := sha256.Sum256([]byte(l.commands.ConnectedServerId()))
		l.memory = hex.EncodeToString(sum[:6])
	}
	if l.memory != "" {
		l.memory += "-" // no name of a memory begins with another one
	}
	return l, nil
}

// dial makes one connection. hold is called before it is read.
func (l *life) dial(k int, hold func()) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name("roost"), nats.NoReconnect(), nats.Timeout(dialTimeout), nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(answerTimeout),
		nats.ClosedHandler(func(c *nats.Conn) { l.fail(fmt.Errorf("nats: the connection is lost: %w", errors.Join(c.LastError()))) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.fail(fmt.Errorf("nats: %w", err)) }),
	}, l.b.options.security...)
	keep := func(c net.Conn) net.Conn {
		l.links[k] = &link{Conn: c, hold: hold}
		return l.links[k]
	}
	url := l.b.options.URL
	if server := l.b.options.Server; server != nil {
		options, url = append(options, nats.InProcessServer(inProcess{server, keep}), nats.UserInfo("roost", l.b.options.Password)), ""
	} else {
		options = append(options, nats.SetCustomDialer(dialer{keep}))
	}
	c, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("nats: connect: %w", err)
	}
	return c, nil
}

// A link is a connection whose writes end in time, and whose reads wait for hold.
type link struct {
	net.Conn
	hold func()
}

func (c *link) Read(b []byte) (int, error) {
	if c.hold != nil {
		c.hold()
	}
	return c.Conn.Read(b)
}

func (c *link) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

type dialer struct{ keep func(net.Conn) net.Conn }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second}).Dial(network, address)
	if err != nil {
		return nil, err
	}
	return d.keep(c), nil
}

type inProcess struct {
	server nats.InProcessConnProvider
	keep   func(net.Conn) net.Conn
}

func (p inProcess) InProcessConn() (net.Conn, error) {
	c, err := p.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return p.keep(c), nil
}

// begin begins to send and to receive.
func (l *life) begin() {
	for _, work := range []func(){l.subscribeAll, l.receive, l.watch, l.publishPlain, l.sweep} {
		l.ended.Go(work)
	}
}

// err returns why the life is over.
func (l *life) err() error { return cmp.Or(context.Cause(l.broken), broker.ErrUnavailable) }

// isOver reports whether nothing is to be sent any more.
func (l *life) isOver() bool { return l.broken.Err() != nil || l.ctx.Err() != nil }

// end closes the connections. Nothing is handed over any more when it has returned, and all
// that was asked is answered.
func (l *life) end() {
	l.cancel()
	l.mu.Lock()
	l.wake.Broadcast()
	l.mu.Unlock()
	l.hangUp()
	l.ended.Wait()
}

// hangUp closes the connections: the links first, so that a write that waits does not hold
// it up.
func (l *life) hangUp() {
	for _, c := range l.links {
		if c != nil {
			_ = c.Close()
		}
	}
	for _, c := range []*nats.Conn{l.commands, l.receiver} {
		if c != nil {
			c.Close()
		}
	}
}

// subscribe asks for a subscription, or for its end. With Broker.mu held.
func (l *life) subscribe(channel string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs = append(l.subs, subscription{channel, on})
	l.wake.Broadcast()
}

// await waits until ready, called with mu held, returns true, and reports whether the life
// goes on. It returns with mu held.
func (l *life) await(ready func() bool) bool {
	l.mu.Lock()
	for !ready() && l.ctx.Err() == nil {
		l.wake.Wait()
	}
	return l.ctx.Err() == nil
}

// subscribeAll makes and ends subscriptions, in their order. Behind those that are made it
// sends a probe: when that comes back, they hold.
func (l *life) subscribeAll() {
	_, own := l.b.subjects.probe(l.id)
	made := map[string]*nats.Subscription{}
	if _, err := l.receiver.ChanSubscribe(own, l.arrivals); err != nil {
		l.fail(fmt.Errorf("nats: subscribe: %w", err))
		return
	}
	advisories := "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED." + l.b.stream
	if _, err := l.receiver.ChanSubscribe(advisories, l.arrivals); err != nil {
		l.fail(fmt.Errorf("nats: subscribe: %w", err))
		return
	}
	for {
		if !l.await(func() bool { return len(l.subs) > 0 }) {
			l.mu.Unlock()
			return
		}
		subs := l.subs
		l.subs = nil
		l.mu.Unlock()
		var attached []string
		for _, s := range subs {
			if !s.on {
				if sub := made[s.channel]; sub != nil {
					_ = sub.Unsubscribe()
					delete(made, s.channel)
				}
				continue
			}
			attached = append(attached, s.channel)
			if made[s.channel] != nil {
				continue
			}
			sub, err := l.receiver.ChanSubscribe(l.b.subjects.live(s.channel), l.arrivals)
			if err != nil {
				l.fail(fmt.Errorf("nats: subscribe: %w", err))
				return
			}
			made[s.channel] = sub
		}
		if len(attached) > 0 {
			l.probe(attached)
		}
	}
}
