package server

import (
	"context"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/nodes"
)

// An order is something to be done to an audience, on each server that has some of it.
type order struct {
	Audience
	// Of disconnect.
	Code   frame.CloseCode `json:",omitzero"`
	Reason string          `json:",omitzero"`
	// To is the channel that is entered or left.
	To string `json:",omitzero"`
	// Of send.
	Type    MessageType `json:",omitzero"`
	Payload []byte      `json:",omitzero"`
	// NoWait: the result is not wanted, and nothing is waited for.
	NoWait bool `json:",omitzero"`
}

// carryOut carries an order out on this server.
func (s *Server) carryOut(ctx context.Context, kind nodes.Kind, r resolved, o *order) (n int, err error) {
	switch kind {
	case kindDisconnect:
		return s.disconnect(ctx, r, o)
	case kindSubscribe:
		return s.subscribe(ctx, r, o)
	case kindUnsubscribe:
		return s.unsubscribe(ctx, r, o)
	}
	return s.sendHere(ctx, r, o)
}

// orderMaxBytes bounds the payload of an order to another server, which travels as base64.
const orderMaxBytes = nodes.BodyMaxBytes / 2

// order has an order carried out on this server and all others that may have some of the
// audience, and returns for how many connections that was done. With NoWait it does not wait
// for any of them. After an *IncompleteError the number is that of the others.
func (s *Server) order(ctx context.Context, kind nodes.Kind, o *order) (n int, err error) {
	r, err := s.resolve(o.Audience)
	if err != nil {
		return 0, err
	}
	here := func() (int, error) { return s.carryOut(ctx, kind, r, o) }
	switch {
	case r.id != 0 && r.node == "" || r.id == 0 && s.nodes.Alone():
		return here()
	case r.id != 0 && !s.nodes.Has(r.node):
		return 0, nil // it has ended with its server
	case len(o.Payload) > orderMaxBytes:
		return 0, ErrMessageTooBig
	case ctx == NoWait:
		told := *o
		told.NoWait = true
		s.nodes.Tell(r.node, kind, encode(&told))
		if r.id != 0 {
			return 0, nil
		}
		return here()
	case r.id != 0:
		others, err := ask[int](ctx, s, []string{r.node}, kind, o)
		return others[r.node], err
	}
	n, others, err := everywhere(ctx, s, kind, o, here)
	for _, m := range others {
		n += m
	}
	return n, err
}
