package protocol

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/internal/shard"
)

// Bounds of what one connection may have under way.
const (
	// callsMax is how many calls of one connection the application works on at a time.
	callsMax = 16
	// Beyond either of these the connection is not read.
	queueMax      = 64
	queueMaxBytes = 16 << 10
)

// waiting is what a connection waits for: questions to the application, and the
// messages that came meanwhile. Its WebSocket is still read, so that pings and
// heartbeats are answered.
type waiting struct {
	// asking: a command whose effect later ones must see is under way.
	asking bool
	// calls is the number of calls under way; later commands do not wait for them.
	calls int
	// queue holds messages whose turn has not come.
	queue      []queued
	queueBytes int
	paused     bool
}

type queued struct {
	payload []byte
	binary  bool
}

// idle reports that the connection waits for nothing.
func (w *waiting) idle() bool { return !w.asking && w.calls == 0 && len(w.queue) == 0 }

// asking reports that a command is under way whose effect later ones must see.
func (n *session) asking() bool { return n.waiting != nil && n.waiting.asking }

// wait returns what the connection waits for, made if need be.
func (n *session) wait() *waiting {
	if n.waiting == nil {
		n.waiting = &waiting{}
	}
	return n.waiting
}

// push puts a copy of a message at the end of the queue and reports whether the
// queue is full now.
func (w *waiting) push(p []byte, binary bool) (full bool) {
	w.queue = append(w.queue, queued{bytes.Clone(p), binary})
	w.queueBytes += len(p)
	return len(w.queue) >= queueMax || w.queueBytes >= queueMaxBytes
}

// wait queues a message behind others and stops reading the connection when there
// are too many.
func (x *Sessions) wait(s *shard.Shard, id netpoll.ID, n *session, p []byte, binary bool) {
	if w := n.wait(); w.push(p, binary) && !w.paused {
		w.paused = true
		s.Pause(id)
	}
}

// proceed acts on queued messages until one has to wait again.
func (x *Sessions) proceed(s *shard.Shard, id netpoll.ID) {
	for s.IsOpen(id) {
		n := x.byID[id]
		if n == nil || n.waiting == nil || n.waiting.asking {
			return
		}
		w := n.waiting
		if len(w.queue) == 0 {
			w.queue = nil
			if w.paused {
				w.paused = false
				s.Unpause(id)
			}
			if w.idle() {
				n.waiting = nil
				x.settle(id)
				s.Settled(id)
			}
			return
		}
		next := w.queue[0]
		if !x.handle(s, id, next.payload, next.binary) {
			return // it stays in the queue until a call has ended
		}
		w.queue[0] = queued{}
		w.queue = w.queue[1:]
		w.queueBytes -= len(next.payload)
	}
}

// Settled reports whether no command of a connection is under way or waits.
func (x *Sessions) Settled(id netpoll.ID) bool {
	n := x.byID[id]
	return n == nil || n.waiting == nil
}

var errGone = errors.New("server: a function of the application ended without an answer")

// later returns a function that has then called with the same command on the loop, if the
// connection is still open. It may be called on any goroutine; only the first call counts.
// The caller calls underWay next.
func (t *task) later(then func(t *task, err error)) (finish func(err error)) {
	x := t.x
	own := *t // the loop uses t again
	own.cmd.Data = nil
	call := t.cmd.Kind == Call
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			_ = own.s.Call(func(s *shard.Shard) {
				if s == nil || !s.IsOpen(own.id) {
					return
				}
				// In both the session is there: it is not bare meanwhile.
				if w := x.of(own.id).wait(); call {
					w.calls--
				} else {
					w.asking = false
				}
				then(&own, err)
				x.proceed(s, own.id)
			})
		})
	}
}

// underWay notes that the command goes on later: until then later ones wait, unless it is a
// Call.
func (t *task) underWay() {
	if w := t.x.of(t.id).wait(); t.cmd.Kind == Call {
		w.calls++
	} else {
		w.asking = true
	}
}

// want calls then when the connection may subscribe to these channels: where a broker orders
// the messages, it is asked first. If that takes too long, then gets errNoBroker.
func (t *task) want(channels []string, then func(t *task, err error)) {
	host := t.x.rules.Host
	if !host.Remote() {
		then(t, nil)
		return
	}
	var left atomic.Int32
	left.Store(int32(len(channels)) + 1)
	finish := t.later(then)
	var forgo []func()
	for _, channel := range channels {
		since := t.cmd.since()
		if t.cmd.Kind == Connect {
			since = t.resume(channel)
		}
		done := func() {
			if left.Add(-1) == 0 {
				finish(nil)
			}
		}
		if f := host.Want(channel, since, done); f != nil {
			forgo = append(forgo, f)
		} else {
			left.Add(-1)
		}
	}
	if left.Add(-1) == 0 {
		then(t, nil)
		return
	}
	wait := t.x.rules.Timeout / 2
	if t.cmd.Kind == Connect {
		wait /= 5 // it goes on without
	}
	time.AfterFunc(wait, func() {
		finish(errNoBroker)
		for _, f := range forgo { // clients try again and again while the broker is away
			f()
		}
	})
	t.underWay()
}

// errNoBroker: the broker does not say where a channel stands.
var errNoBroker = &Error{Code: CodeBusy, Message: "the broker is away; nothing was done", RetryAfter: 2 * time.Second}

// ask runs work, which may block, on another goroutine, and then calls then with
// the same command on the loop, if the connection is still open. work must not
// touch t. Until then later commands wait, unless the command is a Call. After
// Rules.Timeout then gets context.DeadlineExceeded, and a later result is dropped.
// If the application has too much work already, then gets hub.ErrBusy at once.
func (t *task) ask(what string, work func(ctx context.Context) error, then func(t *task, err error)) {
	if !t.x.rules.ask(what, t.id, work, t.later(then)) {
		then(t, hub.ErrBusy)
		return
	}
	t.underWay() // finish comes through the inbox: after this
}

// ask runs work, which may block, on another goroutine, and calls finish there, or on a third
// one when the time is over; it may do so twice. It returns false if the application has too
// much work already.
func (r *Rules) ask(what string, id netpoll.ID, work func(ctx context.Context) error, finish func(error)) bool {
	deadline := time.Now().Add(r.Timeout)
	return r.Host.Work(func() {
		ctx, cancel := context.WithDeadline(r.Host.Context(), deadline)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { finish(context.DeadlineExceeded) })
		err := errGone // what a goroutine that just ends (runtime.Goexit) leaves behind
		defer func() {
			if value := recover(); value != nil {
				r.Host.Panicked(what, id, value)
			}
			stop()
			finish(err)
		}()
		if err = work(ctx); ctx.Err() != nil {
			err = context.DeadlineExceeded // no client is admitted by a look-up that was cut short
		}
	})
}
