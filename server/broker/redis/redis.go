// Package redis is a broker on Redis, 7.0 or later, or on servers that speak as it does
// (Valkey): one server, one that Sentinels watch, several side by side, or a Redis Cluster.
//
//	redis.go      Broker: what is asked of it, and which server a channel has
//	url.go        which servers there are
//	sequencer.go  one server that orders messages, and its health
//	life.go       one life of the connections to a server
//	sentinel.go   where the Sentinels say that the server is
//	cluster.go    the servers of a Redis Cluster
//	script.go     the scripts, and the fence around the memory of one process
//	wire.go       messages as bytes
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
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// Options say which Redis, and how.
type Options struct {
	// URL is redis://[user:password@]host:port[/database]; redis+sentinel://host:port,host:port/NAME
	// for a server that Sentinels know by that name; redis+cluster://host:port,host:port with
	// some servers of a Redis Cluster; each with rediss for TLS; or unix:///path. Several URLs,
	// separated by spaces, are servers side by side that share the channels; all nodes need
	// the same ones, in whatever order. Parameters may follow: ca=FILE, cert=FILE and
	// key=FILE for TLS, db=N, sentinel_user and sentinel_password; trust=true says that the
	// server has all that it acknowledged when it is started again (appendonly yes,
	// appendfsync always), and that no replica takes its place.
	URL string
	// Prefix begins all keys and channels. Servers with the same Redis, database and Prefix
	// are one cluster. If empty, "roost:".
	Prefix string
	// TLS, if not nil, is how to connect to rediss URLs. If nil, with the system's
	// certificates of authorities.
	TLS *tls.Config
}

// A Broker connects one server with the others.
type Broker struct {
	// Immutable.
	prefix  string
	topics  string // begins the topics, which databases have in common
	closec  chan struct{}
	ended   sync.WaitGroup
	cluster *cluster // nil unless it is a Redis Cluster

	// inbound is held while in is called.
	inbound sync.Mutex
	in      broker.Inbound

	mu sync.Mutex
	// Guarded by mu.
	sequencers []*sequencer // in a cluster they change
	attached   map[string]bool
	closed     bool
}

// New checks options. Nothing is connected before Start.
func New(o Options) (*Broker, error) {
	if o.Prefix == "" {
		o.Prefix = "roost:"
	}
	b := &Broker{prefix: o.Prefix, topics: o.Prefix + "c:", closec: make(chan struct{}), attached: map[string]bool{}}
	list := strings.Fields(o.URL)
	if len(list) == 0 {
		return nil, errors.New("redis: the URL is not one of " + urls)
	}
	names, database := map[string]bool{}, 0
	for _, text := range list {
		t, err := parseURL(text, o.TLS)
		if err != nil {
			return nil, err
		}
		if names[t.name()] {
			return nil, fmt.Errorf("redis: %s is there twice", t.name())
		}
		names[t.name()] = true
		switch t.mode {
		case "cluster":
			if strings.ContainsAny(o.Prefix, "{}") {
				return nil, errors.New("redis: in a cluster the prefix must not contain braces")
			}
			if len(list) > 1 {
				return nil, errors.New("redis: a cluster is not used beside other servers")
			}
			b.cluster = newCluster(b, t)
			return b, nil
		case "sentinel":
			b.sequencers = append(b.sequencers, b.newSequencer(t.name(), t, t.ask))
		default:
			b.sequencers = append(b.sequencers, b.newSequencer(t.name(), t, fixed(t.addresses[0])))
		}
		if len(names) > 1 && t.client.SelectDB != database {
			return nil, errors.New("redis: servers side by side have the same database") // the topics hold one number
		}
		if database = t.client.SelectDB; database != 0 {
			b.topics = fmt.Sprintf("%sc%d:", o.Prefix, t.client.SelectDB)
		}
	}
	return b, nil
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
	if b.cluster != nil {
		b.ended.Go(b.cluster.run)
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sequencers {
		b.ended.Go(s.run)
	}
	return nil
}

// owner returns the sequencer of a channel, nil if there is none now. With mu held.
func (b *Broker) owner(channel string) *sequencer {
	switch {
	case b.cluster != nil:
		return b.cluster.owners[partOf(channel)]
	case len(b.sequencers) == 1:
		return b.sequencers[0]
	}
	return b.sequencers[choose(channel, b.sequencers)]
}

// choose returns which of several sequencers a channel has: the one for which the hash of
// both names is the highest, so that one more takes its share from each of the others, and
// moves nothing between them.
func choose(channel string, list []*sequencer) (best int) {
	var high uint64
	for i, s := range list {
		h := fnv.New64a()
		_, _ = io.WriteString(h, s.name+"\x00"+channel)
		mixed := h.Sum64() // whose high bits depend little on the last letters
		mixed = (mixed ^ mixed>>33) * 0xff51afd7ed558ccd
		mixed = (mixed ^ mixed>>33) * 0xc4ceb9fe1a85ec53
		if mixed ^= mixed >> 33; mixed > high {
			best, high = i, mixed
		}
	}
	return best
}

// ownedBy returns a function that reports whether a channel is one of s now, nil if all
// are. With mu held.
func (b *Broker) ownedBy(s *sequencer) func(channel string) bool {
	switch {
	case b.cluster != nil:
		owners := b.cluster.owners
		return func(channel string) bool { return owners[partOf(channel)] == s }
	case len(b.sequencers) == 1:
		return nil
	}
	return func(channel string) bool { return b.owner(channel) == s } // that does not change
}

// lifeOf returns where the commands of a channel go now, or nil. With mu held.
func (b *Broker) lifeOf(channel string) *life {
	if s := b.owner(channel); s != nil {
		return s.life
	}
	return nil
}

// look lets the servers of a cluster be looked for now.
func (b *Broker) look() {
	if b.cluster != nil {
		b.cluster.look()
	}
}

// Publish runs the script of a publication.
func (b *Broker) Publish(p *broker.Publication, done func(broker.Placed, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lifeOf(p.Channel)
	if l == nil {
		b.later(func() { done(broker.Placed{}, broker.ErrUnavailable) })
		return
	}
	l.do(l.publication(p, done))
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
	if l := b.lifeOf(channel); l != nil {
		l.subscribe(channel, on)
	}
}

// isAttached reports whether a channel is wanted from s.
func (b *Broker) isAttached(channel string, s *sequencer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attached[channel] && b.owner(channel) == s
}

// Read runs the script of a read.
func (b *Broker) Read(channel string, keep broker.Keep, since *history.Position, done func(broker.Page, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lifeOf(channel)
	if l == nil {
		b.later(func() { done(broker.Page{}, broker.ErrUnavailable) })
		return
	}
	l.do(l.reading(channel, keep, since, done))
}

// Health returns whether the servers are there.
func (b *Broker) Health() broker.Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster != nil {
		return b.cluster.health()
	}
	return together(b.sequencers)
}

// Close ends the connections.
func (b *Broker) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.closec)
	}
	list := slices.Clone(b.sequencers)
	b.mu.Unlock()
	for _, s := range list {
		s.close()
	}
	b.ended.Wait()
	return nil
}

// refusals are the codes of errors with which a server refuses a script before it has
// changed anything, and what to do.
var refusals = map[string]string{
	"OOM":         "the memory that it may use is full: raise maxmemory, or keep less (--history)",
	"MISCONF":     "it can't save its data: look at its disk and its log",
	"NOREPLICAS":  "too few replicas follow it (min-replicas-to-write)",
	"NOAUTH":      "it wants a password",
	"LOADING":     "it loads its data",
	"BUSY":        "it runs a script of somebody else's for too long",
	"READONLY":    "it is a replica",
	"MASTERDOWN":  "it is a replica",
	"CLUSTERDOWN": "a part of the cluster has no server",
	"MOVED":       "the channel has moved to another server",
	"ASK":         "the channel is on its way to another server",
	"TRYAGAIN":    "the channel is on its way to another server",
	"NOSCRIPT":    "it was started again, or another one has taken its place",
	"FENCED":      "it has the data of another one",
}

// codeOf returns the code of a server's error.
func codeOf(err error) string {
	if _, ok := rueidis.IsRedisErr(err); !ok {
		return ""
	}
	code, _, _ := strings.Cut(err.Error(), " ")
	return code
}

// fate returns the error of a command that failed.
func fate(err error) error {
	if advice := refusals[codeOf(err)]; advice != "" {
		return fmt.Errorf("%w: %s: %w", broker.ErrUnavailable, advice, err)
	}
	return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
}
