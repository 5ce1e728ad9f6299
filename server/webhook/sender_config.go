package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/server/protocol"
)

// SenderConfig configures a Sender. The zero value of each field means its default,
// except for URL and Secrets, which must be set.
type SenderConfig struct {
	// URL is where events are posted to. A user and password in it become basic
	// authentication.
	URL string
	// Secrets sign: "whsec_" and the base64 of 24 to 64 bytes each. Several are for
	// rotation: each signs every request, and a receiver is content with one.
	Secrets []string
	// Events are the types that are sent. If empty, all but EventSubscribed,
	// EventUnsubscribed and EventAcknowledged.
	Events []protocol.EventType

	// BatchMaxEvents and BatchMaxBytes end a batch (its JSON; a single event that is larger
	// travels alone). If zero, 500 and 256 KiB.
	BatchMaxEvents int
	BatchMaxBytes  int
	// BatchMaxDelay is how long a batch waits for more events. If zero, 100 ms.
	BatchMaxDelay time.Duration
	// QueueMaxEvents and QueueMaxBytes limit the events that wait while the application
	// is slow or away; further ones are dropped. If zero, 65,536 and 16 MiB.
	QueueMaxEvents int
	QueueMaxBytes  int

	// Timeout ends a try. If zero, 10 s.
	Timeout time.Duration
	// RetryMinDelay is the longest pause before the second try; each further failure
	// doubles it, up to RetryMaxDelay. The pause is a random part of that. If zero,
	// 500 ms and 5 s, so that events come within seconds after an outage.
	RetryMinDelay time.Duration
	RetryMaxDelay time.Duration
	// RetryMaxAge is for how long a batch is tried; then its events are dropped. If
	// zero, 10 minutes. It also limits Retry-After.
	RetryMaxAge time.Duration

	// TLS holds the authorities to trust, and a client certificate. If nil, those of the system.
	TLS *tls.Config
	// Logger gets outages and losses. If nil, silent.
	Logger *slog.Logger
}

// Defaults of SenderConfig.
const (
	DefaultBatchMaxEvents = 500
	DefaultBatchMaxBytes  = 256 << 10
	DefaultBatchMaxDelay  = 100 * time.Millisecond
	DefaultQueueMaxEvents = 64 << 10
	DefaultQueueMaxBytes  = 16 << 20
	DefaultSendTimeout    = 10 * time.Second
	DefaultRetryMinDelay  = 500 * time.Millisecond
	DefaultRetryMaxDelay  = 5 * time.Second
	DefaultRetryMaxAge    = 10 * time.Minute
)

func (c SenderConfig) withDefaults() SenderConfig {
	if len(c.Events) == 0 {
		c.Events = defaultEvents
	}
	setDefault(&c.BatchMaxEvents, DefaultBatchMaxEvents)
	setDefault(&c.BatchMaxBytes, DefaultBatchMaxBytes)
	setDefault(&c.BatchMaxDelay, DefaultBatchMaxDelay)
	setDefault(&c.QueueMaxEvents, DefaultQueueMaxEvents)
	setDefault(&c.QueueMaxBytes, DefaultQueueMaxBytes)
	setDefault(&c.Timeout, DefaultSendTimeout)
	setDefault(&c.RetryMinDelay, DefaultRetryMinDelay)
	setDefault(&c.RetryMaxDelay, DefaultRetryMaxDelay)
	setDefault(&c.RetryMaxAge, DefaultRetryMaxAge)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate reports every contradiction of a SenderConfig with defaults, each
// with the name of its field.
func (c SenderConfig) validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("webhook: SenderConfig.%s is %v: want %s", field, value, want))
	}
	for _, e := range c.Events {
		if !slices.Contains(allEvents, e) {
			var names []string
			for _, known := range allEvents {
				names = append(names, string(known))
			}
			bad("Events", fmt.Sprintf("%q", e), strings.Join(names, ", "))
		}
	}
	if c.BatchMaxEvents < 1 || c.BatchMaxEvents > 100_000 {
		bad("BatchMaxEvents", c.BatchMaxEvents, "1 to 100000")
	}
	if c.BatchMaxBytes < 1024 || c.BatchMaxBytes > 64<<20 {
		bad("BatchMaxBytes", c.BatchMaxBytes, "1024 to 67108864")
	}
	if c.BatchMaxDelay < 0 || c.BatchMaxDelay > time.Minute {
		bad("BatchMaxDelay", c.BatchMaxDelay, "1ns to 1m")
	}
	if c.QueueMaxEvents < 1 || c.QueueMaxEvents > 1<<24 {
		bad("QueueMaxEvents", c.QueueMaxEvents, "1 to 16777216")
	}
	if c.QueueMaxBytes < 1024 || c.QueueMaxBytes > 1<<32 {
		bad("QueueMaxBytes", c.QueueMaxBytes, "1024 to 4294967296")
	}
	if c.Timeout < time.Millisecond || c.Timeout > 5*time.Minute {
		bad("Timeout", c.Timeout, "1ms to 5m")
	}
	if c.RetryMinDelay < time.Millisecond || c.RetryMinDelay > c.RetryMaxDelay {
		bad("RetryMinDelay", c.RetryMinDelay, "1ms to RetryMaxDelay")
	}
	if c.RetryMaxDelay > time.Hour {
		bad("RetryMaxDelay", c.RetryMaxDelay, "at most 1h")
	}
	if c.RetryMaxAge < time.Millisecond || c.RetryMaxAge > 24*time.Hour {
		bad("RetryMaxAge", c.RetryMaxAge, "1ms to 24h")
	}
	return errors.Join(errs...)
}
