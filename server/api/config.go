package api

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/roostws/roost/server/settings"
)

// Config configures a Handler. The zero value of each field means its default.
type Config struct {
	// Keys are those that are accepted. If empty, requests under one of Hosts need none.
	Keys []Key
	// Hosts are the host names under which the API serves requests without keys, so that
	// no web page reaches it through a name of its own (DNS rebinding). If empty,
	// localhost and loopback addresses; "*" is all.
	Hosts []string
	// PublishBodyMaxBytes limits a request's body, after inflation, and a line of a
	// stream. If zero, 1 MiB.
	PublishBodyMaxBytes int
	// BatchMaxItems limits the publications of one request; a stream has no limit. If
	// zero, 1,000.
	BatchMaxItems int
	// Wait is how long a publication waits for its receipt where the request does
	// not say. If zero, 5 s.
	Wait time.Duration
	// Healthy is called for GET /healthz and GET /readyz: an error is a 503. If nil, it
	// is always 200.
	Healthy func() error
	// Ready is called for GET /readyz: an error is a 503. If nil, Healthy is.
	Ready func() error
	// Logger gets errors that clients must not see. If nil, silent.
	Logger *slog.Logger
}

// Settings describes the numbers and durations of Config.
func Settings() settings.Table { return configSettings }

var configSettings = settings.Table{
	{Field: "PublishBodyMaxBytes", Default: 1 << 20, Min: 64, Max: 1 << 30, Unit: "bytes",
		Help: "Size of a request's body, and of a line of a stream; a larger one is refused with 413", Cost: "so much for each request under way"},
	{Field: "BatchMaxItems", Default: 1000, Min: 1, Max: 1 << 20, Unit: "publications",
		Help: "Publications of one request; a stream has no limit"},
	{Field: "Wait", Default: 5 * time.Second, Min: time.Duration(1), Max: WaitMax,
		Help: "How long a publication waits for its receipt where the request does not say"},
}

// Bounds of what a request may ask for.
const (
	// WaitMax bounds the wait for a receipt.
	WaitMax = time.Minute
	// SpreadMax bounds Publication.Spread.
	SpreadMax = time.Hour
	// ListMax is the largest number of entries of a list; ListDefault is the number
	// where a request does not say.
	ListMax     = 1000
	ListDefault = 100
	// IdempotencyKeyMaxBytes bounds an idempotency key.
	IdempotencyKeyMaxBytes = 255
	// KeysMax bounds Config.Keys: each request is compared with all of them.
	KeysMax = 1000
)

func (c Config) withDefaults() Config {
	configSettings.Fill(&c)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

const configName = "api: Config"

// validate returns a *settings.FieldError for each contradiction of a Config
// with defaults.
func (c Config) validate() error {
	errs := configSettings.Check(configName, &c)
	if len(c.Keys) > KeysMax {
		errs = append(errs, &settings.FieldError{Config: configName, Field: "Keys", Value: len(c.Keys), Want: fmt.Sprintf("at most %d", KeysMax)})
	}
	return errors.Join(append(errs, checkKeys(c.Keys))...)
}
