// Package embedded is a broker that brings its NATS server along, in this process: histories
// in a directory of this machine, or of three, without another program.
//
// It is the broker of package nats, on a server of its own (github.com/nats-io/nats-server).
// docs/decisions/0030-history-dir.md has the reasons.
package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/nats"
)

// Options say where a broker keeps what.
type Options struct {
	// Dir is the directory of the histories. It is made if need be. One process has it.
	Dir string
	// Sync says that a publication is on the disk before it is acknowledged. Without it, a
	// killed process loses nothing, and a machine that goes down begins other epochs.
	Sync bool
	// Cluster, if not nil, connects this server with others.
	Cluster *Cluster
	// Logger gets what goes wrong in the server; nil is none.
	Logger *slog.Logger
}

// A Broker is a broker and its server.
type Broker struct {
	*nats.Broker
	// Immutable.
	options  Options
	made     time.Time
	password string // of this process with its server
	memory   *memory
	closec   chan struct{}
	ended    sync.WaitGroup
	started  atomic.Bool // Broker is there
	closed   atomic.Bool

	mu     sync.Mutex
	server *natsserver.Server // guarded by mu
}

// New checks options. Nothing is opened before Start.
func New(o Options) (*Broker, error) {
	if o.Dir == "" {
		return nil, errors.New("embedded: without a directory nothing is kept")
	}
	if o.Cluster != nil {
		if err := o.Cluster.check(); err != nil {
			return nil, fmt.Errorf("embedded: %w", err)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Broker{options: o, made: time.Now(), closec: make(chan struct{}), password: rand.Text()}, nil
}

var errStarting = errors.New("embedded: the store is being read")

const (
	prefix = "roost"
	// startTimeout is how long the server may take to read what it has kept.
	startTimeout = 5 * time.Minute
	// watchInterval is how often it is looked how the server is doing; at every restartTicks-th
	// time one that has given up is started anew.
	watchInterval, restartTicks = 500 * time.Millisecond, 10
	// payloadMax is the largest record; the server of NATS advises against more.
	payloadMax = 8 << 20
)

// Start opens the directory and starts the server in it.
func (b *Broker) Start(in broker.Inbound) (err error) {
	if b.memory, err = openMemory(b.options.Dir); err != nil {
		return fmt.Errorf("history directory %s: %w", b.options.Dir, err)
	}
	defer func() {
		if err != nil {
			b.stop()
			err = errors.Join(err, b.memory.acknowledged.Close(), b.memory.lock.Close())
		}
	}()
	if err = b.serve(); err != nil {
		return fmt.Errorf("history directory %s: %w", b.options.Dir, err)
	}
	options := nats.Options{Server: b, Prefix: prefix, File: true, Password: b.password}
	if b.options.Cluster != nil {
		options.Replicas = replicas
	} else {
		options.Alone, options.Memory, options.Acknowledged = true, b.memory.name, b.memory.note
	}
	b.Broker, err = nats.New(options)
	if err != nil {
		return err
	}
	b.started.Store(true)
	b.ended.Go(b.watch)
	return b.Broker.Start(in)
}

// InProcessConn returns a connection to the server.
func (b *Broker) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil, errStarting
	}
	return b.server.InProcessConn()
}

// Health returns how the broker is doing, also while it starts.
func (b *Broker) Health() broker.Health {
	if !b.started.Load() {
		return broker.Health{Publishing: errStarting, Receiving: errStarting, Since: b.made}
	}
	return b.Broker.Health()
}

// serve starts the server, and looks whether it has everything that it had.
func (b *Broker) serve() error {
	o := &natsserver.Options{
		ServerName: "roost", DontListen: true, NoSigs: true, JetStream: true, StoreDir: filepath.Join(b.options.Dir, "store"),
		MaxPayload: payloadMax, MaxPending: 64 << 20, SyncAlways: b.options.Sync, SyncInterval: time.Minute,
		Username: prefix, Password: b.password,
	}
	if c := b.options.Cluster; c != nil {
		if err := c.configure(o); err != nil {
			return err
		}
	}
	server, err := natsserver.NewServer(o)
	if err != nil {
		return err
	}
	problems := &logger{to: b.options.Logger}
	server.SetLogger(problems, false, false)
	server.Start()
	err = b.check(server, problems)
	if err != nil {
		server.Shutdown()
		server.WaitForShutdown()
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.server = server
	return nil
}

// check waits for a server that has begun, and compares it with the memory.
func (b *Broker) check(server *natsserver.Server, problems *logger) error {
	for end := time.Now().Add(startTimeout); !server.ReadyForConnections(time.Second); {
		if problem := problems.fatal(); problem != "" {
			return errors.New(problem)
		}
		select {
		case <-b.closec:
			return errStarting
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("the store is not ready after %v", startTimeout)
		}
	}
	if !server.JetStreamEnabled() {
		return fmt.Errorf("the store can't be opened: %s", problems.last())
	}
	if b.options.Cluster != nil {
		return nil // what one server has lost, the others have
	}
	last, lost, err := stored(server)
	if err != nil {
		return err
	}
	why, err := b.memory.begin(last, lost, b.options.Sync)
	if why != "" {
		b.options.Logger.Warn("histories may have lost messages: all channels begin another epoch", "why", why, "dir", b.options.Dir)
	}
	return err
}

// stored returns the sequence of the stream's last record, and how many records the server
// knows that it has lost.
func stored(server *natsserver.Server) (last uint64, lost int, err error) {
	info, err := server.Jsz(&natsserver.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return 0, 0, err
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Name != prefix {
				continue
			}
			if last = stream.State.LastSeq; stream.State.Lost != nil {
				lost = len(stream.State.Lost.Msgs)
			}
		}
	}
	return last, lost, nil
}

// watch starts the server anew if it has given up, as it does after an error of the disk: it
// does not come back by itself when there is room again.
func (b *Broker) watch() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	var connected map[uint64]bool
	for n := 1; ; n++ {
		select {
		case <-b.closec:
			return
		case <-tick.C:
		}
		b.mu.Lock()
		server := b.server
		b.mu.Unlock()
		failed := server == nil || !server.JetStreamEnabled()
		if b.options.Cluster != nil {
			if server != nil {
				connected = b.watchRoutes(server, connected)
			}
		} else {
			failed = failed || errors.Is(b.Broker.Health().Publishing, broker.ErrUnknown)
		}
		if !failed || n%restartTicks != 0 {
			continue
		}
		b.options.Logger.Warn("the store of the histories has failed: it is opened again", "dir", b.options.Dir)
		b.stop()
		if err := b.serve(); err != nil {
			b.options.Logger.Error("the store of the histories can't be opened", "dir", b.options.Dir, "err", err)
		}
	}
}

// stop ends the server.
func (b *Broker) stop() {
	b.mu.Lock()
	server := b.server
	b.server = nil
	b.mu.Unlock()
	if server != nil {
		server.Shutdown()
		server.WaitForShutdown()
	}
}

// Close ends the broker and its server, and lets the directory go.
func (b *Broker) Close() error {
	if !b.started.Load() || b.closed.Swap(true) {
		return nil
	}
	close(b.closec)
	b.ended.Wait()
	err := b.Broker.Close()
	b.stop()
	return errors.Join(err, b.memory.end())
}
