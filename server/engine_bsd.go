//go:build darwin || freebsd

package server

import "github.com/roostws/roost/netpoll/gnet"

// defaultEngine is the only engine that this package links.
var defaultEngine = gnet.Driver
