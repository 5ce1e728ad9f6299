// Package token checks JSON Web Tokens (RFC 7519) for protocol.Application: those
// that say who a connection is, and those that open one private channel.
//
//	v, err := token.New(token.Config{Secrets: [][]byte{secret}})
//	…
//	defer v.Close()
//	application := &protocol.Application{Connect: v.Connect, Refresh: v.Refresh, Subscribe: v.Subscribe}
//
// HS256, RS256, ES256 and EdDSA are known, and nothing else. Which of them
// checks a token follows from the type of the key, never from what the token
// says of itself (RFC 8725, section 3.1): a public key cannot be used as a
// secret, and there is no "none".
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
)

// MaxBytes is the length of the longest token that is looked at.
const MaxBytes = 16 << 10

// SecretMinBytes is the length of the shortest secret that New takes: as long
// as the hash (RFC 7518, section 3.2).
const SecretMinBytes = 32

// Defaults of Config.
const (
	DefaultJWKSInterval      = 10 * time.Minute
	DefaultJWKSRetryInterval = 10 * time.Second
	DefaultJWKSTimeout       = 5 * time.Second
)

// leewayMax is where a leeway stops to be about clocks.
const leewayMax = time.Hour

// Config tells which tokens are good. One of Secrets, Keys and JWKSURL must be
// set; with several, a token is good if one key of any of them fits.
type Config struct {
	// Secrets check HS256. Several are for rotation: each is tried. They are not copied.
	Secrets [][]byte
	// AllowShortSecret takes secrets below SecretMinBytes, for tests: they can be guessed.
	AllowShortSecret bool
	// Keys are texts in PEM with one or more public keys or certificates each:
	// RSA from 2,048 bits (RS256), ECDSA on P-256 (ES256), Ed25519 (EdDSA).
	// A certificate's dates and issuer do not count.
	Keys [][]byte

	// JWKSURL is where a JSON Web Key Set (RFC 7517) is. It is fetched in the
	// background, at New first; until it comes its tokens are answered
	// protocol.CodeBusy, and once there the keys stay in force while the URL
	// fails.
	JWKSURL string
	// JWKSInterval is how often the set is fetched. If zero, DefaultJWKSInterval.
	JWKSInterval time.Duration
	// JWKSRetryInterval is the least time between two attempts: after one that
	// failed, and when a token names a key that is not known. If zero,
	// DefaultJWKSRetryInterval.
	JWKSRetryInterval time.Duration
	// JWKSTimeout bounds one attempt. If zero, DefaultJWKSTimeout.
	JWKSTimeout time.Duration
	// JWKSClient makes the requests. If nil, one that follows at most three
	// redirects, and none from https to http.
	JWKSClient *http.Client

	// Issuer is what claim iss must be. If empty, anything.
	Issuer string
	// Audience are the names of which claim aud must hold at least one. If empty, anything.
	Audience []string
	// Leeway is by how much the clock of whoever makes tokens may be wrong, up
	// to an hour: nbf and exp are that much wider.
	Leeway time.Duration
	// Algorithms are those that are accepted, of HS256, RS256, ES256 and EdDSA.
	// If empty, those for which there are keys.
	Algorithms []string

	// Anonymous lets clients in without a token, or with one without claim sub.
	Anonymous bool
	// Logger is told when the JWKS URL begins and ceases to fail. If nil, nobody.
	Logger *slog.Logger
}

// A Verifier checks tokens. Its methods may be called on any goroutine.
type Verifier struct {
	// Immutable after New.
	anonymous  bool
	leeway     time.Duration
	issuer     string
	audience   []string
	algorithms []string
	static     []key
	set        *keySet // nil without JWKSURL
	parser     *jwt.Parser

	// Atomic: any goroutine.
	accepted, refused, expired atomic.Uint64
}

// Stats are counted since New.
type Stats struct {
	// Accepted, Refused and Expired count the tokens that were looked at.
	Accepted, Refused, Expired uint64
	// JWKSFetches and JWKSFailures count the attempts to get the key set, and those of them that failed.
	JWKSFetches, JWKSFailures uint64
	// JWKSKeys is how many keys of the set are in force.
	JWKSKeys int
	// JWKSFetched is when the set was fetched last. Zero: never.
	JWKSFetched time.Time
}

// New checks c and, if there is a JWKSURL, begins to fetch it: Close ends that.
// The error names every field that is wrong.
func New(c Config) (*Verifier, error) {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("token: Config.%s: %w", field, fmt.Errorf(format, args...)))
	}
	v := &Verifier{anonymous: c.Anonymous, leeway: c.Leeway, issuer: c.Issuer, audience: slices.Clone(c.Audience)}
	for i, secret := range c.Secrets {
		if err := checkSecret(secret, c.AllowShortSecret); err != nil {
			bad("Secrets", "number %d: %w", i+1, err)
			continue
		}
		v.static = append(v.static, key{algorithm: hs256, key: secret})
	}
	for i, text := range c.Keys {
		keys, err := publicKeys(text)
		if err != nil {
			bad("Keys", "number %d: %w", i+1, err)
		}
		v.static = append(v.static, keys...)
	}
	if len(c.Secrets) == 0 && len(c.Keys) == 0 && c.JWKSURL == "" {
		errs = append(errs, errors.New("token: Config has no Secrets, no Keys and no JWKSURL: no token could be checked"))
	}
	if c.Leeway < 0 || c.Leeway > leewayMax {
		bad("Leeway", "is %v: want 0 to %v", c.Leeway, leewayMax)
	}
	for field, d := range map[string]time.Duration{"JWKSInterval": c.JWKSInterval, "JWKSRetryInterval": c.JWKSRetryInterval, "JWKSTimeout": c.JWKSTimeout} {
		if d < 0 {
			bad(field, "is %v: want more than 0, or 0 for the default", d)
		}
	}
	var err error
	if v.algorithms, err = algorithms(c, v.static); err != nil {
		bad("Algorithms", "%w", err)
	}
	if c.JWKSURL != "" {
		if v.set, err = newKeySet(c); err != nil {
			bad("JWKSURL", "%w", err)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(v.algorithms), jwt.WithLeeway(c.Leeway), jwt.WithStrictDecoding()}
	if c.Issuer != "" {
		options = append(options, jwt.WithIssuer(c.Issuer))
	}
	if len(c.Audience) > 0 {
		options = append(options, jwt.WithAudience(c.Audience...))
	}
	v.parser = jwt.NewParser(options...)
	if v.set != nil {
		v.set.start()
	}
	return v, nil
}

// algorithms are the names that are accepted.
func algorithms(c Config, static []key) ([]string, error) {
	var have []string
	for _, k := range static {
		have = append(have, k.algorithm)
	}
	if c.JWKSURL != "" {
		have = append(have, rs256, es256, eddsa)
	}
	slices.Sort(have)
	have = slices.Compact(have)
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
		if !slices.Contains(c.Algorithms, k.algorithm) {
			return nil, fmt.Errorf("a key is for %s, which is not among %s", k.algorithm, strings.Join(c.Algorithms, ", "))
		}
	}
	return slices.Clone(c.Algorithms), nil
}

// Close ends the fetching of the key set, and returns when it has ended. Tokens
// are checked with the keys of then.
func (v *Verifier) Close() {
	if v.set != nil {
		v.set.close()
	}
}

// Stats may be called on any goroutine.
func (v *Verifier) Stats() Stats {
	s := Stats{Accepted: v.accepted.Load(), Refused: v.refused.Load(), Expired: v.expired.Load()}
	if v.set != nil {
		v.set.stats(&s)
	}
	return s
}
