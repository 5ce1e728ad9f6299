// Package embedded is a broker that brings its NATS server along, in this process: histories
// in a directory of this machine, without another program.
//
// It is the broker of package nats, on a server of its own (github.com/nats-io/nats-server).
// docs/decisions/0030-history-dir.md has the reasons.
package embedded

import (
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
	// Logger gets what goes wrong in the server; nil is none.
	Logger *slog.Logger
}

// A Broker is a broker and its server.
type Broker struct {
	*nats.Broker
	// Immutable.
	options Options
	made    time.Time
	memory  *memory
	closec  chan struct{}
	ended   sync.WaitGroup
	started atomic.Bool // Broker is there

	mu     sync.Mutex
	server *natsserver.Server // guarded by mu
}

// New returns a Broker. Nothing is opened before Start.
func New(o Options) *Broker {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Broker{options: o, made: time.Now(), closec: make(chan struct{})}
}

var errStarting = errors.New("embedded: the store is being read")

const (
	prefix = "roost"
	// startTimeout is how long the server may take to read what it has kept.
	startTimeout = 5 * time.Minute
	// watchInterval is how often it is looked whether the server has given up.
	watchInterval = 5 * time.Second
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
			err = errors.Join(err, b.memory.lock.Close())
		}
	}()
	if err = b.serve(); err != nil {
		return fmt.Errorf("history directory %s: %w", b.options.Dir, err)
	}
	b.Broker, err = nats.New(nats.Options{
		Server: b, Prefix: prefix, File: true, Alone: true, Memory: b.memory.name, Acknowledged: b.memory.note,
	})
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
	server, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "roost", DontListen: true, NoSigs: true, JetStream: true, StoreDir: filepath.Join(b.options.Dir, "store"),
		MaxPayload: payloadMax, MaxPending: 64 << 20, SyncAlways: b.options.Sync, SyncInterval: time.Minute,
	})
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
	if !server.ReadyForConnections(startTimeout) {
		return fmt.Errorf("the store is not ready after %v", startTimeout)
	}
	if !server.JetStreamEnabled() {
		return fmt.Errorf("the store can't be opened: %s", problems.last())
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
	for {
		select {
		case <-b.closec:
			return
		case <-tick.C:
		}
		b.mu.Lock()
		server := b.server
		b.mu.Unlock()
		if server != nil && server.JetStreamEnabled() && !errors.Is(b.Broker.Health().Publishing, broker.ErrUnknown) {
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
	if !b.started.Load() {
		return nil
	}
	close(b.closec)
	b.ended.Wait()
	err := b.Broker.Close()
	b.stop()
	return errors.Join(err, b.memory.end())
}
