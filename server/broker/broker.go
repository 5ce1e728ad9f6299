// Package broker is the contract between a server and what orders the messages of several
// servers: its nodes.
//
// A broker gives the messages of each channel one order, keeps the recent ones, and hands
// them to the nodes that want them. A node is a window on that: it keeps what it needs of
// the channels that its clients are in, finds what is missing by the positions, and reads
// it. docs/decisions/0023-broker.md has the reasons; package brokertest has the test that
// each broker passes.
//
// # Positions
//
// The messages of a channel of which something is kept have an epoch, and offsets that
// count up by one from 1. The epoch names the memory of the broker: if a part of that may
// be lost (another process, a replica that was promoted, a database that was flushed), the
// next message begins another epoch, and one that was used never comes again. A channel of
// which nothing was published yet, or not for a long time, has an epoch, too, and the
// offset of its last message.
//
// # What arrives
//
// Inbound.Attached says that from now on all messages of a channel are handed over, in the
// order of their offsets, until Inbound.Interrupted or Detach. A node that wants to know
// where the channel stands reads then: what Read does not return comes by Deliver, or came
// already. Messages may come twice. After an interruption the broker attaches by itself
// what is not detached, and calls Attached for each channel again; what came in between is
// for the node to read.
package broker

import (
	"errors"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
)

// A Broker connects one node with the others. Its methods do not block and may be called
// by any goroutine, except where they say otherwise. Callbacks are called by goroutines of
// the broker, never from within a method; one that a caller has handed over is called exactly
// once. They must not block.
type Broker interface {
	// Start begins to connect. It is called once, before all others. An error is for what
	// no second attempt would mend: a broker that is away is not one.
	Start(in Inbound) error
	// Publish gives a message its place and hands it to all nodes that have attached its
	// channel, this one among them. Publications of one caller to one channel keep their
	// order. The broker keeps p, which must not be changed. done gets ErrUnavailable if
	// the message was not published, ErrUnknown if that is not known, ErrKeyReused.
	Publish(p *Publication, done func(Placed, error))
	// Attach asks for the messages of a channel, and Detach ends that. Either comes once
	// before the other. Empty is the name of the channel of everybody, of which nothing is
	// kept.
	Attach(channel string)
	Detach(channel string)
	// Read returns what is kept of a channel: after since, or everything if that is nil,
	// of another epoch, or too old. keep is as in publications to the channel. The error is
	// ErrUnavailable.
	Read(channel string, keep Keep, since *history.Position, done func(Page, error))
	// Health returns how the broker is doing.
	Health() Health
	// Close ends the broker: callbacks that are due get ErrUnavailable or ErrUnknown, and
	// nothing is called any more when it has returned. It may block.
	Close() error
}

// Inbound is the node as the broker sees it. Its methods are called one after the other,
// by one goroutine at a time. Deliver may wait for a moment where the node cannot keep up:
// the broker then holds back what it receives, and is interrupted rather than to leave out
// a message in silence.
type Inbound interface {
	// Deliver hands a message over. The node keeps m.
	Deliver(m *Message)
	// Attached says that the messages of a channel are handed over from now on.
	Attached(channel string)
	// Interrupted says that messages of the affected channels may be missing from now on,
	// until Attached is called for them again: those for which affected, which must not
	// block and may be called until Interrupted returns, returns true; all, if it is nil.
	Interrupted(affected func(channel string) bool, why error)
}

// Errors of publications and reads, for errors.Is.
var (
	// ErrUnavailable: the broker is away; nothing was done.
	ErrUnavailable = errors.New("broker: not available; nothing was done")
	// ErrUnknown: the broker went away before it answered; whether the message was
	// published is not known. With an idempotency key it may be published again.
	ErrUnknown = errors.New("broker: no answer; whether the message was published is not known")
	// ErrKeyReused: the idempotency key belongs to another publication.
	ErrKeyReused = errors.New("broker: the idempotency key belongs to another publication")
)

// A Message is one message of a channel.
type Message struct {
	// Channel is a channel, "user:ID", or empty for everybody. The servers talk to each
	// other in channels whose names begin with a zero byte; of these nothing is kept.
	Channel string
	// Position is the message's place; zero where nothing is kept.
	Position history.Position
	// Time is when it was published, in Unix milliseconds; 0 where nothing is kept.
	Time int64
	// Type is frame.OpText or frame.OpBinary, or TypeNotice.
	Type frame.Opcode
	// Payload must not be changed.
	Payload []byte
	// Key, From and Spread are those of the server's Publication.
	Key, From string
	Spread    time.Duration
	// Tag is the publisher's, by which its node knows its own messages again.
	Tag uint64
}

// TypeNotice is the type of what nodes tell each other about a channel. Nothing is kept of
// it, and no client gets it.
const TypeNotice = frame.OpPing

// Keep is what is kept of a channel; nothing, if it is zero.
type Keep struct {
	// Messages is how many messages are kept at most, and Age for how long.
	Messages int
	Age      time.Duration
}

// A Publication is a message to publish, without a position.
type Publication struct {
	Message
	Keep Keep
	// IdempotencyKey, if it is not empty, makes a repetition within IdempotencyAge harmless,
	// on whatever node: it has the first one's place. Digest tells publications to the same
	// channel with the same key apart.
	IdempotencyKey string
	IdempotencyAge time.Duration
	Digest         uint64
}

// Placed is the result of a publication.
type Placed struct {
	// Position is zero where nothing is kept.
	Position history.Position
	// Duplicate reports that the idempotency key was known: nothing was published now.
	Duplicate bool
	// Nodes is how many nodes had attached the channel, or NodesUnknown.
	Nodes int
}

// NodesUnknown is the number of nodes where a broker does not know it.
const NodesUnknown = -1

// A Page is what a Read found.
type Page struct {
	// Position is that of the channel's newest message.
	Position history.Position
	// Messages follow each other without a hole. If they end before Position, the next ones
	// are read with since at the last one.
	Messages []*Message
}

// Health is how a broker is doing.
type Health struct {
	// Publishing is why publications fail, nil if they do not.
	Publishing error
	// Receiving is why messages may be missing, nil if none is.
	Receiving error
	// Partly is why some channels fail although others work, nil if none fails. A broker of
	// several servers sets it where one is away.
	Partly error
	// Since is when this began.
	Since time.Time
}
