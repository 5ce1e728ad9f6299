package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// Publish sends a message to the subscribers of a channel, encoded once for all
// of them; "user:ID" is PublishUser. It returns when each loop has a note of it:
// delivery follows, in the same order for every subscriber. It copies payload.
// ErrBusy: nobody gets it.
func (s *Server) Publish(channel string, t MessageType, payload []byte) error {
	return s.publishNow(&Publication{Channel: channel, Type: t, Payload: payload})
}

// PublishUser does the same for all connections of a user.
func (s *Server) PublishUser(user string, t MessageType, payload []byte) error {
	return s.publishNow(&Publication{User: user, Type: t, Payload: payload})
}

// Broadcast does the same for every open connection.
func (s *Server) Broadcast(t MessageType, payload []byte) error {
	return s.publishNow(&Publication{All: true, Type: t, Payload: payload})
}

func (s *Server) publishNow(p *Publication) error {
	if err := s.checkPublication(p); err != nil {
		return err
	}
	_, err := s.put(p, nil)
	return err
}

// PublishMessage publishes p and waits until every loop has counted for how
// many connections it was and how many it was written to, or ctx is done: then
// the receipt is not Complete, and the message is published all the same. Not
// from callbacks, which run on the loops that it would wait for. Errors as
// Publish.
func (s *Server) PublishMessage(ctx context.Context, p Publication) (Receipt, error) {
	if p.Type == 0 {
		p.Type = Text
	}
	if err := s.checkPublication(&p); err != nil {
		return Receipt{}, err
	}
	if p.IdempotencyKey == "" {
		return s.publishCounted(ctx, &p)
	}
	sent, first := s.repetitions.begin(p.Channel + "\x00" + p.User + "\x00" + p.IdempotencyKey)
	if !first {
		select {
		case <-sent.done: // even if ctx is done: who does not wait learns what is known
		default:
			select {
			case <-sent.done:
			case <-ctx.Done():
				return Receipt{}, fmt.Errorf("server: the same idempotency key is being published: %w", ctx.Err())
			}
		}
		r := sent.receipt
		r.Duplicate = true
		return r, sent.err
	}
	r, err := s.publishCounted(ctx, &p)
	s.repetitions.end(sent, r, err)
	return r, err
}

func (s *Server) publishCounted(ctx context.Context, p *Publication) (Receipt, error) {
	tally := shard.NewTally()
	at, err := s.put(p, tally)
	if err != nil {
		return Receipt{}, err
	}
	r := Receipt{Position: at}
	select {
	case <-tally.Done():
		r.Complete = true
	case <-ctx.Done():
	case <-s.donec:
	}
	r.Matched, r.Written = tally.Matched(), tally.Written()
	return r, nil
}

// put hands a publication that was checked to the loops.
func (s *Server) put(p *Publication, tally *shard.Tally) (Position, error) {
	running := s.parts.Load()
	if running == nil {
		return Position{}, ErrServerClosed
	}
	m := shard.NewMessage(p.Type, p.Payload)
	m.Key, m.From = p.Key, p.From
	var err error
	switch {
	case p.Spread > 0:
		err = running.publisher.Spread(p.Channel, p.User, m, p.Spread, tally)
	case p.All:
		err = running.publisher.Broadcast(m, tally)
	case p.User != "":
		err = running.publisher.User(p.User, m, tally)
	default:
		err = running.publisher.Channel(p.Channel, m, tally)
	}
	if err != nil || m.Offset == 0 {
		return Position{}, err
	}
	return Position{Epoch: running.publisher.Epoch(), Offset: m.Offset}, nil
}

// checkPublication refuses what could never be sent, and turns the channel of a
// user into the user.
func (s *Server) checkPublication(p *Publication) error {
	targets := 0
	for _, named := range []bool{p.Channel != "", p.User != "", p.All} {
		if named {
			targets++
		}
	}
	if targets != 1 {
		return fmt.Errorf("%w: a publication wants exactly one of a channel, a user, and all", ErrBadName)
	}
	if user, ok := strings.CutPrefix(p.Channel, protocol.UserPrefix); ok {
		p.Channel, p.User = "", user
	}
	switch {
	case p.User != "":
		if err := s.checkName("user", p.User); err != nil {
			return err
		}
	case !p.All:
		if err := s.checkName("channel", p.Channel); err != nil {
			return err
		}
	}
	if len(p.Key) > s.cfg.Limits.ChannelNameMaxBytes {
		return fmt.Errorf("%w: the key has %d bytes, ChannelNameMaxBytes is %d", ErrBadName, len(p.Key), s.cfg.Limits.ChannelNameMaxBytes)
	}
	if len(p.IdempotencyKey) > idempotencyKeyMaxBytes {
		return fmt.Errorf("%w: the idempotency key has %d bytes, want at most %d", ErrBadName, len(p.IdempotencyKey), idempotencyKeyMaxBytes)
	}
	if p.Spread < 0 || p.Spread > spreadMax {
		return fmt.Errorf("%w: a spread of %v, want 0 to %v", ErrBadName, p.Spread, spreadMax)
	}
	return s.checkMessage(p.Type, p.Payload)
}

const (
	idempotencyKeyMaxBytes = 255
	// spreadMax keeps a forgotten unit (30 for 30s) or a slip from holding a message for days.
	spreadMax = time.Hour
)

// History answers a part of what is kept of a channel. Without history for its
// namespace it is empty.
func (s *Server) History(channel string, q HistoryQuery) (HistoryPage, error) {
	if err := s.checkName("channel", channel); err != nil {
		return HistoryPage{}, err
	}
	if q.Limit < 0 {
		return HistoryPage{}, fmt.Errorf("%w: a limit of %d", ErrBadName, q.Limit)
	}
	running := s.parts.Load()
	if running == nil {
		return HistoryPage{}, ErrServerClosed
	}
	var since *shard.Position
	if q.Since != nil {
		since = &shard.Position{Epoch: q.Since.Epoch, Offset: q.Since.Offset}
	}
	found := running.publisher.History(channel, since, q.Limit, q.Reverse)
	page := HistoryPage{Position: Position(found.Position), More: found.More, Gap: found.Gap}
	for _, m := range found.Messages {
		page.Messages = append(page.Messages, HistoryMessage{
			Offset: m.Offset, Time: time.UnixMilli(m.Time), Type: m.Opcode(), Payload: m.Payload(), Key: m.Key, From: m.From,
		})
	}
	return page, nil
}

// repetitions remembers what was published under idempotency keys.
type repetitions struct {
	age   time.Duration
	mu    sync.Mutex
	known *simplelru.LRU[string, *sentOnce] // guarded by mu
}

// sentOnce is one of them; receipt is valid when done is closed.
type sentOnce struct {
	key     string
	at      time.Time
	done    chan struct{}
	receipt Receipt
	err     error
}

// repetitionsMax bounds them: some 300 bytes each.
const repetitionsMax = 100_000

func newRepetitions(age time.Duration) *repetitions {
	known, _ := simplelru.NewLRU[string, *sentOnce](repetitionsMax, nil) // an error is for sizes below 1
	return &repetitions{age: age, known: known}
}

// begin answers what is known of a key, and whether the caller is the first.
func (r *repetitions) begin(key string) (sent *sentOnce, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if sent, ok := r.known.Peek(key); ok && now.Sub(sent.at) < r.age {
		return sent, false
	}
	for { // Peek moves nothing up, so the oldest is the first that was added
		_, oldest, ok := r.known.GetOldest()
		if !ok || now.Sub(oldest.at) < r.age {
			break
		}
		r.known.RemoveOldest()
	}
	sent = &sentOnce{key: key, at: now, done: make(chan struct{})}
	r.known.Add(key, sent)
	return sent, true
}

// end notes the first one's receipt; what failed may be tried again.
func (r *repetitions) end(sent *sentOnce, receipt Receipt, err error) {
	if err != nil {
		r.mu.Lock()
		r.known.Remove(sent.key)
		r.mu.Unlock()
	}
	sent.receipt, sent.err = receipt, err
	close(sent.done)
}
