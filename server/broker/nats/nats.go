// Package nats is a broker on NATS, version 2.11 or later, with JetStream.
//
//	nats.go       Broker: what is asked of it
//	life.go       one life of the connections
//	receive.go    what arrives, and how it is known that it does
//	sequencer.go  publications of one channel, one after the other
//	plain.go      publications to channels without history
//	keys.go       idempotency keys
//	read.go       pages of histories
//	stream.go     the stream, its subjects and what is asked of it
//	record.go     records as bytes, names as tokens of subjects
//
// Messages of channels without history are core messages. All histories are in one stream,
// a subject for each channel. A record there has the epoch and the offsets of its messages,
// and is appended with a condition: that the last record of the subject is the one that the
// publisher knows. So offsets have no holes, whatever nodes publish, and none is given twice.
// What gathers while a record is on its way goes in the next one. The stream itself hands a
// record on to the nodes (RePublish); they find holes by the offsets.
//
// The last record of a channel is kept for a week, so that a quiet channel keeps its
// position. A stream that has lost it begins another epoch. docs/decisions/0029-nats.md has
// the reasons, and says what is trusted.
package nats

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// Options say which NATS, and how.
type Options struct {
	// URL is nats://[user:password@]host:port, or tls:// for TLS; several servers of one
	// cluster are separated by commas. Parameters may follow the last one: credentials=FILE,
	// ca=FILE, cert=FILE and key=FILE, storage=memory or file, replicas=N, trust=true. They
	// set the fields of the same names.
	URL string
	// Server, if not nil, is a server in this process, and URL is empty.
	Server nats.InProcessConnProvider
	// Password is what Server asks for, with the user "roost".
	Password string
	// Prefix begins all subjects and names the stream. Servers with the same NATS account
	// and Prefix are one cluster. A colon at its end is left out. If empty, "roost".
	Prefix string
	// File says that the stream is kept in files and not in memory, and Replicas in how many
	// servers; 1 if 0. They are for the node that makes the stream.
	File     bool
	Replicas int
	// Trust says that a server that was started again has all that it acknowledged before.
	// Without it, another process of a single server is another epoch. In a NATS cluster it
	// is always trusted.
	Trust bool
	// Memory, if not nil, takes the place of Trust: it is asked at every connection, and names
	// what the server remembers. With another name, all channels begin another epoch.
	Memory func() string
	// Acknowledged, if not nil, is called with the sequence in the stream of each record that
	// the server has acknowledged, before its publishers are told; with an error they are told
	// that its fate is not known. By any goroutine.
	Acknowledged func(sequence uint64) error
	// Alone says that no other node uses the stream: then it is known how many nodes have
	// attached a channel.
	Alone bool

	security []nats.Option
}

func (o *Options) storage() jetstream.StorageType {
	if o.File {
		return jetstream.FileStorage
	}
	return jetstream.MemoryStorage
}

// A Broker connects one server with the others.
type Broker struct {
	// Immutable.
	options  Options
	subjects subjects
	stream   string
	closec   chan struct{}
	ended    sync.WaitGroup

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

const (
	dialTimeout = 2 * time.Second
	// answerTimeout is how long the server may take to answer.
	answerTimeout = 5 * time.Second
	// retryMin and retryMax bound the random delay before a lost server is looked for
	// again.
	retryMin, retryMax = 50 * time.Millisecond, time.Second
	// A life that lasted for less than shortLife is a failed try.
	shortLife = time.Second
	// metaAge is how long the position of a channel outlives its messages at least.
	metaAge = 7 * 24 * time.Hour
)

// recordAge is how long a record is kept at most: longer than its messages, because the
// last one holds the position.
func recordAge(keep broker.Keep) time.Duration { return max(metaAge, 2*keep.Age) }

// New checks options. Nothing is connected before Start.
func New(o Options) (*Broker, error) {
	if err := o.parse(); err != nil {
		return nil, err
	}
	if !o.File && o.Replicas > 1 {
		return nil, fmt.Errorf("nats: %d replicas in memory lose acknowledged messages without a trace if two servers are started again at one time: with replicas, storage=file", o.Replicas)
	}
	o.Prefix = strings.TrimSuffix(o.Prefix, ":")
	if o.Prefix == "" {
		o.Prefix = "roost"
	}
	name := token(o.Prefix)
	return &Broker{
		options: o, subjects: subjects{name}, stream: strings.ReplaceAll(name, ":", "=3A"), closec: make(chan struct{}),
		attached: map[string]bool{}, health: broker.Health{Publishing: errConnecting, Receiving: errConnecting, Since: time.Now()},
	}, nil
}

var errConnecting = fmt.Errorf("nats: not connected yet")

// parse takes the parameters out of the URL. Errors do not show the URL, which may have a
// password.
func (o *Options) parse() error {
	if o.Server != nil {
		return nil
	}
	var query string
	o.URL, query, _ = strings.Cut(o.URL, "?")
	for one := range strings.SplitSeq(o.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" {
			return fmt.Errorf("nats: the URL is not nats://[user:password@]host:port or tls://, several separated by commas")
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("nats: the parameters of the URL can't be read")
	}
	for name := range values {
		value := values.Get(name)
		switch name {
		case "credentials":
			o.security = append(o.security, nats.UserCredentials(value))
		case "ca":
			o.security = append(o.security, nats.RootCAs(value))
		case "cert":
			o.security = append(o.security, nats.ClientCert(value, values.Get("key")))
		case "key":
			if !values.Has("cert") {
				return fmt.Errorf("nats: key needs cert")
			}
		case "storage":
			if o.File = value == "file"; !o.File && value != "memory" {
				return fmt.Errorf("nats: storage is memory or file")
			}
		case "replicas":
			if o.Replicas, err = strconv.Atoi(value); err != nil || o.Replicas < 1 || o.Replicas > 5 {
				return fmt.Errorf("nats: replicas is a number from 1 to 5")
			}
		case "trust":
			if o.Trust, err = strconv.ParseBool(value); err != nil {
				return fmt.Errorf("nats: trust is true or false")
			}
		default:
			return fmt.Errorf("nats: the URL has no parameter %q; it has credentials, ca, cert, key, storage, replicas and trust", name)
		}
	}
	for _, option := range o.security { // files that can't be read are told now, and not at every try to connect
		if err := option(&nats.Options{}); err != nil {
			return err
		}
	}
	return nil
}

// Start begins to connect.
func (b *Broker) Start(in broker.Inbound) error {
	b.in = in
	b.ended.Go(b.run)
	return nil
}

// run lives one life after the other.
func (b *Broker) run() {
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
	case <-l.broken.Done():
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
		b.in.Interrupted(nil, l.err())
	}
}

// refused notes why publications are refused, nil if they are not any more.
func (b *Broker) refused(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.health.Receiving == nil && (b.health.Publishing == nil) != (err == nil) {
		b.health.Publishing, b.health.Since = err, time.Now()
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

// Publish gives a publication to what publishes to its channel.
func (b *Broker) Publish(p *broker.Publication, done func(broker.Placed, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.life == nil:
		b.later(func() { done(broker.Placed{}, broker.ErrUnavailable) })
	case p.Keep.Messages > 0:
		b.life.sequence(&job{p: p, done: done})
	default:
		b.life.plain(&job{p: p, done: done})
	}
}

// Interrupt says that messages may have been lost on their way between servers: everything
// is attached and read again. Any goroutine.
func (b *Broker) Interrupt(why error) {
	b.mu.Lock()
	l := b.life
	b.mu.Unlock()
	if l != nil {
		l.lost(why)
	}
}

// later calls done on a goroutine that Close waits for, unless it was called. With mu held.
func (b *Broker) later(done func()) {
	if b.closed {
		go done()
	} else {
		b.ended.Go(done)
	}
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

// nodes returns how many nodes have attached a channel, as far as that is known.
func (b *Broker) nodes(channel string) int {
	switch {
	case !b.options.Alone:
		return broker.NodesUnknown
	case b.isAttached(channel):
		return 1
	}
	return 0
}

// Read reads a page, soon.
func (b *Broker) Read(channel string, keep broker.Keep, since *history.Position, done func(broker.Page, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life == nil {
		b.later(func() { done(broker.Page{}, broker.ErrUnavailable) })
		return
	}
	var after history.Position
	if since != nil {
		after = *since
	}
	l := b.life
	l.read(func() {
		ctx, cancel := context.WithTimeout(l.ctx, answerTimeout)
		defer cancel()
		done(l.page(ctx, channel, keep, after))
	})
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
