//go:build darwin || freebsd

package engines

import (
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/easygo"
	"github.com/roostws/roost/netpoll/gnet"
)

// The default here is the engine with the most users on kqueue.
func all() []netpoll.Driver { return []netpoll.Driver{gnet.Driver, easygo.Driver} }
