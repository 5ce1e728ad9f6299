package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"time"

	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/hub"
	"github.com/roostws/roost/server/protocol"
)

// A Publication is a message to publish, with everything that can be said about
// it. Exactly one of Channel, User, Client and All names the audience.
type Publication struct {
	// Channel reaches the subscribers of a channel. "user:ID" is the same as User: ID.
	Channel string
	// User reaches all connections of a user; over the native protocol they see it
	// as a message of the channel "user:ID".
	User string
	// Client reaches one connection, as Conn.String names it, in the way of Conn.Send:
	// such a message has no Key, From, IdempotencyKey or Spread. Receipt.Matched is 1 if
	// the connection is there, and so is Written, which does not say how far it has read.
	Client string
	// All reaches every open connection.
	All bool
	// Type is Text, the default, or Binary.
	Type MessageType
	// Payload is the message. It is copied. Over the native protocol a text that
	// is JSON travels as it is, any other text as a JSON string, and a binary
	// message in base64.
	Payload []byte
	// Key is for SlowLatest: a newer message with the same key makes an older one
	// superfluous.
	Key string
	// From names the user on whose behalf this is published; native clients see it.
	From string
	// IdempotencyKey makes a repetition within IdempotencyAge harmless: it returns
	// the first one's receipt.
	IdempotencyKey string
	// Spread paces the delivery over this time, so that the audience does not
	// stampede the application: each connection gets the message at its own
	// moment. Such a message has no offset, is not kept, and keeps no order with
	// others.
	Spread time.Duration

	// Except are channels whose subscribers do not get the message; the channel of a single
	// socket ("io:/chat#ID") stands for that one. Such a message goes to a Channel, without
	// From and Spread.
	Except []string

	except *hub.Except
}

// A Receipt reports the delivery of a publication.
type Receipt struct {
	// Position is that of the message; zero without history.
	history.Position
	// Matched is how many connections the message was for when its turn came.
	Matched int
	// Written is for how many of them the kernel (or TLS) took it at once. The others
	// get it when they read on, or fall under the slow consumer policy.
	Written int
	// Complete reports that every loop has counted, with Config.Broker those of all servers
	// that have attached the channel. It is false if ctx was done before.
	Complete bool
	// Duplicate reports that the idempotency key was known: nothing was published
	// now.
	Duplicate bool
}

// Publish sends a message to the subscribers of a channel, encoded once for all
// of them; "user:ID" is PublishUser. It returns when the message is in the inbox of
// each loop: delivery follows, in the same order for every subscriber. It copies
// payload. After ErrBusy no subscriber gets the message. With Config.Broker it returns when
// the message is on its way to the broker: an error that comes later is counted
// (broker_publish_errors), and PublishMessage returns it.
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
	if s.cfg.Broker != nil {
		_, err := s.beginRemote(NoWait, p)()
		return err
	}
	_, err := s.put(p, nil)
	return err
}

// PublishMessage publishes p and waits until every loop has counted the
// connections that the message was for and those that it was written to, or until
// ctx is done: then the receipt is not Complete, and the message is published all
// the same. With Config.Broker it waits for the broker's answer in any case, but for NoWait;
// errors are then broker.ErrUnavailable, and broker.ErrUnknown, after which the message may
// have been published. From callbacks, which run on the loops that it would wait for, it must be
// called with NoWait. Its errors are those of Publish, and ErrKeyReused; after any of
// them nothing was published. ErrServerClosed is returned from the moment that Shutdown begins.
func (s *Server) PublishMessage(ctx context.Context, p Publication) (Receipt, error) {
	return s.BeginPublish(ctx, p)()
}

// BeginPublish is the first half of PublishMessage: what it returns is the second one, which
// waits, and is called once by any goroutine. So that many publications are on their way at
// a time, a caller begins all of them before it waits for the first one: they keep their
// order. ctx bounds the wait. p's payload is free when BeginPublish returns.
func (s *Server) BeginPublish(ctx context.Context, p Publication) (result func() (Receipt, error)) {
	if p.Type == 0 {
		p.Type = Text
	}
	if err := s.checkPublication(&p); err != nil {
		return refused(err)
	}
	switch {
	case p.Client != "":
		r, err := s.sendTo(ctx, &p)
		return func() (Receipt, error) { return r, err }
	case s.cfg.Broker != nil:
		return s.beginRemote(ctx, &p)
	}
	sent, repeated, err := s.sendHereOnce(&p)
	if err != nil {
		return refused(err)
	}
	return func() (Receipt, error) {
		r := s.receipt(ctx, sent)
		r.Duplicate = repeated
		return r, nil
	}
}

// refused is the result of what was not published.
func refused(err error) func() (Receipt, error) {
	return func() (Receipt, error) { return Receipt{}, err }
}

// sendHereOnce sends p to this server's connections, unless its idempotency key is known.
func (s *Server) sendHereOnce(p *Publication) (out sent, repeated bool, err error) {
	if p.IdempotencyKey == "" {
		out, err = s.send(p)
		return out, false, err
	}
	key := p.Channel + "\x00" + p.User + "\x00" + p.IdempotencyKey
	return s.repetitions.Do(key, p.digest(), func() (sent, error) { return s.send(p) })
}

// sent is a publication that is in the inbox of each loop.
type sent struct {
	at    history.Position
	tally *hub.Tally
}

func (s *Server) send(p *Publication) (sent, error) {
	tally := hub.NewTally()
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
	p.hash(&h)
	return h.Sum64()
}

// hash writes what digest is made of.
func (p *Publication) hash(h io.Writer) {
	_ = binary.Write(h, binary.LittleEndian, []int64{int64(p.Type), int64(p.Spread), int64(len(p.Key)), int64(len(p.From))}) // never fails
	_, _ = io.WriteString(h, p.Key)
	_, _ = io.WriteString(h, p.From)
	if p.except != nil {
		_, _ = h.Write(encode(p.except))
	}
	_, _ = h.Write(p.Payload)
}

// put hands a publication that was checked to the loops.
func (s *Server) put(p *Publication, tally *hub.Tally) (history.Position, error) {
	// Shutdown closes the connections after what was published until then.
	s.publishing.RLock()
	defer s.publishing.RUnlock()
	running := s.parts.Load()
	if running == nil {
		return history.Position{}, errNotStarted
	}
	if s.draining {
		return history.Position{}, ErrServerClosed
	}
	m := hub.NewMessage(p.Type, p.Payload)
	m.Key, m.From, m.Except = p.Key, p.From, p.except
	switch h := running.hub; {
	case p.Spread > 0 && p.All:
		return history.Position{}, h.Spread(hub.ToAll, "", m, p.Spread, tally)
	case p.Spread > 0 && p.User != "":
		return history.Position{}, h.Spread(hub.ToUser, p.User, m, p.Spread, tally)
	case p.Spread > 0:
		return history.Position{}, h.Spread(hub.ToChannel, p.Channel, m, p.Spread, tally)
	case p.All:
		return history.Position{}, h.All(m, tally)
	case p.User != "":
		return h.User(p.User, m, tally)
	default:
		return h.Channel(p.Channel, m, tally)
	}
}

// checkPublication refuses a publication that could never be sent, and turns the
// channel of a user into the user.
func (s *Server) checkPublication(p *Publication) error {
	targets := 0
	for _, named := range []bool{p.Channel != "", p.User != "", p.Client != "", p.All} {
		if named {
			targets++
		}
	}
	if targets != 1 {
		return fmt.Errorf("%w: a publication wants exactly one of a channel, a user, a client, and all", ErrBadName)
	}
	if user, ok := strings.CutPrefix(p.Channel, protocol.UserPrefix); ok {
		p.Channel, p.User = "", user
	}
	switch {
	case p.Client != "":
		if p.Key != "" || p.From != "" || p.IdempotencyKey != "" || p.Spread != 0 {
			return fmt.Errorf("%w: a message to one client has no key, sender, idempotency key or spread", ErrBadName)
		}
	case p.User != "":
		if err := s.checkName("user", p.User); err != nil {
			return err
		}
	case !p.All:
		if err := s.checkName("channel", p.Channel); err != nil {
			return err
		}
		s.aim(p)
	}
	if (len(p.Except) > 0 || p.except != nil) && (p.Channel == "" || p.From != "" || p.Spread != 0) {
		return fmt.Errorf("%w: a message to a part of a channel has no sender, no spread and no other target", ErrBadName)
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

// aim notes who of a channel gets a publication: not those of Except, and, if the channel is
// that of a single client, only this one, of another channel that it is in.
func (s *Server) aim(p *Publication) {
	if p.except != nil {
		return // it comes from a protocol
	}
	whole, name, single := s.rules.Single(p.Channel)
	if !single && len(p.Except) == 0 {
		return
	}
	p.except = &hub.Except{Channels: p.Except}
	for _, channel := range p.Except {
		if _, name, ok := s.rules.Single(channel); ok {
			p.except.Names = append(p.except.Names, name)
		}
	}
	if single {
		p.except.Only = &hub.Group{Channels: []string{p.Channel}, Names: []string{name}}
		p.Channel = whole
	}
}

const (
	idempotencyKeyMaxBytes = 255
	publicationKeyMaxBytes = 255
	// spreadMax keeps a forgotten unit (30 for 30s) or a slip from holding a message for days.
	spreadMax = time.Hour
)
