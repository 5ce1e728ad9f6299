package main

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
)

// relay sends every message, as it came, to all, its sender included.
type relay struct{ hold }

func (relay) Name() string { return "relay" }

func (relay) Configure(c *server.Config) {
	c.Handler.Message = func(m *server.Message) {
		broadcast(m, m.Type, m.Payload)
	}
}

// broadcast sends to all what follows from m. Nothing is lost in silence: if a
// loop's inbox is full, the sender is told that this message was not sent on.
func broadcast(m *server.Message, t server.MessageType, payload []byte) {
	if err := m.Broadcast(t, payload); err != nil {
		_ = m.Conn().Close(frame.CloseTryAgainLater, "the server is busy: the last message was not sent on")
	}
}
