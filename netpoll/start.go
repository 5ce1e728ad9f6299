package netpoll

import (
	"fmt"
	"runtime"
	"time"
)

// Start runs an engine of the given kind; the empty kind means [DefaultKind].
// It returns when every loop is ready and the listeners take connections.
//
// newHandler is called once for each loop, on that loop's goroutine, before any
// event of any loop; all handlers exist when the first event comes. Like every
// callback it must not block.
func Start(kind Kind, cfg Config, newHandler func(l Loop) Handler) (Engine, error) {
	if kind == "" {
		kind = DefaultKind
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return startKind(kind, cfg, newHandler)
}

// errUnknownKind is Start's answer to a kind that this system does not have.
func errUnknownKind(kind Kind) error {
	return fmt.Errorf("netpoll: no engine %q on %s (there are: %v)", string(kind), runtime.GOOS, Kinds())
}

// withDefaults is cfg with its zero fields filled in.
func (cfg Config) withDefaults() (Config, error) {
	setInt(&cfg.Loops, runtime.GOMAXPROCS(0))
	setInt(&cfg.Backlog, DefaultBacklog)
	setInt(&cfg.MaxConns, DefaultMaxConns)
	setInt(&cfg.ReadBufferBytes, DefaultReadBufferBytes)
	setInt(&cfg.PausedReadMaxBytes, DefaultPausedReadMaxBytes)
	setDuration(&cfg.TickInterval, DefaultTickInterval)
	setDuration(&cfg.LingerTimeout, DefaultLingerTimeout)
	cfg.Listen = append([]string(nil), cfg.Listen...)

	for _, field := range []struct {
		name     string
		value    int64
		min, max int64
	}{
		{"Loops", int64(cfg.Loops), 1, MaxLoops},
		{"Backlog", int64(cfg.Backlog), 1, 1 << 30},
		{"MaxConns", int64(cfg.MaxConns), 1, MaxSlots},
		{"ReadBufferBytes", int64(cfg.ReadBufferBytes), 1, 1 << 30},
		{"SendBufferBytes", int64(cfg.SendBufferBytes), 0, 1 << 30},
		{"PausedReadMaxBytes", int64(cfg.PausedReadMaxBytes), 1, 1 << 30},
		{"DeferAccept", int64(cfg.DeferAccept), 0, int64(time.Hour)},
		{"UserTimeout", int64(cfg.UserTimeout), 0, int64(24 * time.Hour)},
		{"KeepAlive", int64(cfg.KeepAlive), 0, int64(MaxKeepAlive)},
		{"TickInterval", int64(cfg.TickInterval), int64(time.Millisecond), int64(time.Hour)},
		{"LingerTimeout", int64(cfg.LingerTimeout), 1, int64(time.Hour)},
	} {
		if field.value < field.min || field.value > field.max {
			return cfg, fmt.Errorf("netpoll: Config.%s is %d, must be %d to %d",
				field.name, field.value, field.min, field.max)
		}
	}
	return cfg, nil
}

func setInt(p *int, byDefault int) {
	if *p == 0 {
		*p = byDefault
	}
}

func setDuration(p *time.Duration, byDefault time.Duration) {
	if *p == 0 {
		*p = byDefault
	}
}
