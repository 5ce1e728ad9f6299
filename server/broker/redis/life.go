package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	s        *sequencer
	client   rueidis.Client
	receiver rueidis.DedicatedClient
	release  func()
	scripts  scripts
	// broken is done when the life is over, with the reason that fail got first.
	broken context.Context
	fail   context.CancelCauseFunc
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup
	probe  string // a channel of its own

	heard atomic.Int64 // when something was received, in Unix nanoseconds

	mu sync.Mutex
	// Each has one goroutine that waits: for commands, and for subs.
	toSend, toSubscribe sync.Cond
	// Guarded by mu.
	commands []command
	subs     []subscription
	// pending are the subscriptions of a channel that the server has not confirmed, and
	// ending the ends of subscriptions.
	pending, ending map[string]int
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
	// checkInterval is how often a life makes sure that the server takes publications, and
	// is the one that it was: where only messages without history are published, nothing
	// else would show it. While it refuses them, it is asked each probeInterval.
	checkInterval = 8 * time.Second
)

// connect makes the connections.
func (s *sequencer) connect() (*life, error) {
	ctx, cancel := context.WithCancel(context.Background())
	soon, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	address, err := s.address(soon)
	if err != nil {
		cancel()
		return nil, err
	}
	o := s.options
	o.InitAddress = []string{address}
	client, err := rueidis.NewClient(o)
	if err != nil {
		cancel()
		if client != nil {
			client.Close()
		}
		return nil, fmt.Errorf("redis: connect: %w", err)
	}
	l := &life{
		b: s.b, s: s, client: client, ctx: ctx, cancel: cancel,
		pending: map[string]int{}, ending: map[string]int{}, probe: s.b.prefix + "probe:" + newID(),
	}
	l.broken, l.fail = context.WithCancelCause(context.Background())
	l.toSend.L, l.toSubscribe.L = &l.mu, &l.mu
	l.heard.Store(time.Now().UnixNano())
	l.receiver, l.release = client.Dedicate()
	// On one connection, so that the scripts are in the process whose name they have.
	if l.scripts, err = load(soon, l.receiver, s.trusted, s.b.cluster != nil); err != nil {
		cancel()
		l.release()
		client.Close()
		return nil, err
	}
	if s.moves {
		l.ended.Go(func() { l.follow(address) })
	}
	return l, nil
}

// follow ends the life when the server is to be found elsewhere.
func (l *life) follow(address string) {
	tick := time.NewTicker(probeInterval / 2)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(l.ctx, answerTimeout)
		now, err := l.s.address(ctx)
		cancel()
		if err == nil && now != address {
			l.fail(fmt.Errorf("redis: %s has taken the place of %s", now, address))
			return
		}
	}
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

// err returns why the life is over.
func (l *life) err() error { return cmp.Or(context.Cause(l.broken), broker.ErrUnavailable) }

// end closes the connections. Nothing is handed over any more when it has returned, and
// all commands are answered.
func (l *life) end() {
	l.cancel()
	l.mu.Lock()
	l.toSend.Signal()
	l.toSubscribe.Signal()
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
	l.toSend.Signal()
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
			l.toSend.Wait()
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
			}
			batch[i].done(result)
			l.judge(result.Error())
		}
	}
}

// judge looks at what a command says about the server. The result was handed over already.
func (l *life) judge(err error) {
	switch code := codeOf(err); code {
	case "", "CLUSTERDOWN":
		if code != "" {
			l.b.look()
		}
	case "NOSCRIPT", "READONLY", "FENCED":
		l.fail(fmt.Errorf("redis: %s: %w", refusals[code], err))
	case "MOVED":
		l.b.moved(l.s, err)
	case "ASK", "TRYAGAIN":
	default:
		l.s.refused(l, fmt.Errorf("redis: publications are refused: %s: %w", cmp.Or(refusals[code], "look at the server, and at what its user may do (docs/cluster.md)"), err))
	}
}

// subscribe asks for a subscription, or for its end. With Broker.mu held.
func (l *life) subscribe(channel string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs = append(l.subs, subscription{channel, on})
	if on {
		l.pending[channel]++
	} else {
		l.ending[channel]++
	}
	l.toSubscribe.Signal()
}

// subscribeTo asks for many subscriptions. With Broker.mu held.
func (l *life) subscribeTo(channels []string) {
	for _, channel := range channels {
		l.subscribe(channel, true)
	}
}

// nextSubscriptions takes those that one command makes or ends: in a cluster, of one part.
// It waits for some; there are none when the life is over.
func (l *life) nextSubscriptions() (channels []string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.subs) == 0 && l.ctx.Err() == nil {
		l.toSubscribe.Wait()
	}
	if l.ctx.Err() != nil {
		return nil, false
	}
	first := l.subs[0]
	for len(l.subs) > 0 && len(channels) < subscribeMax {
		next := l.subs[0]
		if next.on != first.on || l.b.cluster != nil && partOf(next.channel) != partOf(first.channel) {
			break
		}
		channels = append(channels, next.channel)
		l.subs = l.subs[1:]
	}
	return channels, first.on
}

// subscription returns the command.
func (l *life) subscription(channels []string, on bool) rueidis.Completed {
	topics := make([]string, len(channels))
	for i, channel := range channels {
		topics[i] = l.b.topic(channel)
	}
	switch build := l.receiver.B(); {
	case l.b.cluster != nil && on:
		return build.Ssubscribe().Channel(topics...).Build()
	case l.b.cluster != nil:
		return build.Sunsubscribe().Channel(topics...).Build()
	case on:
		return build.Subscribe().Channel(topics...).Build()
	default:
		return build.Unsubscribe().Channel(topics...).Build()
	}
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
		channels, on := l.nextSubscriptions()
		if len(channels) == 0 {
			return
		}
		err := l.receiver.Do(l.ctx, l.subscription(channels, on)).Error()
		switch codeOf(err) {
		case "MOVED", "CLUSTERDOWN", "TRYAGAIN", "ASK":
			l.unsubscribed(channels, on)
			l.b.lose(l.s, partOf(channels[0]), err)
		default:
			if err != nil {
				l.fail(fmt.Errorf("redis: subscribe: %w", err))
				return
			}
		}
	}
}

// unsubscribed notes that the server has refused to make, or to end, subscriptions.
func (l *life) unsubscribed(channels []string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := l.ending
	if on {
		count = l.pending
	}
	for _, channel := range channels {
		countDown(count, channel)
	}
}

// countDown takes one off the count of a channel, and reports whether there was one, and
// whether that was the last.
func countDown(count map[string]int, channel string) (was, last bool) {
	n := count[channel]
	if n <= 1 {
		delete(count, channel)
		return n == 1, true
	}
	count[channel] = n - 1
	return true, false
}

// watch sends a message around when nothing comes, and checks the server.
func (l *life) watch() {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	l.check()
	for checked := time.Now(); ; {
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
		if time.Since(checked) > checkInterval || l.s.refuses() {
			checked = time.Now()
			l.check()
		}
	}
}

// onMessage hands a message over. The connection is not read meanwhile.
func (l *life) onMessage(m rueidis.PubSubMessage) {
	l.heard.Store(time.Now().UnixNano())
	channel, ok := l.b.channelOf(m.Channel)
	if !ok {
		return
	}
	message, err := parse(channel, m.Message)
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	// What a server of a cluster says late about a part that it has lost is dropped.
	if l.ctx.Err() == nil && (l.b.cluster == nil && err == nil || l.b.isAttached(channel, l.s)) {
		if err == nil {
			l.b.in.Deliver(message)
		} else {
			// It comes from a later version, or from somebody else: the message can't be
			// had, the channel goes on, and its subscribers are told.
			l.b.in.Interrupted(func(name string) bool { return name == channel }, err)
			l.b.in.Attached(channel)
		}
	}
	l.heard.Store(time.Now().UnixNano())
}

// onSubscription notes that a subscription was made, or ended.
func (l *life) onSubscription(s rueidis.PubSubSubscription) {
	channel, ok := l.b.channelOf(s.Channel)
	if !ok {
		return
	}
	if s.Kind == "unsubscribe" || s.Kind == "sunsubscribe" {
		l.mu.Lock()
		asked, _ := countDown(l.ending, channel)
		l.mu.Unlock()
		if !asked && l.b.cluster != nil { // the channel moves to another server
			l.b.lose(l.s, partOf(channel), errors.New("redis: the server has ended a subscription"))
		}
		return
	}
	l.mu.Lock()
	_, last := countDown(l.pending, channel)
	l.mu.Unlock()
	if !last {
		return
	}
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	if l.ctx.Err() == nil && l.b.isAttached(channel, l.s) {
		l.b.in.Attached(channel)
	}
}
