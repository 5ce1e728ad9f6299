package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/wire"
)

// decide notes why a connection ends. The first reason counts.
func (c conn) decide(why Closed) {
	if x := c.makeExt(); !x.decided {
		x.decided, x.verdict = true, why
	}
}

// startClose begins the closing handshake from our side.
func (c conn) startClose(code frame.CloseCode, reason string) {
	switch c.state {
	case stateOpen:
		c.decide(Closed{Code: code, Reason: reason})
		c.stopLagging()
		if c.poll() == nil { // its response says how far it has read
			c.stopReadingAll()
		}
		c.setState(stateClosing)
		c.setDeadline(c.s.deadlines.tick + c.s.deadlines.after.close) // in place of what else was due
		// Replies of this turn go before the Close frame.
		if c.s.output.replyTo == c.id {
			c.flushReplies()
		}
		w := wire.Of(c.kind())
		c.send(w.AppendClose(nil, code, reason))
		if c.poll() != nil {
			c.answer()
			return
		}
		if !w.CloseIsAnswered() && c.alive() {
			c.shutWhenFlushed()
		}
	case stateProxy, stateTLS, stateHead, stateAuthorizing, statePlain, stateKept:
		c.decide(Closed{Code: code, Reason: reason})
		c.shut()
	}
}

// slowReason is the Close reason for a slow consumer.
const slowReason = "slow consumer: too much output was waiting; reconnect"

// closeSlow ends a slow consumer: after the frame that is sent in part goes a Close
// frame that says why, and the rest of the waiting output is dropped.
func (c conn) closeSlow() {
	x := c.ext()
	dropped := x.pending.keepPartial()
	c.s.count.Add(counters.PendingBytes, -int64(dropped))
	c.decide(Closed{Code: frame.CloseTryAgainLater, Reason: slowReason})
	c.setState(stateClosing)
	c.setDeadline(c.s.deadlines.tick + c.s.deadlines.after.close)
	w := wire.Of(c.kind())
	c.stall(c.piece(w.AppendClose(nil, frame.CloseTryAgainLater, slowReason), 0), true)
	if !w.CloseIsAnswered() {
		c.shutWhenFlushed()
		return
	}
	c.resume(flagPausedOutput) // its part of the closing handshake must be read
}

// shutWhenFlushed closes the connection now, or when the waiting output is written.
func (c conn) shutWhenFlushed() {
	if c.flags&flagStalled != 0 {
		c.setState(stateFlushing)
		c.setDeadline(c.s.deadlines.tick + c.s.deadlines.after.close)
		return
	}
	c.shut()
}

// shut lets the engine close the connection: what was written arrives first.
func (c conn) shut() {
	if c.state != stateGone {
		c.setState(stateGone)
		c.setDeadline(0)
		if c.flags&flagTLS != 0 {
			c.endTLS()
		}
		c.s.loop.Close(c.id)
	}
}

// abort ends a connection at once: bytes on their way may be lost.
func (c conn) abort(why Closed) {
	c.decide(why)
	if c.state != stateGone {
		c.setState(stateGone)
		c.setDeadline(0)
		c.s.loop.Abort(c.id)
	}
}

// closeBehind closes a connection behind everything that was published before: now,
// or when it has read that.
func (c conn) closeBehind(code frame.CloseCode, reason string) {
	if c.state == stateOpen && (c.flags&flagLagging != 0 || c.reads()) {
		if x := c.makeExt(); x.closing == nil {
			x.closing = &Closed{Code: code, Reason: reason}
		}
		return
	}
	c.startClose(code, reason)
}

// closeIfRead closes a connection that was to be closed behind what it has now read.
func (c conn) closeIfRead() {
	x := c.ext()
	if why := x.closing; why != nil && c.flags&flagLagging == 0 && !c.reads() {
		x.closing, x.closeBy = nil, 0
		c.startClose(why.Code, why.Reason)
	}
}
