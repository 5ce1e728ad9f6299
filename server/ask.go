package server

import (
	"context"
	"encoding/json"

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
			if o.NoWait {
				ctx = NoWait
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
