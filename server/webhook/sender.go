package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/internal/throttle"
	"github.com/roostws/roost/server/protocol"
)

// A Sender tells the application what happened: it gathers events in a queue, and
// one goroutine posts them, batch after batch, so that they arrive in the order of
// the calls of Event. An event arrives at least once, or is counted and logged as
// dropped, and the application is told how many were.
type Sender struct {
	// Immutable after NewSender.
	cfg      SenderConfig
	endpoint *endpoint
	wanted   map[protocol.EventType]*counter
	ctx      context.Context // ends when Close has no time left
	cancel   context.CancelFunc
	donec    chan struct{} // closed when run has returned

	// mu orders Event and Close: nothing gets into the queue that run would not see.
	mu     sync.Mutex
	queue  chan *protocol.Event // sent to and closed with mu held
	closed bool                 // guarded by mu

	// Atomic.
	queuedEvents atomic.Int64
	queuedBytes  atomic.Int64 // without the batch under way
	batches      atomic.Uint64
	failedTries  atomic.Uint64
	sent         atomic.Uint64
	dropped      atomic.Uint64

	// Owned by run.
	carried  *encoded      // did not fit the last batch
	told     uint64        // of dropped
	failures int           // tries since the last that succeeded
	backoff  retry.Backoff // between them
	after    time.Duration // what the application asked for, with the last of them
	before   uint64        // of dropped, when the first of them failed

	refusals, overflows throttle.Throttle
}

// counter counts one type of events.
type counter struct{ sent, dropped atomic.Uint64 }

// encoded is an event on its way into a batch.
type encoded struct {
	kind protocol.EventType
	json []byte
}

// SenderStats are a Sender's counters.
type SenderStats struct {
	// QueuedEvents wait, including those of the batch under way. QueuedBytes is
	// roughly the memory of those that are not in that batch.
	QueuedEvents, QueuedBytes int64
	// Batches and Sent (events) were accepted by the application.
	Batches, Sent uint64
	// FailedTries are requests that were not accepted.
	FailedTries uint64
	// Dropped events were lost: the queue was full, the application refused
	// them (4xx), was away for RetryMaxAge, or Close had no time left.
	Dropped uint64
	// SentByType and DroppedByType are Sent and Dropped again.
	SentByType, DroppedByType map[protocol.EventType]uint64
}

// NewSender starts a Sender. The error names every field that is wrong.
func NewSender(c SenderConfig) (*Sender, error) {
	c = c.withDefaults()
	endpoint, err := newEndpoint(senderName, c.URL, c.Secrets, c.TLS, c.Timeout, 1)
	if err := errors.Join(err, c.validate()); err != nil {
		return nil, err
	}
	s := &Sender{
		cfg:      c,
		endpoint: endpoint,
		wanted:   map[protocol.EventType]*counter{},
		donec:    make(chan struct{}),
		queue:    make(chan *protocol.Event, c.QueueMaxEvents),
	}
	for _, kind := range c.Events {
		s.wanted[kind] = new(counter)
	}
	s.backoff = retry.Backoff{Min: c.RetryMinDelay, Max: c.RetryMaxDelay}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s, nil
}

// SetSecrets replaces SenderConfig.Secrets, for later attempts. An error changes
// nothing. It may be called on any goroutine.
func (s *Sender) SetSecrets(secrets []string) error {
	return s.endpoint.setSecrets(senderName, secrets)
}

// Event queues an event, or drops and counts it if the queue is full or the
// Sender closed. It may be called from any goroutine, does not block, and keeps
// nothing of e but Data, which must not change any more. It is for
// server.Config.Events.
func (s *Sender) Event(e *protocol.Event) {
	if s.wanted[e.Type] == nil {
		return
	}
	if !s.enqueue(e) {
		s.drop(e.Type)
		if held, ok := s.overflows.Pass(); ok {
			s.cfg.Logger.Error("events are lost: the queue of the web hook is full, or closed",
				"url", s.endpoint.shown, "events", held+1, "dropped", s.dropped.Load())
		}
	}
}

// enqueue reports whether there was room for an event.
func (s *Sender) enqueue(e *protocol.Event) bool {
	size := int64(cost(e))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.queuedBytes.Load()+size > int64(s.cfg.QueueMaxBytes) {
		return false
	}
	own := *e
	// Counted first: run may have it out again at once.
	s.queuedBytes.Add(size)
	s.queuedEvents.Add(1)
	select {
	case s.queue <- &own:
		return true
	default:
		s.queuedBytes.Add(-size)
		s.queuedEvents.Add(-1)
		return false
	}
}

func (s *Sender) drop(kind protocol.EventType) {
	s.wanted[kind].dropped.Add(1)
	s.dropped.Add(1)
}

// Stats may be called from any goroutine.
func (s *Sender) Stats() SenderStats {
	stats := SenderStats{
		QueuedEvents: s.queuedEvents.Load(), QueuedBytes: s.queuedBytes.Load(),
		Batches: s.batches.Load(), Sent: s.sent.Load(),
		FailedTries: s.failedTries.Load(), Dropped: s.dropped.Load(),
		SentByType: map[protocol.EventType]uint64{}, DroppedByType: map[protocol.EventType]uint64{},
	}
	for kind, c := range s.wanted {
		stats.SentByType[kind], stats.DroppedByType[kind] = c.sent.Load(), c.dropped.Load()
	}
	return stats
}

// Close takes no more events and returns when those that wait are delivered, or when
// ctx is done: the rest is then dropped and counted, and the error says how many. It
// may be called again, and from any goroutine.
func (s *Sender) Close(ctx context.Context) error {
	s.mu.Lock()
	before := s.dropped.Load()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.mu.Unlock()
	select {
	case <-s.donec:
	case <-ctx.Done():
		s.cancel()
		<-s.donec
	}
	s.cancel()
	s.endpoint.close()
	if lost := s.dropped.Load() - before; lost > 0 {
		return fmt.Errorf("webhook: %d events were not delivered to %s", lost, s.endpoint.shown)
	}
	return nil
}

// run delivers batch after batch until the queue is closed and empty.
func (s *Sender) run() {
	defer close(s.donec)
	for more := true; more; {
		var b *batch
		if b, more = s.gather(); b != nil {
			s.deliver(b)
		}
	}
}

// batch is the JSON of some events.
type batch struct {
	body  []byte
	kinds []protocol.EventType // of each event
}

func (b *batch) add(e *encoded) {
	if len(b.kinds) > 0 {
		b.body = append(b.body, ',')
	} else {
		b.body = append(b.body, `{"events":[`...)
	}
	b.body = append(b.body, e.json...)
	b.kinds = append(b.kinds, e.kind)
}

// end completes the body with the number of dropped events.
func (b *batch) end(dropped uint64) {
	b.body = append(b.body, ']')
	if dropped > 0 {
		b.body = append(b.body, `,"dropped":`...)
		b.body = strconv.AppendUint(b.body, dropped, 10)
	}
	b.body = append(b.body, '}')
}

// gather waits for an event and takes as many more as fit and come in time. more is
// false after the last event.
func (s *Sender) gather() (b *batch, more bool) {
	first := s.carried
	if s.carried = nil; first == nil {
		e, ok := <-s.queue
		if !ok {
			return nil, false
		}
		first = s.take(e)
	}
	b = new(batch)
	b.add(first)
	delay := time.NewTimer(s.cfg.BatchMaxDelay)
	defer delay.Stop()
	for len(b.kinds) < s.cfg.BatchMaxEvents {
		select {
		case e, ok := <-s.queue:
			if !ok {
				return b, false
			}
			const envelope = len(`,],"dropped":18446744073709551615}`)
			next := s.take(e)
			if len(b.body)+len(next.json)+envelope > s.cfg.BatchMaxBytes {
				s.carried = next
				return b, true
			}
			b.add(next)
		case <-delay.C:
			return b, true
		}
	}
	return b, true
}

// take encodes an event that leaves the queue.
func (s *Sender) take(e *protocol.Event) *encoded {
	s.queuedBytes.Add(-int64(cost(e)))
	return &encoded{e.Type, encode(e)}
}

// answerMaxBytes is what is read of an answer that says nothing but its status,
// so that the connection can be used again.
const answerMaxBytes = 16 << 10

// deliver tries until the application has accepted or refused the batch, or it
// is too old. All tries have the same id and body: a receiver knows a repetition.
func (s *Sender) deliver(b *batch) {
	defer func() { s.queuedEvents.Add(-int64(len(b.kinds))) }()
	untold := s.dropped.Load() - s.told
	b.end(untold)
	id, begin := newID(), time.Now()
	for {
		if s.failures > 0 {
			s.pause(time.Since(begin))
		}
		if s.ctx.Err() != nil {
			s.giveUp(b, "no time was left when it was closed")
			return
		}
		a, err := s.endpoint.post(s.ctx, id, b.body, answerMaxBytes, true)
		if err == nil && a.status/100 == 2 {
			s.accepted(b, untold)
			return
		}
		s.failedTries.Add(1)
		var reason string
		if err != nil {
			reason = err.Error()
		} else {
			reason = a.text()
		}
		if err == nil && refuses(a.status) {
			s.recovered()
			s.giveUp(b, reason)
			return
		}
		if s.failures++; s.failures == 1 {
			s.before = s.dropped.Load()
		}
		if s.after = 0; err == nil {
			s.after = a.retryAfter
		}
		if s.failures == 1 {
			s.cfg.Logger.Warn("the web hook fails; its events wait", "url", s.endpoint.shown, "reason", reason)
		}
		if time.Since(begin) >= s.cfg.RetryMaxAge {
			s.giveUp(b, "it failed for "+s.cfg.RetryMaxAge.String()+", last with: "+reason)
			return
		}
	}
}

// refuses reports whether a status says that the same request would be refused again.
func refuses(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 4
}

// pause waits before the next try. It returns at once when Close has no time left.
func (s *Sender) pause(age time.Duration) {
	timer := time.NewTimer(s.delay(age))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// delay returns how long to wait before the next try of a batch of some age: as long
// as the application has asked for, or as the back-off says.
func (s *Sender) delay(age time.Duration) time.Duration {
	if s.after > 0 {
		return min(s.after, s.cfg.RetryMaxAge)
	}
	// The last try comes when the batch is about to be too old.
	return min(s.backoff.Next(), max(s.cfg.RetryMaxAge-age, 0))
}

// recovered notes that the application has answered.
func (s *Sender) recovered() {
	s.failures, s.after = 0, 0
	s.backoff.Reset()
}

func (s *Sender) accepted(b *batch, told uint64) {
	if s.failures > 0 {
		s.cfg.Logger.Info("the web hook works again", "url", s.endpoint.shown, "failed_tries", s.failures, "dropped", s.dropped.Load()-s.before)
	}
	s.recovered()
	s.told += told
	s.batches.Add(1)
	s.sent.Add(uint64(len(b.kinds)))
	for _, kind := range b.kinds {
		s.wanted[kind].sent.Add(1)
	}
}

// giveUp drops the events of a batch. The next batch that is accepted says so.
func (s *Sender) giveUp(b *batch, reason string) {
	for _, kind := range b.kinds {
		s.drop(kind)
	}
	if held, ok := s.refusals.Pass(); ok {
		s.cfg.Logger.Error("events are lost: the web hook did not take them",
			"url", s.endpoint.shown, "reason", reason, "events", len(b.kinds), "dropped", s.dropped.Load(), "lines_held", held)
	}
}
