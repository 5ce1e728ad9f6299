package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/settings"
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

	// Form, if set, is another form of the requests than ours. Secrets are not needed then.
	Form *Form

	// TLS holds the authorities to trust, and a client certificate. If nil, those of the system.
	TLS *tls.Config
	// Logger gets outages and losses. If nil, silent.
	Logger *slog.Logger
}

// A Form is the form of the requests of a protocol that has web hooks of its own. Its
// functions are called by the Sender's goroutine.
type Form struct {
	// Events are the types that SenderConfig.Events may hold.
	Events []protocol.EventType
	// Event returns an event as JSON.
	Event func(*protocol.Event) []byte
	// Begin returns what a body begins with, up to the events of a list; "]}" ends it.
	Begin func() []byte
	// Sign sets the headers that prove where a body comes from.
	Sign func(h http.Header, body []byte)
}

// SenderSettings describes the fields of SenderConfig that are numbers,
// durations or words.
func SenderSettings() settings.Table { return senderSettings }

var senderSettings = settings.Table{
	{Field: "URL", Help: "POST batches of events to this URL, signed"},
	{Field: "Events", Help: "What is sent: " + eventNames(allEvents) + ". Without it all but subscribed, unsubscribed and acknowledged"},
	{Field: "BatchMaxEvents", Default: 500, Min: 1, Max: 100_000, Unit: "events",
		Help: "Events of a batch"},
	{Field: "BatchMaxBytes", Default: 256 << 10, Min: 1 << 10, Max: 64 << 20, Unit: "bytes",
		Help: "Size of a batch; a larger event travels alone"},
	{Field: "BatchMaxDelay", Default: 100 * time.Millisecond, Min: time.Duration(1), Max: time.Minute,
		Help: "How long a batch waits for more events"},
	{Field: "QueueMaxEvents", Default: 64 << 10, Min: 1, Max: 1 << 24, Unit: "events",
		Help: "Events that wait while the application is slow or away; more are dropped, counted and logged"},
	{Field: "QueueMaxBytes", Default: 16 << 20, Min: 1 << 10, Max: 1 << 32, Unit: "bytes",
		Help: "Their size; more is dropped, counted and logged", Cost: "memory"},
	{Field: "Timeout", Default: 10 * time.Second, Min: time.Millisecond, Max: 5 * time.Minute,
		Help: "From the beginning of an attempt to its response, and how long a shutdown waits for what is not sent yet"},
	{Field: "RetryMinDelay", Default: 500 * time.Millisecond, Min: time.Millisecond, Max: time.Hour,
		Help: "Longest pause before the second attempt; it doubles with each further one"},
	{Field: "RetryMaxDelay", Default: 5 * time.Second, Min: time.Millisecond, Max: time.Hour,
		Help: "Longest pause before any attempt"},
	{Field: "RetryMaxAge", Default: 10 * time.Minute, Min: time.Millisecond, Max: 24 * time.Hour,
		Help: "How long a batch is tried before it is dropped"},
}

func eventNames(known []protocol.EventType) string {
	var names []string
	for _, e := range known {
		names = append(names, string(e))
	}
	return strings.Join(names, ", ")
}

func (c SenderConfig) withDefaults() SenderConfig {
	if len(c.Events) == 0 {
		c.Events = defaultEvents
	}
	senderSettings.Fill(&c)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

const senderName = "webhook: SenderConfig"

// validate returns a *settings.FieldError for each contradiction of a
// SenderConfig with defaults.
func (c SenderConfig) validate() error {
	errs := senderSettings.Check(senderName, &c)
	known := allEvents
	if c.Form != nil {
		known = c.Form.Events
	}
	for _, e := range c.Events {
		if !slices.Contains(known, e) {
			errs = append(errs, &settings.FieldError{Config: senderName, Field: "Events", Value: e, Want: eventNames(known)})
		}
	}
	if c.RetryMinDelay > c.RetryMaxDelay {
		errs = append(errs, &settings.FieldError{Config: senderName, Field: "RetryMinDelay", Value: c.RetryMinDelay, Want: fmt.Sprintf("at most the longest pause, %v", c.RetryMaxDelay)})
	}
	return errors.Join(errs...)
}
