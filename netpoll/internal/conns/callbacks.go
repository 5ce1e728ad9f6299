//go:build linux || darwin || freebsd

package conns

import (
	"runtime/debug"

	"github.com/roostws/roost/netpoll"
)

// The callbacks: each recovers from its own panic.

// CallOpen calls OnOpen.
func (c *Conns) CallOpen(id netpoll.ID, tag uint64) {
	defer c.recovered(id)
	c.Handler.OnOpen(id, tag)
}

// CallData calls OnData.
func (c *Conns) CallData(id netpoll.ID, p []byte) {
	defer c.recovered(id)
	c.Handler.OnData(id, p)
}

// CallWritable calls OnWritable.
func (c *Conns) CallWritable(id netpoll.ID) {
	defer c.recovered(id)
	c.Handler.OnWritable(id)
}

func (c *Conns) callClose(id netpoll.ID, err error) {
	defer c.recovered(id)
	c.Handler.OnClose(id, err)
}

// CallTick calls OnTick.
func (c *Conns) CallTick() {
	defer c.recovered(0)
	c.Handler.OnTick()
}

// CallWake clears Woken and calls OnWake.
func (c *Conns) CallWake() {
	c.WakeAgain = false
	c.Woken.Store(false)
	c.Count.Wakes++
	defer c.recovered(0)
	c.WakeAgain = c.Handler.OnWake()
}

// recovered must be deferred. It aborts the connection whose callback panicked,
// because the handler's state for it cannot be trusted any more.
func (c *Conns) recovered(id netpoll.ID) {
	value := recover()
	if value == nil {
		return
	}
	c.Count.HandlerPanics++
	c.Abort(id)
	if onPanic := c.Shared.Config.OnPanic; onPanic != nil {
		onPanic(c.index, id, value, debug.Stack())
	}
}
