package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	// setMaxBytes is the size of the largest key set. Public ones have 2 to 20 KiB.
	setMaxBytes = 1 << 20
	// setMaxKeys is the most keys of a set that are used: a token without kid may have to be tried with all of them.
	setMaxKeys = 64
	// setMaxRedirects is how many redirects lead to one at most.
	setMaxRedirects = 3
)

// A keySet is a JSON Web Key Set at a URL, fetched by one goroutine. What came
// last is in force until something else comes.
type keySet struct {
	// Immutable after newKeySet.
	url                      string
	client                   *http.Client
	ownClient                bool
	interval, retry, timeout time.Duration
	log                      *slog.Logger
	stop                     context.CancelFunc
	ctx                      context.Context
	donec                    chan struct{}
	wakec                    chan struct{} // holds one request for an attempt

	// Atomic: any goroutine.
	keys              atomic.Pointer[[]key]
	fetches, failures atomic.Uint64

	// Guarded by mu.
	mu      sync.Mutex
	pending bool          // an attempt is under way, or requested
	next    chan struct{} // closed at the end of that one
	ended   time.Time     // of the last attempt
	err     error         // of the last attempt
	fetched time.Time     // of the last one that worked
}

func newKeySet(c Config) (*keySet, error) {
	u, err := url.Parse(c.JWKSURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%.200q is no URL of the kind https://host/path", c.JWKSURL)
	}
	s := &keySet{
		url: c.JWKSURL, client: c.JWKSClient, log: c.Logger,
		interval: c.JWKSInterval,
		retry:    c.JWKSRetryInterval,
		timeout:  c.JWKSTimeout,
		donec:    make(chan struct{}), wakec: make(chan struct{}, 1), next: make(chan struct{}),
		pending: true,
	}
	s.keys.Store(noKeys)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.client == nil {
		s.ownClient = true
		s.client = &http.Client{
			Transport:     http.DefaultTransport.(*http.Transport).Clone(),
			CheckRedirect: checkRedirect,
		}
	}
	return s, nil
}

// checkRedirect refuses redirects from https to http, and long chains.
func checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > setMaxRedirects {
		return fmt.Errorf("more than %d redirects", setMaxRedirects)
	}
	if via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("a redirect from https to http")
	}
	return nil
}

func (s *keySet) start() {
	s.ctx, s.stop = context.WithCancel(context.Background())
	go s.run()
}

func (s *keySet) close() {
	s.stop()
	<-s.donec
	if s.ownClient {
		s.client.CloseIdleConnections()
	}
}

// noKeys are the keys in force before the first set was fetched.
var noKeys = &[]key{}

// current returns the keys in force: another pointer after each fetch. A nil set has none.
func (s *keySet) current() *[]key {
	if s == nil {
		return noKeys
	}
	return s.keys.Load()
}

func (s *keySet) stats(into *Stats) {
	into.JWKSFetches, into.JWKSFailures, into.JWKSKeys = s.fetches.Load(), s.failures.Load(), len(*s.current())
	s.mu.Lock()
	defer s.mu.Unlock()
	into.JWKSFetched = s.fetched
}

// refresh fetches the set and waits for it, unless the last attempt ended less
// than JWKSRetryInterval ago: then left is what is left of that time. The error is
// that of the last attempt, or of waiting.
func (s *keySet) refresh(ctx context.Context) (left time.Duration, err error) {
	s.mu.Lock()
	if !s.pending {
		if left := s.retry - time.Since(s.ended); left > 0 {
			defer s.mu.Unlock()
			return left, s.err
		}
		s.pending = true
		s.wakec <- struct{}{} // is empty: it was emptied before pending became false
	}
	next := s.next
	s.mu.Unlock()
	select {
	case <-next:
		s.mu.Lock()
		defer s.mu.Unlock()
		return 0, s.err
	case <-ctx.Done():
		return 0, fmt.Errorf("token: waiting for the key set: %w", ctx.Err())
	case <-s.donec:
		return 0, errors.New("token: the verifier is closed")
	}
}

// run is the set's goroutine.
func (s *keySet) run() {
	defer close(s.donec)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.wakec:
		case <-timer.C:
			s.mu.Lock()
			s.pending = true
			s.mu.Unlock()
		}
		wait := s.interval
		if s.attempt() != nil {
			wait = min(s.retry, s.interval)
		}
		timer.Reset(wait)
	}
}

// attempt fetches the set once and wakes the goroutines that wait for it.
func (s *keySet) attempt() error {
	s.fetches.Add(1)
	keys, skipped, err := s.fetch()
	if err == nil {
		s.keys.Store(&keys)
	} else if s.ctx.Err() == nil {
		s.failures.Add(1)
	}
	s.report(keys, skipped, err)
	s.mu.Lock()
	s.err, s.ended, s.pending = err, time.Now(), false
	if err == nil {
		s.fetched = s.ended
	}
	select {
	case <-s.wakec: // a request that this attempt has met
	default:
	}
	close(s.next)
	s.next = make(chan struct{})
	s.mu.Unlock()
	return err
}

// report logs what changed: a URL that fails for a day is not worth 8,640
// lines. It runs before attempt writes err and ended, which only run writes.
func (s *keySet) report(keys []key, skipped []string, err error) {
	before, first := s.err, s.ended.IsZero()
	switch {
	case s.ctx.Err() != nil:
	case err != nil && before == nil:
		s.log.Warn("the key set could not be fetched: the keys that are known stay in force", "url", redacted(s.url), "keys", len(*s.current()), "err", err)
	case err == nil && (before != nil || first):
		s.log.Info("the key set was fetched", "url", redacted(s.url), "keys", len(keys), "not_usable", strings.Join(skipped, "; "))
	}
}

func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.RawQuery = ""
	return u.Redacted()
}

// fetch returns the keys of the set that can be used, and why others can't.
func (s *keySet) fetch() (keys []key, skipped []string, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := s.client.Do(request)
	if err != nil {
		var withURL *url.Error // whose query may hold a key
		if errors.As(err, &withURL) {
			err = withURL.Err
		}
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the answer is %s", response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, setMaxBytes+1))
	if err != nil {
		return nil, nil, err
	}
	if len(body) > setMaxBytes {
		return nil, nil, fmt.Errorf("the answer has more than %d bytes", setMaxBytes)
	}
	return parseSet(body)
}

// parseSet reads a key set. One key that is of no use for us, or broken, does
// not spoil the others (RFC 7517, section 5); an empty set is one: its owner
// has withdrawn all keys.
func parseSet(body []byte) (keys []key, skipped []string, err error) {
	var set struct{ Keys *[]json.RawMessage }
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, nil, fmt.Errorf("the answer is no key set: %w", err)
	}
	if set.Keys == nil {
		return nil, nil, errors.New(`the answer is no key set: it has no member "keys"`)
	}
	for i, raw := range *set.Keys {
		k, err := parseJWK(raw)
		switch {
		case err != nil:
			skipped = append(skipped, fmt.Sprintf("number %d: %v", i+1, err))
		case len(keys) == setMaxKeys:
			return keys, append(skipped, fmt.Sprintf("all after number %d: %d are enough", i, setMaxKeys)), nil
		default:
			keys = append(keys, k)
		}
	}
	return keys, skipped, nil
}

// parseJWK reads one key, if it is for checking signatures of a known algorithm.
func parseJWK(raw []byte) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return key{}, err
	}
	switch {
	case m.KTY == jwkset.KtyOct:
		return key{}, errors.New("a secret: a URL is no place for one")
	case m.USE != "" && m.USE != jwkset.UseSig:
		return key{}, fmt.Errorf("its use is %q", m.USE)
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return key{}, fmt.Errorf("its operations are %q", m.KEYOPS)
	}
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, err
	}
	k, err := newKey(jwk.Key())
	if err != nil {
		return key{}, err
	}
	if m.ALG != "" {
		if !slices.Contains(k.algorithms, string(m.ALG)) {
			return key{}, fmt.Errorf("it is for %s, and a key of its type may be for %s", m.ALG, strings.Join(k.algorithms, ", "))
		}
		k.algorithms = []string{string(m.ALG)}
	}
	k.kid = m.KID
	return k, nil
}
