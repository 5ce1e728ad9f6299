package api

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
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
	// Healthy is called for GET /healthz: an error is a 503. If nil, it is always 200.
	Healthy func() error
	// Stats are more counters for GET /v1/stats, each a struct of numbers (SenderStats
	// of package webhook, say) under a name of its own. The functions may be called from
	// any goroutine.
	Stats map[string]func() any
	// Logger gets errors that clients must not see. If nil, silent.
	Logger *slog.Logger
}

// Defaults of Config.
const (
	DefaultPublishBodyMaxBytes = 1 << 20
	DefaultBatchMaxItems       = 1000
	DefaultWait                = 5 * time.Second
)

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
	if c.PublishBodyMaxBytes == 0 {
		c.PublishBodyMaxBytes = DefaultPublishBodyMaxBytes
	}
	if c.BatchMaxItems == 0 {
		c.BatchMaxItems = DefaultBatchMaxItems
	}
	if c.Wait == 0 {
		c.Wait = DefaultWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports every contradiction of a Config with defaults, each with the
// name of its field.
func (c Config) validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("api: Config.%s is %v: want %s", field, value, want))
	}
	if c.PublishBodyMaxBytes < 64 || c.PublishBodyMaxBytes > 1<<30 {
		bad("PublishBodyMaxBytes", c.PublishBodyMaxBytes, "64 to 1073741824")
	}
	if c.BatchMaxItems < 1 || c.BatchMaxItems > 1<<20 {
		bad("BatchMaxItems", c.BatchMaxItems, "1 to 1048576")
	}
	if c.Wait < 0 || c.Wait > WaitMax {
		bad("Wait", c.Wait, "0 to "+WaitMax.String())
	}
	if len(c.Keys) > KeysMax {
		bad("Keys", len(c.Keys), fmt.Sprintf("at most %d", KeysMax))
	}
	return errors.Join(append(errs, checkKeys(c.Keys))...)
}
