package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// AskerConfig configures an Asker. The zero value of each field means its default,
// except for URL and Secrets, which must be set.
type AskerConfig struct {
	// URL is the address that questions are posted to. A user and password in it become
	// basic authentication.
	URL string
	// Secrets sign, as in SenderConfig.
	Secrets []string
	// Timeout is how long an answer may take, the wait for its turn included. If
	// zero, 5 s.
	Timeout time.Duration
	// MaxPending limits the questions under way, and so the connections; more wait for
	// their turn. If zero, 128.
	MaxPending int
	// AnswerMaxBytes limits an answer's body. If zero, 64 KiB.
	AnswerMaxBytes int
	// TLS holds the authorities to trust, and a client certificate. If nil, those of the system.
	TLS *tls.Config
	// Logger gets what went wrong, which clients do not see, and refusals, at most
	// refusedLines of them in ten seconds. If nil, silent.
	Logger *slog.Logger
}

// Defaults of AskerConfig.
const (
	DefaultAskTimeout     = 5 * time.Second
	DefaultAskMaxPending  = 128
	DefaultAnswerMaxBytes = 64 << 10
)

func (c AskerConfig) withDefaults() AskerConfig {
	setDefault(&c.Timeout, DefaultAskTimeout)
	setDefault(&c.MaxPending, DefaultAskMaxPending)
	setDefault(&c.AnswerMaxBytes, DefaultAnswerMaxBytes)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports every contradiction of an AskerConfig with defaults, each
// with the name of its field.
func (c AskerConfig) validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("webhook: AskerConfig.%s is %v: want %s", field, value, want))
	}
	if c.Timeout < time.Millisecond || c.Timeout > 5*time.Minute {
		bad("Timeout", c.Timeout, "1ms to 5m")
	}
	if c.MaxPending < 1 || c.MaxPending > 10_000 {
		bad("MaxPending", c.MaxPending, "1 to 10000")
	}
	if c.AnswerMaxBytes < 64 || c.AnswerMaxBytes > 64<<20 {
		bad("AnswerMaxBytes", c.AnswerMaxBytes, "64 to 67108864")
	}
	return errors.Join(errs...)
}
