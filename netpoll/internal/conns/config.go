//go:build linux || darwin || freebsd

package conns

import (
	"fmt"
	"slices"
	"time"

	"github.com/roostws/roost/internal/procs"
	"github.com/roostws/roost/netpoll"
)

// complete fills in the zero fields of cfg as their comments promise, and checks
// the others.
func complete(cfg *netpoll.Config) error {
	setDefault(&cfg.Loops, procs.Own())
	setDefault(&cfg.Backlog, 65535)
	setDefault(&cfg.MaxConns, 1_000_000)
	setDefault(&cfg.ReadBufferBytes, 64<<10)
	setDefault(&cfg.PausedReadMaxBytes, 256<<10)
	setDefault(&cfg.TickInterval, 250*time.Millisecond)
	setDefault(&cfg.LingerTimeout, 2*time.Second)
	cfg.Listen = slices.Clone(cfg.Listen)

	for _, field := range []struct {
		name     string
		value    int64
		min, max int64
	}{
		{"Loops", int64(cfg.Loops), 1, netpoll.MaxLoops},
		{"Backlog", int64(cfg.Backlog), 1, 1 << 30},
		{"MaxConns", int64(cfg.MaxConns), 1, netpoll.MaxSlots},
		{"ReadBufferBytes", int64(cfg.ReadBufferBytes), 1, 1 << 30},
		{"SendBufferBytes", int64(cfg.SendBufferBytes), 0, 1 << 30},
		{"PausedReadMaxBytes", int64(cfg.PausedReadMaxBytes), 1, 1 << 30},
		{"DeferAccept", int64(cfg.DeferAccept), 0, int64(time.Hour)},
		{"UserTimeout", int64(cfg.UserTimeout), 0, int64(24 * time.Hour)},
		{"KeepAlive", int64(cfg.KeepAlive), 0, int64(netpoll.MaxKeepAlive)},
		{"TickInterval", int64(cfg.TickInterval), int64(time.Millisecond), int64(time.Hour)},
		{"LingerTimeout", int64(cfg.LingerTimeout), 1, int64(time.Hour)},
	} {
		if field.value < field.min || field.value > field.max {
			return fmt.Errorf("netpoll: Config.%s is %d, must be %d to %d",
				field.name, field.value, field.min, field.max)
		}
	}
	return nil
}

func setDefault[T int | time.Duration](p *T, byDefault T) {
	if *p == 0 {
		*p = byDefault
	}
}
