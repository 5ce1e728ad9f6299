package main

import (
	"fmt"
	"strings"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/socketio"
)

// SocketIOFlags are those of roost serve for clients of Socket.IO, who come in by the tokens,
// namespaces and questions of the native protocol.
type SocketIOFlags struct {
	SocketIO bool             `name:"socketio" group:"socketio" help:"Let clients of Socket.IO 4 in, unchanged: over WebSockets, or polling first. Their events are told and asked about as --webhook-url and --ask-url say, and the publish API emits to namespaces and rooms (docs/socketio.md)."`
	Options  socketio.Options `embed:"" prefix:"socketio-" group:"socketio"`
}

// check is called by the command line's parser.
func (f *SocketIOFlags) check() error {
	if !f.SocketIO {
		if o := f.Options; o.Path != "" || len(o.Namespaces) > 0 || o.ConnectTimeout != 0 || o.PingInterval != 0 || o.PingTimeout != 0 || o.PollingMax != 0 {
			return fmt.Errorf("flags that begin with --socketio- are about clients of Socket.IO: add --socketio")
		}
		return nil
	}
	if path := f.Options.Path; path != "" && !strings.HasPrefix(path, "/") {
		return fmt.Errorf("--socketio-path is %q: want a path that begins with a slash", path)
	}
	for _, name := range f.Options.Namespaces {
		if err := socketio.CheckNamespace(name); err != nil {
			return fmt.Errorf("--socketio-namespaces: %w", err)
		}
	}
	return nil
}

// configure adds the protocol to a server's Config, after the behaviour and the flags of the
// native protocol and of web hooks. native is whether clients speak that, too; told whether
// the application is told of events that want no answer.
func (f *SocketIOFlags) configure(c *server.Config, native, told bool) {
	if !f.SocketIO {
		return
	}
	o := f.Options
	o.AskAll = !told
	if len(o.Namespaces) == 0 {
		o.Namespaces = []string{"/"}
	}
	io := socketio.New(o)
	io.Configure(c)
	if !native {
		c.Application.Protocols = []protocol.Codec{io}
	}
}
