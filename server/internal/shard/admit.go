package shard

import (
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/intake"
)

// Newcomers that the loop can't take now wait, in the order in which they came, before a
// byte of theirs is read: a descriptor, a row and eight bytes each. What may be in the
// middle of its request is bounded apart from that (intake.go).

// retryAfter is when a client that was refused for lack of room may come back, at the
// earliest.
const retryAfter = 5 * time.Second

// refusedMax is when, at the latest.
const refusedMax = 30 * time.Second

// admit lets a newcomer in, or has it wait or come back.
func (c conn) admit() {
	s := c.s
	if c.flags&flagRefused != 0 {
		return
	}
	a := &s.intake.admission
	switch a.Arrive(c.id, s.clock()) {
	case intake.Waits:
		c.pause(flagPausedWork)
		s.count.Inc(counters.AdmissionQueued)
		s.count.Set(counters.AdmissionWaiting, int64(a.Waiting()))
		s.planAdmission()
	case intake.ComesBack:
		s.count.Inc(counters.AdmissionRefused)
		c.noteRefusal(intake.RefusedStorm)
		s.group.connections.Add(-1)
		c.flags |= flagRefused
		if in := &s.intake; c.flags&flagTLS != 0 {
			// A handshake costs a millisecond: a flood gets none for a refusal.
			if in.refusalsLeft--; in.refusalsLeft < 0 {
				c.abort(Closed{Code: frame.CloseAbnormal, Reason: "no room for a newcomer"})
			}
		}
	}
}

// planAdmission has the loop come round when the next may come in.
func (s *Shard) planAdmission() {
	if in := &s.intake; in.stepDue == 0 && in.admission.Waiting() > 0 {
		in.stepDue = s.clock() + intake.AdmissionStep
		s.cfg.After(intake.AdmissionStep, s.loop.Wake)
	}
}

// admitWaiting lets in those whose turn has come.
func (s *Shard) admitWaiting() {
	in := &s.intake
	a, now := &in.admission, s.clock()
	if in.stepDue == 0 || now < in.stepDue {
		return
	}
	a.Late(now-in.stepDue, now)
	in.stepDue = 0
	for {
		id, ok := a.Next(now)
		if !ok {
			break
		}
		c, ok := s.find(id)
		if !ok || c.flags&flagPausedWork == 0 {
			a.Return()
			continue
		}
		c.openedTick = s.deadlines.tick // from now on it may keep others waiting
		c.setDeadline(s.deadlines.tick + s.deadlines.after.handshake)
		c.resume(flagPausedWork)
	}
	s.count.Set(counters.AdmissionWaiting, int64(a.Waiting()))
	s.count.Set(counters.AdmissionRate, int64(a.Effective()))
	s.planAdmission()
}

// waitsOutside reports whether a newcomer waits until the loop can take it. Nothing that it
// has sent was read, unlike of one that waits for a place (intake.go).
func (c conn) waitsOutside() bool {
	return c.flags&flagPausedWork != 0 && (c.state == stateHead || c.state == stateProxy || c.state == stateTLS) && c.input() == nil
}

// sendAway ends the wait of a newcomer outside, and tells it when to come back where that can
// be told without reading.
func (c conn) sendAway(why Closed) {
	if c.state != stateHead {
		c.abort(why)
		return
	}
	c.decide(why)
	env := c.envelope()
	env.Unread = true
	c.respond(handshake.AppendUnavailable(nil, c.s.comeBackAfter(), env))
}

// full reports whether there are as many connections as there may be.
func (s *Shard) full() bool { return s.group.connections.Load() >= s.group.limit }

// comeBackAfter returns after how long a client comes back that finds no room: a place
// of its own in the time that all of them need, so that they do not come at once. Where that
// time is not known, because room is what others leave, the last place is half a minute away:
// a flood of refusals must not send honest clients further.
func (s *Shard) comeBackAfter() time.Duration {
	if d := &s.drain; d.begun {
		return time.Second + time.Duration(s.random.Int64N(int64(d.spread+1)))
	}
	a, now := &s.intake.admission, s.clock()
	if a.Waiting() > 0 && !s.full() {
		return a.Appointment(0, intake.AppointmentMax, now)
	}
	return a.Appointment(retryAfter, refusedMax, now).Truncate(time.Second)
}
