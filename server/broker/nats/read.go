package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

const (
	// pageMax and pageBytes bound a page. A page has one message at least.
	pageMax   = 200
	pageBytes = 4 << 20
	// readersMax is how many reads are under way together: enough that 50,000 channels are
	// read within seconds, few enough that their pages are not held all at once.
	readersMax = 32
	// spotsMax is how many channels' spots are kept.
	spotsMax = 100_000
)

// A spot says in which record of the stream a message is, so that what comes after is read
// from there on and not from the beginning.
type spot struct {
	position history.Position
	at       uint64
}

// note keeps the spot of a record's last message.
func (l *life) note(channel string, r *record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spots[channel] = spot{history.Position{Epoch: r.epoch, Offset: r.last()}, r.at}
}

// read runs a read, soon. With Broker.mu held.
func (l *life) read(work func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, work)
	if l.readers == readersMax {
		return
	}
	l.readers++
	l.ended.Go(func() {
		for {
			l.mu.Lock()
			if len(l.reads) == 0 {
				l.reads = nil
				l.readers--
				l.mu.Unlock()
				return
			}
			work := l.reads[0]
			l.reads = l.reads[1:]
			l.mu.Unlock()
			work()
		}
	})
}

// stand returns where a channel stands, and its last record if that is known. A channel
// without a position gets one, which is written down: the next message comes behind it.
func (l *life) stand(ctx context.Context, channel string, keep broker.Keep) (tip, *record, error) {
	for {
		t, r, err := l.load(ctx, channel)
		if err != nil || r != nil {
			return t, r, err
		}
		r = &record{kind: kindHistory, epoch: t.epoch, first: 1}
		r.at, err = l.add(ctx, l.b.subjects.history(channel), r, t.at, recordAge(keep))
		if !errors.Is(err, errMoved) {
			t.at = r.at
			return t, r, err
		}
	}
}

// page reads what is kept of a channel after a position, or all of it.
func (l *life) page(ctx context.Context, channel string, keep broker.Keep, since history.Position) (page broker.Page, err error) {
	t, newest, err := l.stand(ctx, channel, keep)
	if err != nil {
		return page, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	page.Position = t.position()
	after := t.offset - min(t.offset, uint64(max(keep.Messages, 0)))
	if since.Epoch == t.epoch {
		after = max(after, since.Offset)
	}
	if after >= t.offset {
		return page, nil
	}
	c := collector{page: &page, after: after, oldest: time.Now().Add(-keep.Age)}
	if newest.first <= after+1 {
		c.take(newest)
		return page, nil
	}
	err = l.scan(ctx, channel, l.start(channel, t.epoch, after), t.at, c.take)
	if err != nil && len(page.Messages) == 0 {
		return broker.Page{}, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	if c.last != nil {
		l.note(channel, c.last)
	}
	return page, nil
}

// start returns the sequence behind a message, or 1 if that is not known.
func (l *life) start(channel, epoch string, after uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.spots[channel]; ok && s.position.Epoch == epoch && s.position.Offset <= after {
		return s.at + 1
	}
	return 1
}

// A collector makes a page of records.
type collector struct {
	page   *broker.Page
	after  uint64
	oldest time.Time
	bytes  int
	last   *record // whose messages are all in the page, or before it
}

// take adds a record's messages to the page, and reports whether there is room for more.
// Where a record is missing, or is too old, the page begins anew behind it: its messages
// follow each other.
func (c *collector) take(r *record) bool {
	if r.epoch != c.page.Position.Epoch || len(r.items) == 0 || r.last() <= c.after {
		return true
	}
	list := c.page.Messages
	if n := len(list); n > 0 && list[n-1].Position.Offset+1 < r.first || r.time.Before(c.oldest) {
		c.page.Messages, c.bytes = nil, 0
		if r.time.Before(c.oldest) {
			return true
		}
	}
	r.place()
	for i := range r.items {
		m := r.items[i].message
		if m.Position.Offset <= c.after {
			continue
		}
		if len(c.page.Messages) == pageMax || c.bytes+len(m.Payload) > pageBytes && c.bytes > 0 {
			return false
		}
		c.page.Messages = append(c.page.Messages, m)
		c.bytes += len(m.Payload)
	}
	c.last = r
	return true
}
