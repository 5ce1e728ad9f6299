// Package redis is a broker on one Redis server, 7.0 or later, or a server that speaks as
// it does (Valkey).
//
//	redis.go    Broker: what is asked of it
//	life.go     one life of the connections to the server
//	script.go   the scripts, and the fence around the memory of one process
//	wire.go     messages as bytes
//
// A publication is one command and one round trip: a script gives the message its offset,
// keeps it in a stream, remembers the idempotency key and publishes it to the nodes that
// have subscribed. What is asked for while commands are on their way goes out together
// after them. A channel without messages costs a subscription, and no command.
//
// A Redis that was started again, or promoted, may lack what it had acknowledged before.
// So an epoch holds for one process (its run_id): the scripts name it, and no other process
// has them. Every channel begins another epoch there. A key, the fence, says whose the data
// is: one that was a replica for a while, and has its data from another one, begins anew,
// too.
package redis

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// Options say which Redis, and how.
type Options struct {
	// URL is redis://[user:password@]host:port[/database], rediss:// for TLS, or
	// unix:///path.
	URL string
	// Prefix begins all keys and channels. Servers with the same Redis, database and Prefix
	// are one cluster. If empty, "roost:".
	Prefix string
}

// A Broker connects one server with the others.
type Broker struct {
	// Immutable.
	options rueidis.ClientOption
	prefix  string
	topics  string // begins the topics, which databases have in common
	closec  chan struct{}
	ended   sync.WaitGroup

	// inbound is held while in is called.
	inbound sync.Mutex
	in      broker.Inbound

	mu sync.Mutex
	// Guarded by mu.
	life     *life // nil while there is none
	attached map[string]bool
	health   broker.Health
	closed   bool
}

// New checks options. Nothing is connected before Start.
func New(o Options) (*Broker, error) {
	options, err := rueidis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("redis: the URL is not redis://[user:password@]host:port[/database], rediss:// or unix:///path") // err may hold the password
	}
	options.ForceSingleClient, options.DisableRetry, options.DisableCache, options.AlwaysPipelining = true, true, true, true
	options.ClientSetInfo = rueidis.DisableClientSetInfo
	options.ClientName = "roost"
	options.Dialer.Timeout, options.Dialer.KeepAlive = dialTimeout, time.Second
	options.ConnWriteTimeout = answerTimeout
	if o.Prefix == "" {
		o.Prefix = "roost:"
	}
	topics := o.Prefix + "c:"
	if options.SelectDB != 0 {
		topics = fmt.Sprintf("%sc%d:", o.Prefix, options.SelectDB)
	}
	return &Broker{
		options: options, prefix: o.Prefix, topics: topics, closec: make(chan struct{}), attached: map[string]bool{},
		health: broker.Health{Publishing: errConnecting, Receiving: errConnecting, Since: time.Now()},
	}, nil
}

const (
	dialTimeout = 2 * time.Second
	// answerTimeout is how long the server may take to answer. Then the connections are
	// given up.
	answerTimeout = 3 * time.Second
	// retryMin and retryMax bound the random delay before a lost server is looked for
	// again: servers that lost it together do not come back together.
	retryMin, retryMax = 50 * time.Millisecond, time.Second
	// A life that lasted for less than shortLife is a failed try: a server that takes the
	// connections and refuses what is done with them is not asked at once again.
	shortLife = time.Second
)

var errConnecting = errors.New("redis: not connected yet")

// Start begins to connect.
func (b *Broker) Start(in broker.Inbound) error {
	b.in = in
	b.ended.Add(1)
	go b.run()
	return nil
}

// run lives one life after the other.
func (b *Broker) run() {
	defer b.ended.Done()
	tries := retry.Backoff{Min: retryMin, Max: retryMax}
	for {
		if l, err := b.connect(); err != nil {
			b.fail(err)
		} else {
			born := time.Now()
			b.live(l)
			if time.Since(born) > shortLife {
				tries.Reset()
			}
		}
		select {
		case <-b.closec:
			return
		case <-time.After(tries.Next()):
		}
	}
}

// live uses l until it breaks.
func (b *Broker) live(l *life) {
	b.mu.Lock()
	b.life = l
	b.health = broker.Health{Since: time.Now()}
	for channel := range b.attached {
		l.subscribe(channel, true)
	}
	b.mu.Unlock()
	l.begin()
	select {
	case <-l.brokenc:
	case <-b.closec:
	}
	b.fail(l.err())
	b.mu.Lock()
	b.life = nil
	b.mu.Unlock()
	l.end()
	b.inbound.Lock()
	defer b.inbound.Unlock()
	select {
	case <-b.closec:
	default:
		b.in.Interrupted(l.err())
	}
}

// fail notes why nothing works.
func (b *Broker) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health.Publishing == nil {
		b.health.Since = time.Now()
	}
	b.health.Publishing, b.health.Receiving = err, err
}

// Publish runs the script of a publication.
func (b *Broker) Publish(p *broker.Publication, done func(broker.Placed, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life == nil {
		go done(broker.Placed{}, broker.ErrUnavailable)
		return
	}
	b.life.do(b.publication(b.life, p, done))
}

// Attach subscribes to a channel.
func (b *Broker) Attach(channel string) { b.attach(channel, true) }

// Detach undoes Attach.
func (b *Broker) Detach(channel string) { b.attach(channel, false) }

func (b *Broker) attach(channel string, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on {
		b.attached[channel] = true
	} else {
		delete(b.attached, channel)
	}
	if b.life != nil {
		b.life.subscribe(channel, on)
	}
}

// isAttached reports whether a channel is wanted.
func (b *Broker) isAttached(channel string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attached[channel]
}

// Read runs the script of a read.
func (b *Broker) Read(channel string, keep broker.Keep, since *history.Position, done func(broker.Page, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life == nil {
		go done(broker.Page{}, broker.ErrUnavailable)
		return
	}
	b.life.do(b.reading(b.life, channel, keep, since, done))
}

// Health returns whether the server is there.
func (b *Broker) Health() broker.Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.health
}

// Close ends the connections.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.ended.Wait()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.closec)
	}
	return nil
}

// fate returns the error of a command that got no answer.
func fate(err error) error {
	if _, ok := rueidis.IsRedisErr(err); ok {
		// The server has refused it, as one does that loads its data, or is a replica.
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
}
