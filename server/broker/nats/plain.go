package nats

import (
	"context"
	"errors"
	"fmt"

	"github.com/roostws/roost/server/broker"
)

// plain hands over a job of a channel without history. With Broker.mu held.
func (l *life) plain(j *job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plains = append(l.plains, j)
	l.wake.Broadcast()
}

// publishPlain publishes what waits, together, again and again. What has an idempotency key,
// or is behind that on its channel, goes through the channel's sequencer.
func (l *life) publishPlain() {
	for {
		ok := l.await(func() bool { return len(l.plains) > 0 })
		jobs := l.plains
		l.plains = nil
		var later []*job
		now := jobs[:0:0]
		behind := map[string]bool{}
		for _, j := range jobs {
			if s := l.sequencers[j.p.Channel]; j.p.IdempotencyKey != "" || behind[j.p.Channel] || s != nil && s.running {
				behind[j.p.Channel] = true
				later = append(later, j)
			} else {
				now = append(now, j)
			}
		}
		l.mu.Unlock()
		if !ok {
			failAll(jobs, broker.ErrUnavailable)
			return
		}
		sent := now[:0]
		for _, j := range now {
			if l.send(j) {
				sent = append(sent, j)
			}
		}
		for _, j := range later {
			l.sequence(j)
		}
		l.flush(l.ctx, sent)
	}
}

// send sends a message to the nodes that have its channel, and reports whether it could.
func (l *life) send(j *job) bool {
	r := record{kind: kindPlain, items: []item{{"", &j.p.Message}}}
	err := l.commands.Publish(l.b.subjects.live(j.p.Channel), r.append(nil))
	if err != nil {
		j.fail(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
	}
	return err == nil
}

// flush waits until the server has taken what was sent.
func (l *life) flush(ctx context.Context, jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	err := l.commands.FlushWithContext(ctx)
	for _, j := range jobs {
		if err != nil {
			j.fail(fmt.Errorf("%w: %w", broker.ErrUnknown, err))
		} else {
			j.done(broker.Placed{Nodes: l.b.nodes(j.p.Channel)}, nil)
		}
	}
}

// publishBehind publishes jobs of a channel without history in their order. A message with an
// idempotency key is itself what the stream remembers of the key, and hands on.
func (l *life) publishBehind(ctx context.Context, jobs []*job) {
	for _, j := range jobs {
		if j.hash != "" {
			l.publishOnce(ctx, j)
			continue
		}
		if l.send(j) {
			l.flush(ctx, []*job{j})
		}
	}
}

// publishOnce publishes a message of a channel without history unless its key is known.
func (l *life) publishOnce(ctx context.Context, j *job) {
	subject := l.b.subjects.plain(j.p.Channel, j.hash)
	for {
		_, err := l.add(ctx, subject, &record{kind: kindPlain, digest: j.p.Digest, items: []item{{"", &j.p.Message}}}, 0, j.p.IdempotencyAge)
		if err == nil {
			j.done(broker.Placed{Nodes: l.b.nodes(j.p.Channel)}, nil)
			return
		}
		if !errors.Is(err, errMoved) {
			j.fail(fate(err))
			return
		}
		known, err := l.newest(ctx, j.p.Channel, subject)
		switch {
		case err != nil:
			j.fail(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
			return
		case known == nil:
			continue // it was dropped just now
		case known.digest != j.p.Digest:
			j.fail(broker.ErrKeyReused)
			return
		}
		j.done(broker.Placed{Duplicate: true}, nil)
		return
	}
}
