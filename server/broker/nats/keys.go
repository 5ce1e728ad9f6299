package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// An idempotency key of a channel with history has a subject of its own. Who publishes with
// it appends a claim first, with the condition that there is none; the claim says where the
// channel stood. Then it publishes, and notes the place in the claim's stead. Another one
// that finds the claim, and no place, looks for the key in the records of the channel behind
// it: if it is not in them, the message was not published, and can't be any more by the
// other one without that losing its condition and finding it. The server drops keys that are
// too old.

// claimAll claims the keys of jobs, and returns those jobs that are still to be published.
func (l *life) claimAll(ctx context.Context, jobs []*job, at tip) []*job {
	var each sync.WaitGroup
	rest := make([]*job, len(jobs))
	for i, j := range jobs {
		if j.hash == "" {
			rest[i] = j
			continue
		}
		each.Go(func() {
			if l.claim(ctx, j, at) {
				rest[i] = j
			}
		})
	}
	each.Wait()
	return present(rest)
}

// present returns the jobs that are not nil.
func present(jobs []*job) (rest []*job) {
	for _, j := range jobs {
		if j != nil {
			rest = append(rest, j)
		}
	}
	return rest
}

// claim claims a job's key, and reports whether the job is still to be published.
func (l *life) claim(ctx context.Context, j *job, at tip) bool {
	subject := l.b.subjects.key(j.p.Channel, j.hash)
	claim := &record{kind: kindClaim, digest: j.p.Digest, epoch: at.epoch, offset: at.offset, seq: at.at}
	for {
		seq, err := l.add(ctx, subject, claim, 0, j.p.IdempotencyAge)
		if err == nil {
			claim.at = seq
			j.claim, j.scanned, j.reached = claim, at.at, at.position()
			return true
		}
		var known *record
		if errors.Is(err, errMoved) {
			known, err = l.newest(ctx, j.p.Channel, subject)
		}
		switch {
		case err != nil:
			j.fail(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
			return false
		case known == nil:
			continue // it was dropped just now
		case known.digest != j.p.Digest:
			j.fail(broker.ErrKeyReused)
			return false
		case known.kind == kindPlaced:
			j.done(broker.Placed{Position: history.Position{Epoch: known.epoch, Offset: known.offset}, Duplicate: true}, nil)
			return false
		}
		j.claim, j.scanned, j.reached = known, known.seq, history.Position{Epoch: known.epoch, Offset: known.offset}
		return true
	}
}

// search looks for the keys of jobs in the records up to at that were not looked at yet, and
// returns the jobs whose key is in none.
func (l *life) search(ctx context.Context, channel string, jobs []*job, at tip) []*job {
	rest := make([]*job, len(jobs))
	for i, j := range jobs {
		if j.hash == "" || j.scanned >= at.at {
			rest[i] = j
			continue
		}
		found, whole := history.Position{}, true
		err := l.scan(ctx, channel, j.scanned+1, at.at, func(r *record) bool {
			if r.first != 1 && (r.epoch != j.reached.Epoch || r.first != j.reached.Offset+1) {
				whole = false // what is between is not kept any more
			}
			j.scanned, j.reached = r.at, history.Position{Epoch: r.epoch, Offset: r.last()}
			var ok bool
			found, ok = r.find(j.hash)
			return !ok
		})
		switch {
		case found.Offset > 0:
			l.settle(j, found)
			j.done(broker.Placed{Position: found, Duplicate: true}, nil)
		case err != nil:
			j.fail(fmt.Errorf("%w: %w", broker.ErrUnavailable, err))
		case !whole:
			j.fail(fmt.Errorf("%w: the history does not go back to when the key came first", broker.ErrUnknown))
		default:
			rest[i] = j
		}
	}
	return present(rest)
}

// settle notes the place of a job in the stead of its claim. Nothing waits for it: until
// then, the key is found in the history.
func (l *life) settle(j *job, at history.Position) {
	if j.hash == "" {
		return
	}
	r := &record{kind: kindPlaced, digest: j.p.Digest, epoch: at.Epoch, offset: at.Offset}
	_ = l.commands.PublishMsg(addition(l.b.subjects.key(j.p.Channel, j.hash), r, j.claim.at, j.p.IdempotencyAge))
}
