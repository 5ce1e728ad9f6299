package api

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/roostws/roost/server/protocol"
)

// A Scope is a part of the API that a key opens.
type Scope string

// The scopes.
const (
	// ScopePublish: publish, one by one and in batches.
	ScopePublish Scope = "publish"
	// ScopeRead: channels, history, presence, connections.
	ScopeRead Scope = "read"
	// ScopeDisconnect: end connections.
	ScopeDisconnect Scope = "disconnect"
	// ScopeSubscribe: subscribe users to channels, and the reverse.
	ScopeSubscribe Scope = "subscribe"
	// ScopeClear: clear a channel's history.
	ScopeClear Scope = "clear"
	// ScopeStats: counters.
	ScopeStats Scope = "stats"
	// ScopeDrain: stop the server, where that is served.
	ScopeDrain Scope = "drain"
	// ScopeDebug: profiles, where they are served.
	ScopeDebug Scope = "debug"
)

// Scopes are all scopes.
func Scopes() []Scope {
	return []Scope{ScopePublish, ScopeRead, ScopeDisconnect, ScopeSubscribe, ScopeClear, ScopeStats, ScopeDrain, ScopeDebug}
}

// A Key is a program's permission to use the API.
type Key struct {
	// Name tells keys apart, in logs and for idempotency: what two keys publish
	// is never taken for a repetition of each other's.
	Name string
	// Hash is the SHA-256 of the secret.
	Hash [sha256.Size]byte
	// Scopes are what it opens.
	Scopes []Scope
	// Channels are patterns, each a name or a prefix followed by "*". If there
	// are any, the key is good for channels that one of them fits (a user is the
	// channel "user:ID"), and not for what concerns all connections.
	Channels []string
	// Rate bounds its requests a second, each publication of a batch counted as one,
	// with a burst of one second. If zero, there is no bound.
	Rate float64
}

// KeyMinBytes is the least length of a secret. Hashes of shorter ones could be
// found by trying.
const KeyMinBytes = 16

// HashKey returns the hash of a secret.
func HashKey(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// ParseKeys reads a file of keys. A line is
//
//	name scope,scope,… key [channels=pattern,pattern,…] [rate=N]
//
// with "all" for all scopes, and key either the secret itself, of 16 bytes or more,
// or sha256: and its SHA-256 in hex. Empty lines and those that begin
// with # are ignored. Errors name the line, and never show a secret.
func ParseKeys(r io.Reader) ([]Key, error) {
	var keys []Key
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		key, err := parseKey(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key in it: want lines of name, scopes and key")
	}
	return keys, checkKeys(keys)
}

func parseKey(fields []string) (Key, error) {
	if len(fields) < 3 {
		return Key{}, errors.New("want name, scopes and key, with spaces between them")
	}
	key := Key{Name: fields[0]}
	if fields[1] == "all" {
		key.Scopes = Scopes()
	} else {
		for scope := range strings.SplitSeq(fields[1], ",") {
			key.Scopes = append(key.Scopes, Scope(scope))
		}
	}
	if text, hashed := strings.CutPrefix(fields[2], "sha256:"); hashed {
		hash, err := hex.DecodeString(text)
		if err != nil || len(hash) != sha256.Size {
			return Key{}, errors.New("sha256: must be followed by 64 hexadecimal digits (printf %s KEY | sha256sum)")
		}
		key.Hash = [sha256.Size]byte(hash)
	} else if len(fields[2]) < KeyMinBytes {
		return Key{}, fmt.Errorf("the key has %d bytes: want at least %d (openssl rand -hex 32 makes a good one)", len(fields[2]), KeyMinBytes)
	} else {
		key.Hash = HashKey(fields[2])
	}
	for _, option := range fields[3:] {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "channels":
			key.Channels = strings.Split(value, ",")
		case "rate":
			n, err := strconv.ParseFloat(value, 64)
			if err != nil || !(n > 0) {
				return Key{}, errors.New("rate= must be followed by a number of requests a second above 0")
			}
			key.Rate = n
		default:
			// It may be a part of a secret that has a space in it.
			return Key{}, errors.New("behind the key there may only be channels=… and rate=…")
		}
	}
	return key, nil
}

// checkKeys reports the first contradiction of keys.
func checkKeys(keys []Key) error {
	names, hashes := map[string]bool{}, map[[sha256.Size]byte]string{}
	for _, k := range keys {
		switch {
		case k.Name == "" || strings.ContainsAny(k.Name, " \t\r\n"):
			return fmt.Errorf("api: a key has the name %q: want a word", k.Name)
		case names[k.Name]:
			return fmt.Errorf("api: two keys have the name %q", k.Name)
		case hashes[k.Hash] != "":
			return fmt.Errorf("api: the keys %q and %q are the same", hashes[k.Hash], k.Name)
		case k.Hash == [sha256.Size]byte{} || k.Hash == HashKey(""):
			return fmt.Errorf("api: the key %q has no hash", k.Name)
		case len(k.Scopes) == 0:
			return fmt.Errorf("api: the key %q has no scope: want some of %v", k.Name, Scopes())
		case k.Rate < 0 || math.IsNaN(k.Rate) || math.IsInf(k.Rate, 0):
			return fmt.Errorf("api: the key %q has the rate %v: want a number above 0, or 0 for no bound", k.Name, k.Rate)
		}
		for _, s := range k.Scopes {
			if !slices.Contains(Scopes(), s) {
				return fmt.Errorf("api: the key %q has the scope %q: want some of %v", k.Name, s, Scopes())
			}
		}
		for _, pattern := range k.Channels {
			if pattern == "" || strings.Contains(strings.TrimSuffix(pattern, "*"), "*") {
				return fmt.Errorf("api: the key %q has the channel pattern %q: want a name, or a prefix followed by *", k.Name, pattern)
			}
		}
		names[k.Name], hashes[k.Hash] = true, k.Name
	}
	return nil
}

// client is the sender of a request: a key, or any program where there are no keys.
type client struct {
	Key
	limiter *rate.Limiter // nil: no bound
}

func newClient(k Key) *client {
	c := &client{Key: k}
	if k.Rate > 0 {
		c.limiter = rate.NewLimiter(rate.Limit(k.Rate), int(max(1, math.Ceil(k.Rate))))
	}
	return c
}

// anybody is the client of an API without keys.
var anybody = newClient(Key{Scopes: Scopes()})

// authenticate returns the client that sent a request.
func (h *Handler) authenticate(r *http.Request) (*client, error) {
	if len(h.clients) == 0 {
		if !h.hostAllowed(r.Host) {
			return nil, problem(http.StatusForbidden, CodeForbiddenHost, "Without API keys this serves loopback host names only, not %q. Use http://127.0.0.1, or configure keys.", r.Host)
		}
		return anybody, nil
	}
	secret := r.Header.Get("X-API-Key")
	if authorization := r.Header.Get("Authorization"); authorization != "" {
		scheme, token, _ := strings.Cut(authorization, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, problem(http.StatusUnauthorized, CodeUnauthorized, "The scheme of Authorization is %q. Send Authorization: Bearer KEY.", scheme)
		}
		secret = strings.TrimSpace(token)
	}
	if secret == "" {
		return nil, problem(http.StatusUnauthorized, CodeUnauthorized, "This needs an API key. Send Authorization: Bearer KEY, or X-API-Key: KEY.")
	}
	hash := HashKey(secret)
	var found *client
	for _, c := range h.clients {
		// All are compared, each in constant time: the time that it takes shows nothing.
		if subtle.ConstantTimeCompare(hash[:], c.Hash[:]) == 1 {
			found = c
		}
	}
	if found == nil {
		return nil, problem(http.StatusUnauthorized, CodeUnauthorized, "The API key is not known here. Check that it is complete, and that it is one of this server's.")
	}
	return found, nil
}

// hostAllowed reports whether the API needs no key under a host name.
func (h *Handler) hostAllowed(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	if len(h.cfg.Hosts) > 0 {
		return slices.ContainsFunc(h.cfg.Hosts, func(allowed string) bool { return allowed == "*" || strings.EqualFold(allowed, host) })
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// mayUse refuses a client without the scope.
func (c *client) mayUse(scope Scope) error {
	if slices.Contains(c.Scopes, scope) {
		return nil
	}
	return problem(http.StatusForbidden, CodeForbidden, "The API key %q does not have the scope %s. Use one that has, or add it to this one.", c.Name, scope)
}

// mayName refuses a client whose patterns do not fit a channel.
func (c *client) mayName(channel string) error {
	if len(c.Channels) == 0 || protocol.Covers(c.Channels, channel) {
		return nil
	}
	return problem(http.StatusForbidden, CodeForbidden, "The API key %q is not good for the channel %q. Its patterns are %s.", c.Name, channel, strings.Join(c.Channels, ", "))
}

// channel returns the channel in a request's address, if the client may name it and
// it may exist.
func (h *Handler) channel(c *client, r *http.Request) (string, error) {
	name := r.PathValue("channel")
	if err := c.mayName(name); err != nil {
		return "", err
	}
	return name, h.backend.CheckNamespace(name)
}

// mayNameUser is mayName for a user's channel.
func (c *client) mayNameUser(user string) error {
	if len(c.Channels) == 0 {
		return nil
	}
	return c.mayName(protocol.UserPrefix + user)
}

// mayList refuses a client that could see beyond its patterns under a prefix.
func (c *client) mayList(prefix string) error {
	if len(c.Channels) == 0 || slices.ContainsFunc(c.Channels, func(pattern string) bool {
		start, open := strings.CutSuffix(pattern, "*")
		return open && strings.HasPrefix(prefix, start)
	}) {
		return nil
	}
	return problem(http.StatusForbidden, CodeForbidden, "The API key %q may list channels under its own prefixes only. Ask with a prefix that one of its patterns covers: %s.", c.Name, strings.Join(c.Channels, ", "))
}

// mayAll refuses a client with patterns access to all connections.
func (c *client) mayAll(what string) error {
	if len(c.Channels) == 0 {
		return nil
	}
	return problem(http.StatusForbidden, CodeForbidden, "The API key %q is for the channels %s only, and this is %s. Use a key without patterns.", c.Name, strings.Join(c.Channels, ", "), what)
}

// take spends one request of the client's rate.
func (c *client) take() error {
	if c.limiter == nil {
		return nil
	}
	now := time.Now()
	reservation := c.limiter.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return problem(http.StatusTooManyRequests, CodeRateLimited, "The API key %q has used up its %g requests a second. Try again after Retry-After, or publish slower.", c.Name, c.Rate).retry(delay)
}
