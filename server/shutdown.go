package server

import (
	"context"
	"errors"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// Shutdown ends the server gracefully. For Timeouts.DrainDelay it serves on, Stopping
// being true; then it takes no new connections, and closes the others over
// Timeouts.DrainOver, each with 1001 after everything that was sent to it, and with a
// moment of its own to come back. It waits until the clients have answered or ctx is
// done: it then cuts the rest and returns ctx's error. Where ctx has a deadline that is
// too soon for DrainDelay and DrainOver, both are shortened.
//
// Publications are refused from the moment that one might be lost: when the first
// connection is closed or, with a Broker, through which clients get what they have
// missed, when the last one was.
//
// A second call waits like the first one and may cut it short. Shutdown must not be
// called from callbacks.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	running := s.started && !s.closed
	s.mu.Unlock()
	if !running {
		return s.Close()
	}
	if s.stopping.Swap(true) {
		select {
		case <-s.donec:
			return nil
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Close())
		}
	}
	delay, over := s.drainTimes(ctx)
	engine, group := s.engine(), s.parts.Load().group
	group.Stop()
	s.serveOn(ctx, delay)
	engine.StopAccepting()
	if over == 0 || s.cfg.Broker == nil {
		s.stopPublishing()
	}
	connections := group.Connections()
	spread := max(reconnectSpread(connections)-over, drainJitter)
	for _, sh := range s.members() {
		sh.BeginDrain(frame.CloseGoingAway, "server is going away", over, spread)
	}
	s.cfg.Logger.Info("connections are closed", "connections", connections, "over", over, "spread", spread)
	return s.awaitEnd(ctx, engine, time.Now().Add(over))
}

// Stopping reports whether Shutdown was called, so that no more clients should be sent
// here. Any goroutine.
func (s *Server) Stopping() bool { return s.stopping.Load() }

// drainTimes returns Timeouts.DrainDelay and DrainOver, or what there is time for.
func (s *Server) drainTimes(ctx context.Context) (delay, over time.Duration) {
	delay, over = s.cfg.Timeouts.DrainDelay, s.cfg.Timeouts.DrainOver
	deadline, ok := ctx.Deadline()
	if !ok {
		return delay, over
	}
	// A tenth, and a second at most, is left for the closing handshakes of the last ones.
	left := max(time.Until(deadline), 0)
	if left -= min(left/10, time.Second); delay+over > left {
		part := float64(left) / float64(delay+over)
		delay, over = time.Duration(part*float64(delay)), time.Duration(part*float64(over))
		s.cfg.Logger.Warn("the drain is shorter than was set: its context ends before", "drain_delay", delay, "drain_over", over)
	}
	return delay, over
}

// serveOn waits for a time, or for the end.
func (s *Server) serveOn(ctx context.Context, delay time.Duration) {
	if delay <= 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // clients are still told
	case <-s.donec:
	}
}

// stopPublishing refuses publications from now on.
func (s *Server) stopPublishing() {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.draining = true
}

// awaitEnd waits for the ends of all connections, and ends the server. Publications are
// refused from the last one's moment on.
func (s *Server) awaitEnd(ctx context.Context, engine netpoll.Engine, last time.Time) error {
	group := s.parts.Load().group
	// Polling is good enough for the last seconds of a process.
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for publishes := true; ; {
		if publishes && !time.Now().Before(last) {
			s.stopPublishing()
			publishes = false
		}
		// Lingering connections have last messages on their way. The engine's
		// counters are those of its loops' last turns: a newcomer of this turn
		// is in the group's only.
		if st := engine.Stats(); group.Connections() == 0 && st.Conns == 0 && st.Lingering == 0 {
			s.stopPublishing()
			return s.Close()
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Close())
		case <-engine.Done():
			return errors.Join(engine.Err(), s.Close())
		case <-poll.C:
		}
	}
}

// drainJitter is the least time within which a client that is told to go comes back.
const drainJitter = 100 * time.Millisecond

// reconnectSpread is over how long the clients of a server that stops come back: a
// thousand a second, which one machine takes beside its other work, within a
// second at least and half a minute at most.
func reconnectSpread(connections int64) time.Duration {
	return min(max(time.Duration(connections)*time.Millisecond, time.Second), 30*time.Second)
}
