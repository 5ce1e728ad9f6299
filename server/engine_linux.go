package server

import "github.com/roostws/roost/netpoll/epoll"

// defaultEngine is the only engine that this package links.
var defaultEngine = epoll.Driver
