package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/server/broker"
)

// A life is one life of the connections to the server: one for commands, one that
// receives. If either breaks, or the server turns out to be another process, the life is
// over, and another one begins.
type life struct {
	// Immutable.
	b        *Broker
	client   rueidis.Client
	receiver rueidis.DedicatedClient
	release  func()
	scripts  scripts
	brokenc  chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc
	ended    sync.WaitGroup
	probe    string // a channel of its own

	heard atomic.Int64 // when something was received, in Unix nanoseconds

	mu   sync.Mutex
	wake sync.Cond
	// Guarded by mu.
	why      error // why it is over
	commands []command
	subs     []subscription
	// pending are the subscriptions of a channel that the server has not confirmed.
	pending map[string]int
}

// A command is one that waits to be sent, and what is done with its result, or where it was
// never sent.
type command struct {
	completed rueidis.Completed
	done      func(rueidis.RedisResult)
	unsent    func()
	read      bool
}

// A subscription is one that waits to be made or, unless on, ended.
type subscription struct {
	channel string
	on      bool
}

const (
	// batchMax is how many commands are sent together: enough that a round trip is nothing
	// beside them, and few enough that the first ones do not wait long. readsMax is how many
	// of them read: pages are large, and all must have come within answerTimeout.
	batchMax = 1000
	readsMax = 16
	// subscribeMax is how many channels one command names, so that 50,000 are a hundred
	// commands, and none of them holds up the server's other clients.
	subscribeMax = 512
	// probeInterval is how often a message is sent around if nothing was received, and
	// deafAfter when the connection is given up that receives nothing.
	probeInterval = 2 * time.Second
	deafAfter     = 8 * time.Second
)

// connect makes the connections.
func (b *Broker) connect() (*life, error) {
	client, err := rueidis.NewClient(b.options)
	if err != nil {
		if client != nil {
			client.Close()
		}
		return nil, fmt.Errorf("redis: connect: %w", err)
	}
	l := &life{b: b, client: client, brokenc: make(chan struct{}), pending: map[string]int{}, probe: b.prefix + "probe:" + newID()}
	l.wake.L = &l.mu
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.heard.Store(time.Now().UnixNano())
	l.receiver, l.release = client.Dedicate()
	ctx, cancel := context.WithTimeout(l.ctx, answerTimeout)
	defer cancel()
	// On one connection, so that the scripts are in the process whose name they have.
	if l.scripts, err = load(ctx, l.receiver, b.fence()); err != nil {
		l.release()
		client.Close()
		return nil, err
	}
	return l, nil
}

// begin begins to send and to receive.
func (l *life) begin() {
	lost := l.receiver.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: l.onMessage, OnSubscription: l.onSubscription})
	for _, work := range []func(){
		l.send,
		l.subscribeAll,
		l.watch,
		func() {
			select {
			case err := <-lost:
				l.fail(fmt.Errorf("redis: the receiving connection is lost: %w", errors.Join(err)))
			case <-l.ctx.Done():
			}
		},
	} {
		l.ended.Go(work)
	}
}

// fail ends the life.
func (l *life) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = err
		close(l.brokenc)
	}
}

// err returns why the life is over.
func (l *life) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		return broker.ErrUnavailable
	}
	return l.why
}

// end closes the connections. Nothing is handed over any more when it has returned, and
// all commands are answered.
func (l *life) end() {
	l.cancel()
	l.mu.Lock()
	l.wake.Broadcast()
	l.mu.Unlock()
	l.release()
	l.client.Close()
	l.ended.Wait()
}

// do sends a command, soon. With Broker.mu held, so that the life is not over.
func (l *life) do(c command) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = append(l.commands, c)
	l.wake.Broadcast()
}

// nextBatch returns the commands that are sent together next.
func nextBatch(commands []command) []command {
	reads := 0
	for i := range commands {
		if commands[i].read {
			reads++
		}
		if i == batchMax || reads > readsMax {
			return commands[:i]
		}
	}
	return commands
}

// send sends what has gathered, again and again.
func (l *life) send() {
	for {
		l.mu.Lock()
		for len(l.commands) == 0 && l.ctx.Err() == nil {
			l.wake.Wait()
		}
		batch := nextBatch(l.commands)
		l.commands = l.commands[len(batch):]
		if len(l.commands) == 0 {
			l.commands = nil
		}
		l.mu.Unlock()
		if l.ctx.Err() != nil {
			for _, c := range batch {
				c.unsent()
			}
			if len(batch) == 0 {
				return
			}
			continue
		}
		completed := make([]rueidis.Completed, len(batch))
		for i := range batch {
			completed[i] = batch[i].completed
		}
		ctx, cancel := context.WithTimeout(l.ctx, answerTimeout)
		results := l.client.DoMulti(ctx, completed...)
		cancel()
		for i, result := range results {
			if err := result.NonRedisError(); err != nil && !rueidis.IsRedisNil(err) {
				l.fail(fmt.Errorf("redis: no answer: %w", err))
			} else if err := result.Error(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
				l.fail(errors.New("redis: the server was started again, or another one has taken its place"))
			} else if err != nil && strings.HasPrefix(err.Error(), "READONLY") {
				l.fail(errors.New("redis: the server has become a replica"))
			}
			batch[i].done(result)
		}
	}
}

// subscribe asks for a subscription, or for its end. With Broker.mu held.
func (l *life) subscribe(channel string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs = append(l.subs, subscription{channel, on})
	if on {
		l.pending[channel]++
	}
	l.wake.Broadcast()
}

// subscribeAll makes and ends subscriptions, in their order.
func (l *life) subscribeAll() {
	ctx, cancel := context.WithTimeout(l.ctx, answerTimeout)
	defer cancel()
	if err := l.receiver.Do(ctx, l.receiver.B().Subscribe().Channel(l.probe).Build()).Error(); err != nil {
		l.fail(fmt.Errorf("redis: subscribe: %w", err))
		return
	}
	for {
		l.mu.Lock()
		for len(l.subs) == 0 && l.ctx.Err() == nil {
			l.wake.Wait()
		}
		if l.ctx.Err() != nil {
			l.mu.Unlock()
			return
		}
		on := l.subs[0].on
		var names []string
		for len(l.subs) > 0 && l.subs[0].on == on && len(names) < subscribeMax {
			names = append(names, l.b.topic(l.subs[0].channel))
			l.subs = l.subs[1:]
		}
		l.mu.Unlock()
		cmd := l.receiver.B().Unsubscribe().Channel(names...).Build()
		if on {
			cmd = l.receiver.B().Subscribe().Channel(names...).Build()
		}
		if err := l.receiver.Do(l.ctx, cmd).Error(); err != nil {
			l.fail(fmt.Errorf("redis: subscribe: %w", err))
			return
		}
	}
}

// watch sends a message around when nothing comes.
func (l *life) watch() {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		switch silent := time.Since(time.Unix(0, l.heard.Load())); {
		case silent > deafAfter:
			l.fail(fmt.Errorf("redis: nothing was received for %v, though it was sent", silent.Round(time.Second)))
		case silent > probeInterval:
			l.do(command{completed: l.client.B().Publish().Channel(l.probe).Message("").Build(), done: func(rueidis.RedisResult) {}, unsent: func() {}})
		}
	}
}

// onMessage hands a message over. The connection is not read meanwhile.
func (l *life) onMessage(m rueidis.PubSubMessage) {
	l.heard.Store(time.Now().UnixNano())
	channel, ok := strings.CutPrefix(m.Channel, l.b.topic(""))
	if !ok {
		return
	}
	message, err := parse(channel, m.Message)
	if err != nil {
		l.fail(err)
		return
	}
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	if l.ctx.Err() == nil {
		l.b.in.Deliver(message)
	}
	l.heard.Store(time.Now().UnixNano())
}

// onSubscription notes that a subscription was made.
func (l *life) onSubscription(s rueidis.PubSubSubscription) {
	channel, ok := strings.CutPrefix(s.Channel, l.b.topic(""))
	if !ok || s.Kind != "subscribe" {
		return
	}
	l.mu.Lock()
	l.pending[channel]--
	last := l.pending[channel] <= 0
	if last {
		delete(l.pending, channel)
	}
	l.mu.Unlock()
	if !last || !l.b.isAttached(channel) {
		return
	}
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	if l.ctx.Err() == nil {
		l.b.in.Attached(channel)
	}
}
