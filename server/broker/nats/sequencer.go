package nats

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/internal/wire"
	"github.com/roostws/roost/server/history"
)

// A job is a publication that waits, and what is called with its place.
type job struct {
	p    *broker.Publication
	done func(broker.Placed, error)
	hash string // of its idempotency key

	claim   *record // the key's record
	scanned uint64  // up to this sequence of the stream the key is in no record of the channel
	reached history.Position
}

// fail ends a job without a place.
func (j *job) fail(err error) { j.done(broker.Placed{}, err) }

// A sequencer appends this node's publications to the history of one channel, one record
// after the other. Its goroutine runs while there are some.
type sequencer struct {
	l       *life
	channel string
	subject string

	// Guarded by life.mu.
	queue   []*job
	running bool
	used    time.Time

	// Owned by its goroutine, and while there is none by life.drop.
	tip   tip
	known bool // tip is where the channel stood the last time
	keep  broker.Keep
	marks []mark
	turns int // records in a row
}

// A tip is where a channel stands.
type tip struct {
	epoch  string
	offset uint64
	at     uint64 // sequence of the channel's last record, 0 if there is none
}

func (t tip) position() history.Position { return history.Position{Epoch: t.epoch, Offset: t.offset} }

// A mark is a record that is dropped when it is too old, with all before it.
type mark struct {
	at, offset uint64
	time       time.Time
}

const (
	// recordMax and recordBytes bound the messages of one record.
	recordMax   = 128
	recordBytes = 128 << 10
	// After turnsMax records in a row a sequencer lets the other nodes publish: they need two
	// round trips, it needs one.
	turnsMax = 16
	// publishWait is how long a publication may take.
	publishWait = 10 * time.Second
)

// sequence hands a job to its channel's sequencer. With Broker.mu held, or by publishPlain.
func (l *life) sequence(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.p.IdempotencyKey != "" {
		j.hash = hash(j.p.Channel, j.p.IdempotencyKey)
	}
	s := l.sequencers[j.p.Channel]
	if s == nil {
		s = &sequencer{l: l, channel: j.p.Channel, subject: l.b.subjects.history(j.p.Channel)}
		l.sequencers[j.p.Channel] = s
	}
	s.queue = append(s.queue, j)
	if !s.running {
		s.running = true
		l.ended.Go(s.run)
	}
}

// run publishes what waits, until nothing does.
func (s *sequencer) run() {
	for {
		s.l.mu.Lock()
		n := together(s.queue)
		if n == 0 {
			s.queue, s.running, s.used = nil, false, time.Now()
			s.l.mu.Unlock()
			return
		}
		jobs := s.queue[:n:n]
		s.queue = s.queue[n:]
		s.l.mu.Unlock()
		ctx, cancel := context.WithTimeout(s.l.ctx, publishWait)
		if jobs[0].p.Keep.Messages == 0 {
			s.l.publishBehind(ctx, jobs)
		} else {
			s.publish(ctx, jobs)
		}
		cancel()
	}
}

// together returns how many jobs at the head of the queue are published together. No key is
// in one record twice, and messages that are kept are not mixed with notices, which are not.
func together(queue []*job) int {
	bytes := 0
	var keys map[string]bool
	for n, j := range queue {
		size := len(j.p.Payload) + len(j.p.From) + len(j.p.Key)
		other := (j.p.Keep.Messages > 0) != (queue[0].p.Keep.Messages > 0)
		if n == recordMax || n > 0 && bytes+size > recordBytes || other || keys[j.hash] {
			return n
		}
		bytes += size
		if j.hash != "" {
			if keys == nil {
				keys = map[string]bool{}
			}
			keys[j.hash] = true
		}
	}
	return len(queue)
}

// load asks where the channel stands. A channel without a position, or with one of another
// memory, begins an epoch with the next record.
func (l *life) load(ctx context.Context, channel string) (tip, *record, error) {
	r, err := l.newest(ctx, channel, l.b.subjects.history(channel))
	switch {
	case err != nil:
		return tip{}, nil, err
	case r == nil:
		return tip{epoch: l.memory + wire.NewID()}, nil, nil
	case r.kind != kindHistory:
		return tip{}, nil, errRecord
	case !strings.HasPrefix(r.epoch, l.memory):
		return tip{epoch: l.memory + wire.NewID(), at: r.at}, nil, nil
	}
	return tip{r.epoch, r.last(), r.at}, r, nil
}

// publish appends a record with the messages of jobs. While other nodes are faster, it looks
// where the channel stands and tries again.
func (s *sequencer) publish(ctx context.Context, jobs []*job) {
	claimed := false
	s.keep = jobs[len(jobs)-1].p.Keep // also where all turn out to be duplicates: drop goes by it
	for {
		if !s.known {
			var err error
			if s.tip, _, err = s.l.load(ctx, s.channel); err != nil {
				failAll(jobs, fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
				return
			}
			s.known, s.turns = true, 0
		}
		if !claimed {
			claimed = true
			jobs = s.l.claimAll(ctx, jobs, s.tip)
		}
		if jobs = s.l.search(ctx, s.channel, jobs, s.tip); len(jobs) == 0 {
			return
		}
		r := &record{kind: kindHistory, epoch: s.tip.epoch, first: s.tip.offset + 1}
		for _, j := range jobs {
			r.items = append(r.items, item{j.hash, &j.p.Message})
		}
		begin := time.Now()
		at, err := s.l.add(ctx, s.subject, r, s.tip.at, recordAge(s.keep))
		switch {
		case err == nil:
			s.tip.offset, s.tip.at = r.last(), at
			s.placed(r, jobs)
			s.yield(time.Since(begin))
			return
		case errors.Is(err, errMoved) && ctx.Err() == nil:
			s.known = false
		default:
			s.known = false
			failAll(jobs, fate(err))
			return
		}
	}
}

// placed tells the jobs their places.
func (s *sequencer) placed(r *record, jobs []*job) {
	nodes := s.l.b.nodes(s.channel)
	for i, j := range jobs {
		at := history.Position{Epoch: r.epoch, Offset: r.first + uint64(i)}
		s.l.settle(j, at)
		j.done(broker.Placed{Position: at, Nodes: nodes}, nil)
	}
	s.trim(time.Now())
}

// yield lets other nodes publish, now and then.
func (s *sequencer) yield(trip time.Duration) {
	if s.turns++; s.turns < turnsMax || s.l.b.options.Alone {
		return
	}
	s.turns = 0
	select {
	case <-s.l.ctx.Done():
	case <-time.After(min(3*trip, 100*time.Millisecond)):
	}
}

// trim drops records that are not to be kept any more, after the last one was published. The
// last one stays: it holds the position.
func (s *sequencer) trim(now time.Time) {
	if n := len(s.marks); n == 0 || s.tip.offset-s.marks[n-1].offset >= uint64(s.keep.Messages/4) || now.Sub(s.marks[n-1].time) > s.keep.Age/4 {
		s.marks = append(s.marks, mark{s.tip.at, s.tip.offset, now})
	}
	last := uint64(0)
	for len(s.marks) > 0 {
		m := s.marks[0]
		few := s.tip.offset-min(m.offset, s.tip.offset) < uint64(s.keep.Messages)
		if m.at >= s.tip.at || few && now.Sub(m.time) <= s.keep.Age {
			break
		}
		last, s.marks = m.at, s.marks[1:]
	}
	if last > 0 {
		s.l.purge(s.subject, last+1)
	}
}

// sweep calls drop now and then.
func (l *life) sweep() {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case now := <-tick.C:
			l.drop(now)
		}
	}
}

// drop drops the histories that are too old, and the sequencers that nothing needs.
func (l *life) drop(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for channel, s := range l.sequencers {
		if s.running || now.Sub(s.used) <= s.keep.Age {
			continue
		}
		delete(l.sequencers, channel)
		if s.tip.at > 0 {
			l.purge(s.subject, s.tip.at)
		}
	}
	if len(l.spots) > spotsMax {
		clear(l.spots)
	}
}

func failAll(jobs []*job, err error) {
	for _, j := range jobs {
		j.fail(err)
	}
}

// fate returns the error of a publication that got no place.
func fate(err error) error {
	if errors.Is(err, broker.ErrUnavailable) {
		return err
	}
	if errors.Is(err, errMoved) {
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
}
