package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/throttle"
	"github.com/roostws/roost/server/protocol"
)

// A Sender tells the application what happened: it gathers events in a queue, and
// one goroutine posts them, one batch at a time, so that they arrive in the order of
// the calls of Event. A batch that the application fails on is divided until the
// event that it fails on is alone; that one is set aside and tried again from time to
// time, while later events go on. An event arrives at least once, or is counted and
// logged as dropped, and the application is told how many were.
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
	queuedBytes  atomic.Int64 // without the line
	asideEvents  atomic.Int64
	batches      atomic.Uint64
	failedTries  atomic.Uint64
	sent         atomic.Uint64
	setAside     atomic.Uint64
	dropped      atomic.Uint64

	// Owned by run.
	line       []*batch      // what is tried, in order; more than one only after failures
	aside      []*asideEvent // in the order in which they were set aside
	asideAfter time.Time     // none of them is tried before
	carried    *encoded      // did not fit the last batch
	ended      bool          // the queue is closed and empty
	told       uint64        // of dropped
	trouble

	refusals, overflows, troubles, asides throttle.Throttle
}

// counter counts one type of events.
type counter struct{ sent, dropped atomic.Uint64 }

// SenderStats are a Sender's counters.
type SenderStats struct {
	// QueuedEvents wait, including those under way and those set aside. QueuedBytes
	// is roughly the memory of those that are not under way.
	QueuedEvents int64 `gauge:"yes" help:"events that wait to be told to the application"`
	QueuedBytes  int64 `gauge:"yes" help:"bytes that waiting events take"`
	// Batches and Sent (events) were accepted by the application.
	Batches uint64 `help:"batches of events that the application accepted"`
	Sent    uint64 `help:"events that the application accepted"`
	// FailedTries are requests that were not accepted.
	FailedTries uint64 `help:"requests with events that the application did not accept"`
	// SetAside counts the events that were set aside because the application failed
	// on them and accepted others. AsideEvents of them still wait.
	SetAside    uint64 `help:"events set aside because the application failed on them and accepted others"`
	AsideEvents int64  `gauge:"yes" help:"events that wait aside"`
	// Dropped events were lost: the queue was full, the application refused
	// them (4xx), failed for RetryMaxAge, or Close had no time left.
	Dropped uint64 `help:"events that were lost"`
	// SentByType and DroppedByType are Sent and Dropped again.
	SentByType    map[protocol.EventType]uint64 `name:"sent" help:"events of one type that the application accepted"`
	DroppedByType map[protocol.EventType]uint64 `name:"dropped" help:"events of one type that were lost"`
}

// Counters returns the same for server.Config.Stats. It may be called on any goroutine.
func (s *Sender) Counters() server.Stats { return counters.OfFields("webhook", s.Stats()) }

// NewSender starts a Sender. The error names every field that is wrong.
func NewSender(c SenderConfig) (*Sender, error) {
	s, err := makeSender(c)
	if err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

// makeSender returns a Sender whose goroutine is not started.
func makeSender(c SenderConfig) (*Sender, error) {
	c = c.withDefaults()
	endpoint, err := newEndpoint(senderName, c.URL, c.Secrets, c.Form, c.TLS, c.Timeout, 1)
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
	return s, nil
}

// SetSecrets replaces SenderConfig.Secrets, for later attempts. An error changes
// nothing. It may be called on any goroutine.
func (s *Sender) SetSecrets(secrets []string) error {
	return s.endpoint.setSecrets(senderName, secrets)
}

// Event queues an event, or drops and counts it if the queue is full or the
// Sender closed. It may be called from any goroutine and does not block. It keeps
// nothing of e but Data, which must not change any more. It is meant for
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
		SetAside: s.setAside.Load(), AsideEvents: s.asideEvents.Load(),
		SentByType: map[protocol.EventType]uint64{}, DroppedByType: map[protocol.EventType]uint64{},
	}
	for kind, c := range s.wanted {
		stats.SentByType[kind], stats.DroppedByType[kind] = c.sent.Load(), c.dropped.Load()
	}
	return stats
}

// Close takes no more events and returns when those that wait are delivered, or when
// ctx is done: the rest is then dropped and counted, and the error says how many.
// Events that were set aside are tried once more. It may be called again, and from
// any goroutine.
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
