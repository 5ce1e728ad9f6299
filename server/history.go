package server

import (
	"fmt"

	"github.com/roostws/roost/server/history"
)

// History returns a part of what is kept of a channel. It is empty if the
// channel's namespace has no history.
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
	return running.hub.Query(channel, q), nil
}

// ClearHistory drops the messages that are kept of a channel and returns how many these
// were. Messages that are still being fanned out stay. Positions go on: a client that
// resumes from before is told that it was not recovered, and one that lags behind falls
// under Namespace.SlowConsumer.
func (s *Server) ClearHistory(channel string) (n int, err error) {
	if err := s.checkName("channel", channel); err != nil {
		return 0, err
	}
	running := s.parts.Load()
	if running == nil {
		return 0, ErrServerClosed
	}
	return running.hub.Clear(channel), nil
}
