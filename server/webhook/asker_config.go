package webhook

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"time"

	"github.com/roostws/roost/server/settings"
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

// AskerSettings describes the fields of AskerConfig that are numbers, durations
// or words.
func AskerSettings() settings.Table { return askerSettings }

var askerSettings = settings.Table{
	{Field: "URL", Help: "Ask the application what clients may do: POST to this URL, signed with the same secrets"},
	{Field: "Timeout", Default: 5 * time.Second, Min: time.Millisecond, Max: 5 * time.Minute,
		Help: "How long an answer may take, the wait for a place included"},
	{Field: "MaxPending", Default: 128, Min: 1, Max: 10_000, Unit: "questions",
		Help: "Questions under way; more wait", Cost: "a connection to the application for each"},
	{Field: "AnswerMaxBytes", Default: 64 << 10, Min: 64, Max: 64 << 20, Unit: "bytes",
		Help: "Size of an answer's body", Cost: "so much for each question under way"},
}

func (c AskerConfig) withDefaults() AskerConfig {
	askerSettings.Fill(&c)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate returns a *settings.FieldError for each contradiction of an
// AskerConfig with defaults.
func (c AskerConfig) validate() error {
	return errors.Join(askerSettings.Check(askerName, &c)...)
}

const askerName = "webhook: AskerConfig"
