package engines

import (
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/easygo"
	"github.com/roostws/roost/netpoll/epoll"
	"github.com/roostws/roost/netpoll/gnet"
)

func all() []netpoll.Driver { return []netpoll.Driver{epoll.Driver, easygo.Driver, gnet.Driver} }
