package server

import (
	"context"
	"encoding/json"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/nodes"
)

// What servers on one broker ask each other. A kind keeps its meaning: one that changes gets
// another name, and an older server then says that it does not know it.
const (
	kindDisconnect  nodes.Kind = "disconnect"
	kindSubscribe   nodes.Kind = "subscribe"
	kindUnsubscribe nodes.Kind = "unsubscribe"
	kindSend        nodes.Kind = "send"
	kindConnections nodes.Kind = "connections"
	kindChannels    nodes.Kind = "channels"
	kindLargest     nodes.Kind = "largest-channels"
)

// handlers sets who answers the questions of other servers. It is called by New.
func (s *Server) handlers() {
	for _, kind := range []nodes.Kind{kindDisconnect, kindSubscribe, kindUnsubscribe, kindSend} {
		handle(s, kind, func(ctx context.Context, o *order) (int, error) {
			r, err := s.resolve(o.Audience)
			if err != nil || r.node != "" {
				return 0, err
			}
			return s.carryOut(ctx, kind, r, o)
		})
	}
	handle(s, kindConnections, s.answerConnections)
	handle(s, kindChannels, s.answerChannels)
	handle(s, kindLargest, s.answerLargest)
}

// An answer is what a server answers another one, as JSON.
type answer[A any] struct {
	Answer A `json:"answer"`
	// Error is why there is none.
	Error string `json:"error,omitempty"`
}

// handle lets f answer the questions of a kind.
func handle[Q, A any](s *Server, kind nodes.Kind, f func(context.Context, *Q) (A, error)) {
	s.nodes.Handle(kind, func(_ string, body []byte) []byte {
		q := new(Q)
		var a answer[A]
		err := json.Unmarshal(body, q)
		if err == nil {
			ctx, cancel := context.WithTimeout(s.ctx, nodes.AskTimeout)
			defer cancel()
			a.Answer, err = f(ctx, q)
		}
		if err != nil {
			a = answer[A]{Error: err.Error()}
		}
		return encode(a)
	})
}

// encode returns v, which has JSON, as JSON.
func encode(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}

// ask asks other servers, or all if to is nil, and returns their answers by the IDs of the
// servers. The error is nil, or an *IncompleteError.
func ask[A any](ctx context.Context, s *Server, to []string, kind nodes.Kind, question any) (map[string]A, error) {
	bodies, missing := s.nodes.Ask(ctx, to, kind, encode(question))
	answers := make(map[string]A, len(bodies))
	for id, body := range bodies {
		var a answer[A]
		if err := json.Unmarshal(body, &a); err != nil || a.Error != "" {
			s.cfg.Logger.Warn("another server has not answered a question", "node", id, "question", string(kind), "reason", a.Error, "err", err)
			missing = append(missing, id)
			continue
		}
		answers[id] = a.Answer
	}
	if len(missing) == 0 {
		return answers, nil
	}
	labels := map[string]string{}
	for _, i := range s.nodes.All() {
		labels[i.ID] = i.Label()
	}
	for i, id := range missing {
		if label := labels[id]; label != "" {
			missing[i] = label
		}
	}
	return answers, &IncompleteError{missing}
}

// everywhere returns what here returns for this server, and the answers of all others, which
// are asked meanwhile. After an *IncompleteError the rest is there.
func everywhere[A any](ctx context.Context, s *Server, kind nodes.Kind, question any, here func() (A, error)) (own A, others map[string]A, err error) {
	if s.nodes.Alone() {
		own, err = here()
		return own, nil, err
	}
	done := make(chan struct{})
	var missing error
	go func() {
		defer close(done)
		others, missing = ask[A](ctx, s, nil, kind, question)
	}()
	own, err = here()
	<-done
	if err != nil {
		return own, nil, err
	}
	return own, others, missing
}

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
		s.nodes.Tell(r.node, kind, encode(o))
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
