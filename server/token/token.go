// Package token checks JSON Web Tokens (RFC 7519) for protocol.Application: those
// that say who a connection is, and those that open one private channel.
//
//	v, err := token.New(token.Config{Secrets: [][]byte{secret}})
//	…
//	defer v.Close()
//	native := &protocol.Application{Connect: v.Connect, Refresh: v.Refresh, Subscribe: v.Subscribe}
//
// The algorithms are HS256, HS384, HS512, RS256, RS384, RS512, PS256, ES256, ES384
// and EdDSA. The type of a key decides which of them it checks, never the token
// (RFC 8725, section 3.1): a public key cannot be used as a secret, and there is
// no "none".
package token

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/throttle"
	"github.com/roostws/roost/server/settings"
)

// MaxBytes is the length of the longest token that Verify looks at.
const MaxBytes = 16 << 10

// SecretMinBytes is the length of the shortest secret that New takes: as long
// as the hash (RFC 7518, section 3.2).
const SecretMinBytes = 32

// Settings describes the durations of Config.
func Settings() settings.Table { return configSettings }

var configSettings = settings.Table{
	{Field: "JWKSInterval", Default: 10 * time.Minute, Min: time.Duration(1),
		Help: "How often the key set is fetched"},
	{Field: "JWKSRetryInterval", Default: 10 * time.Second, Min: time.Duration(1),
		Help: "Least time between two attempts to fetch the key set"},
	{Field: "JWKSTimeout", Default: 5 * time.Second, Min: time.Duration(1),
		Help: "How long one attempt to fetch the key set may take"},
	{Field: "Leeway", Default: 10 * time.Second, Max: leewayMax, Off: true,
		Help: "How far the clock of the program that makes tokens may differ from this one"},
}

const (
	// leewayMax is the largest difference between clocks that is not a mistake.
	leewayMax = time.Hour
	// notBeforeMax is how soon a token must become valid for a client to be told to
	// wait for that, instead of being refused.
	notBeforeMax = 5 * time.Minute
)

// Config says which tokens are good. One of Secrets, Keys and JWKSURL must be
// set; with several, a token is good if one key of any of them fits.
type Config struct {
	// Secrets check HS256, those of 48 bytes or more also HS384, those of 64 bytes or
	// more also HS512. Several are for rotation: each is tried. They are not copied.
	Secrets [][]byte
	// AllowShortSecret accepts secrets below SecretMinBytes, for tests: they can be guessed.
	AllowShortSecret bool
	// Keys are texts in PEM with one or more public keys or certificates each: RSA
	// from 2,048 bits (RS256, RS384, RS512, PS256), ECDSA on P-256 (ES256) or P-384
	// (ES384), Ed25519 (EdDSA). Dates and issuer of a certificate are not checked.
	Keys [][]byte

	// JWKSURL is the address of a JSON Web Key Set (RFC 7517). It is fetched in the
	// background, for the first time by New. Until the first fetch has succeeded,
	// tokens that need the set are refused with protocol.CodeBusy; afterwards its keys
	// stay in force while the URL fails.
	JWKSURL string
	// JWKSInterval is how often the set is fetched. If zero, 10 minutes.
	JWKSInterval time.Duration
	// JWKSRetryInterval is the least time between two attempts: after one that
	// failed, and when no key fits a token. Until then such tokens are refused with
	// protocol.CodeBusy. If zero, 10 s.
	JWKSRetryInterval time.Duration
	// JWKSTimeout limits one attempt. If zero, 5 s.
	JWKSTimeout time.Duration
	// JWKSClient makes the requests. If nil, one that follows at most three
	// redirects, and none from https to http.
	JWKSClient *http.Client

	// Issuer is what claim iss must be. If empty, anything.
	Issuer string
	// Audience are the names of which claim aud must hold at least one. If empty, anything.
	Audience []string
	// Leeway is how far the clock of the program that makes tokens may differ from
	// this one, up to an hour: nbf and exp are widened by it (iat is not checked). If
	// zero, 10 s; if negative, none.
	Leeway time.Duration
	// Algorithms are those that are accepted. If empty, all for which there are keys.
	Algorithms []string

	// UserClaim is the claim that holds the user's ID, a string. If empty, "sub".
	UserClaim string
	// ClaimPrefix stands before the claims that this package defines: channel,
	// channels, allow, rate and info. Identity providers often demand one, such as
	// "https://example.com/", and it keeps other claims of these names apart.
	ClaimPrefix string

	// Anonymous lets clients in without a token, or with one that names no user.
	Anonymous bool
	// Logger gets the reasons of refused tokens, at most refusedLines of them in ten
	// seconds, and a line when the JWKS URL begins and ceases to fail. If nil, silent.
	Logger *slog.Logger
}

// refusedLines is how many refused tokens are logged in throttle.Interval.
const refusedLines = 10

// A Verifier checks tokens. Its methods may be called on any goroutine.
type Verifier struct {
	// Immutable after New.
	anonymous bool
	leeway    time.Duration
	issuer    string
	audience  []string
	config    Config
	set       *keySet // nil without JWKSURL
	names     ClaimNames
	form      form // of names
	log       *slog.Logger

	refusals throttle.Throttle

	// Atomic: any goroutine.
	material                   atomic.Pointer[material] // replaced by SetKeys
	accepted, refused, expired atomic.Uint64
}

// material is what checks signatures, beside the key set.
type material struct {
	static     []key
	algorithms []string
	parser     *jwt.Parser
}

// Stats are counted since New.
type Stats struct {
	// Accepted, Refused and Expired count tokens by the outcome of Verify.
	Accepted uint64 `name:"checks_accepted" help:"tokens that were good"`
	Refused  uint64 `name:"checks_refused" help:"tokens that were refused, expired ones apart"`
	Expired  uint64 `name:"checks_expired" help:"tokens that were refused because they had expired"`
	// JWKSFetches counts the attempts to fetch the key set, JWKSFailures those of
	// them that failed.
	JWKSFetches  uint64 `help:"attempts to fetch the key set"`
	JWKSFailures uint64 `help:"attempts to fetch the key set that failed"`
	// JWKSKeys is how many keys of the set are in force.
	JWKSKeys int `gauge:"yes" help:"keys of the key set that are in force"`
	// JWKSFetched is when the set was last fetched, zero if never.
	JWKSFetched time.Time `gauge:"yes" name:"jwks_fetched_seconds" help:"when the key set was last fetched, in seconds since 1970, 0 if never"`
}

// Counters returns the same for server.Config.Stats. It may be called on any goroutine.
func (v *Verifier) Counters() server.Stats { return counters.OfFields("token", v.Stats()) }

const configName = "token: Config"

// New checks c and starts to fetch JWKSURL, if set, until Close is called. The
// error names every field that is wrong.
func New(c Config) (*Verifier, error) {
	configSettings.Fill(&c)
	errs := configSettings.Check(configName, &c)
	v := &Verifier{
		anonymous: c.Anonymous, leeway: max(c.Leeway, 0), issuer: c.Issuer, audience: slices.Clone(c.Audience),
		names: ClaimNames{User: c.UserClaim, Prefix: c.ClaimPrefix},
		log:   c.Logger, refusals: throttle.Throttle{Lines: refusedLines},
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	v.config, v.form = c, v.names.form()
	m, materialErrs := c.material()
	errs = append(errs, materialErrs...)
	if c.JWKSURL != "" {
		var err error
		if v.set, err = newKeySet(c); err != nil {
			errs = append(errs, fieldError("JWKSURL", err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	v.material.Store(m)
	if v.set != nil {
		v.set.start()
	}
	return v, nil
}

// SetKeys replaces Config.Secrets and Config.Keys, for keys that were renewed: tokens
// that come later are checked with the new ones. An error changes nothing. It may be
// called on any goroutine.
func (v *Verifier) SetKeys(secrets, keys [][]byte) error {
	c := v.config
	c.Secrets, c.Keys = secrets, keys
	m, errs := c.material()
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	v.material.Store(m)
	return nil
}

// material reads secrets and keys.
func (c *Config) material() (*material, []error) {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fieldError(field, fmt.Errorf(format, args...)))
	}
	m := &material{}
	for i, secret := range c.Secrets {
		if err := checkSecret(secret, c.AllowShortSecret); err != nil {
			bad("Secrets", "number %d: %w", i+1, err)
			continue
		}
		m.static = append(m.static, newSecret(secret, c.AllowShortSecret))
	}
	for i, text := range c.Keys {
		keys, err := publicKeys(text)
		if err != nil {
			bad("Keys", "number %d: %w", i+1, err)
		}
		m.static = append(m.static, keys...)
	}
	if len(c.Secrets) == 0 && len(c.Keys) == 0 && c.JWKSURL == "" {
		errs = append(errs, errors.New("token: Config has no Secrets, no Keys and no JWKSURL: no token could be checked"))
	}
	var err error
	if m.algorithms, err = algorithms(*c, m.static); err != nil {
		bad("Algorithms", "%w", err)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(m.algorithms), jwt.WithLeeway(max(c.Leeway, 0)), jwt.WithStrictDecoding()}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if len(c.Audience) > 0 {
		options = append(options, jwt.WithAudience(c.Audience...))
	}
	m.parser = jwt.NewParser(options...)
	return m, errs
}

func fieldError(field string, err error) error {
	return &settings.FieldError{Config: configName, Field: field, Err: err}
}

// algorithms returns the names that are accepted, in the order of known.
func algorithms(c Config, static []key) ([]string, error) {
	var available []string
	for _, k := range static {
		available = append(available, k.algorithms...)
	}
	if c.JWKSURL != "" {
		available = slices.Concat(available, forRSA, forP256, forP384, forEd25519)
	}
	var have []string
	for _, name := range known {
		if slices.Contains(available, name) {
			have = append(have, name)
		}
	}
	if len(c.Algorithms) == 0 {
		return have, nil
	}
	for _, name := range c.Algorithms {
		switch {
		case !slices.Contains(known, name):
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(known, ", "))
		case !slices.Contains(have, name):
			return nil, fmt.Errorf("there is no key for %s", name)
		}
	}
	for _, k := range static {
		if !slices.ContainsFunc(k.algorithms, func(name string) bool { return slices.Contains(c.Algorithms, name) }) {
			return nil, fmt.Errorf("a key is for %s, which is not among %s", strings.Join(k.algorithms, ", "), strings.Join(c.Algorithms, ", "))
		}
	}
	return slices.Clone(c.Algorithms), nil
}

// Close ends the fetching of the key set, and returns when it has ended. The
// Verifier can still be used, with the last keys that were fetched.
func (v *Verifier) Close() {
	if v.set != nil {
		v.set.close()
	}
}

// Stats returns the counters. It may be called on any goroutine.
func (v *Verifier) Stats() Stats {
	s := Stats{Accepted: v.accepted.Load(), Refused: v.refused.Load(), Expired: v.expired.Load()}
	if v.set != nil {
		v.set.stats(&s)
	}
	return s
}
