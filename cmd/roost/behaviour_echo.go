package main

import "github.com/roostws/roost/server"

// echo sends every message back to its sender.
type echo struct{ hold }

func (echo) name() string { return "echo" }

func (echo) configure(c *server.Config) {
	c.Handler.Message = func(m *server.Message) {
		m.Reply(m.Type, m.Payload)
	}
}
