//go:build !linux && !darwin && !freebsd

package engines

import "github.com/roostws/roost/netpoll"

func all() []netpoll.Driver { return nil }
