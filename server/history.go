package server

import (
	"context"
	"fmt"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

// History returns a part of what is kept of a channel. It is empty if the
// channel's namespace has no history. With Config.Broker it may wait for the broker, up to
// five seconds, and must not be called from callbacks; the error may be
// broker.ErrUnavailable.
func (s *Server) History(channel string, q history.Query) (history.Page, error) {
	if err := s.checkName("channel", channel); err != nil {
		return history.Page{}, err
	}
	if q.Limit < 0 {
		return history.Page{}, fmt.Errorf("%w: a limit of %d", ErrBadName, q.Limit)
	}
	running := s.parts.Load()
	if running == nil {
		return history.Page{}, ErrServerClosed
	}
	if running.hub.Remote() && running.hub.Namespace(channel) != nil {
		ctx, cancel := context.WithTimeout(s.ctx, brokerWait)
		defer cancel()
		if err := s.want(ctx, channel); err != nil {
			return history.Page{}, err
		}
	}
	return running.hub.Query(channel, q), nil
}

// brokerWait bounds how long callers wait until a channel of the broker is known.
const brokerWait = 5 * time.Second

// want waits until the broker has said where a channel stands.
func (s *Server) want(ctx context.Context, channel string) error {
	known := make(chan struct{})
	forgo := s.parts.Load().hub.Want(channel, nil, func() { close(known) })
	if forgo == nil {
		return nil
	}
	defer forgo()
	select {
	case <-known:
		return nil
	case <-ctx.Done():
		return broker.ErrUnavailable
	}
}

// ClearHistory drops the messages that are kept of a channel and returns how many these
// were. Messages that are still being fanned out stay. Positions go on: a client that
// resumes from before is told that it was not recovered, and one that lags behind falls
// under Namespace.SlowConsumer. With Config.Broker the broker keeps the history, and the
// error is ErrBrokerHistory.
func (s *Server) ClearHistory(channel string) (n int, err error) {
	if err := s.checkName("channel", channel); err != nil {
		return 0, err
	}
	running := s.parts.Load()
	if running == nil {
		return 0, ErrServerClosed
	}
	if running.hub.Remote() {
		return 0, ErrBrokerHistory
	}
	return running.hub.Clear(channel), nil
}
