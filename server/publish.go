package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

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
// the receipt is not Complete, and the message is published all the same. It must
// not be called from callbacks, which run on the loops that it would wait for. Its
// errors are those of Publish, and ErrKeyReused; after any of them nothing was
// published. ErrServerClosed is returned from the moment that Shutdown begins.
func (s *Server) PublishMessage(ctx context.Context, p Publication) (Receipt, error) {
	if p.Type == 0 {
		p.Type = Text
	}
	if err := s.checkPublication(&p); err != nil {
		return Receipt{}, err
	}
	if p.IdempotencyKey == "" {
		sent, err := s.send(&p)
		if err != nil {
			return Receipt{}, err
		}
		return s.receipt(ctx, sent), nil
	}
	key := p.Channel + "\x00" + p.User + "\x00" + p.IdempotencyKey
	sent, repeated, err := s.repetitions.Do(key, p.digest(), func() (sent, error) { return s.send(&p) })
	if err != nil {
		return Receipt{}, err
	}
	r := s.receipt(ctx, sent)
	r.Duplicate = repeated
	return r, nil
}

// sent is a publication that is in the inbox of each loop.
type sent struct {
	at    Position
	tally *shard.Tally
}

func (s *Server) send(p *Publication) (sent, error) {
	tally := shard.NewTally()
	at, err := s.put(p, tally)
	return sent{at, tally}, err
}

// receipt waits until the loops have counted, or ctx is done.
func (s *Server) receipt(ctx context.Context, sent sent) Receipt {
	r := Receipt{Position: sent.at}
	select {
	case <-sent.tally.Done():
		r.Complete = true
	default:
		select {
		case <-sent.tally.Done():
			r.Complete = true
		case <-ctx.Done():
		case <-s.donec:
		}
	}
	r.Matched, r.Written = sent.tally.Matched(), sent.tally.Written()
	return r
}

var digestSeed = maphash.MakeSeed()

// digest tells publications apart that have the same target and idempotency key.
func (p *Publication) digest() uint64 {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	_ = binary.Write(&h, binary.LittleEndian, []int64{int64(p.Type), int64(p.Spread), int64(len(p.Key)), int64(len(p.From))}) // never fails
	_, _ = h.WriteString(p.Key)
	_, _ = h.WriteString(p.From)
	_, _ = h.Write(p.Payload)
	return h.Sum64()
}

// put hands a publication that was checked to the loops.
func (s *Server) put(p *Publication, tally *shard.Tally) (Position, error) {
	// Shutdown closes the connections behind what was published until then.
	s.publishing.RLock()
	defer s.publishing.RUnlock()
	running := s.parts.Load()
	if running == nil || s.draining {
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
	if len(p.Key) > publicationKeyMaxBytes {
		return fmt.Errorf("%w: the key has %d bytes, want at most %d", ErrBadName, len(p.Key), publicationKeyMaxBytes)
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
	publicationKeyMaxBytes = 255
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
