package main

import (
	"cmp"

	"github.com/roostws/roost/server"
)

// echo sends every message back to its sender.
type echo struct{ hold }

// Limits of --echo, unless others are given: public conformance suites send
// messages of 16 MiB, and some of them in fragments of 64 bytes.
const (
	echoMessageMaxBytes     = 16 << 20
	echoMessageMaxFragments = echoMessageMaxBytes / 64
)

func (echo) Name() string { return "echo" }

func (echo) Configure(c *server.Config) {
	c.Limits.MessageMaxBytes = cmp.Or(c.Limits.MessageMaxBytes, echoMessageMaxBytes)
	c.Limits.MessageMaxFragments = cmp.Or(c.Limits.MessageMaxFragments, echoMessageMaxFragments)
	c.Handler.Message = func(m *server.Message) {
		m.Reply(m.Type, m.Payload)
	}
}
