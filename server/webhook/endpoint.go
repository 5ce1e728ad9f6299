package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// secretsMax bounds Secrets: each signs every request, in one header.
const secretsMax = 8

// endpoint is the application's URL and the way there.
type endpoint struct {
	url   string
	shown string // without what may be secret in it, for logs
	keys  [][]byte

	client *http.Client
}

// answer is what the application said. If err is not nil, body is not all of it.
type answer struct {
	status     int
	retryAfter time.Duration
	body       []byte
	err        error
}

// errAnswerTooBig: the body is longer than what is read of it.
var errAnswerTooBig = errors.New("the answer is too big")

// newEndpoint checks address and secrets; config names them in errors. connections
// bounds those to the application.
func newEndpoint(config, address string, secrets []string, trust *tls.Config, timeout time.Duration, connections int) (*endpoint, error) {
	var errs []error
	u, err := url.Parse(address)
	switch {
	case err != nil:
		// The error of url.Parse holds the whole address, with a password if there is one.
		errs = append(errs, fmt.Errorf("webhook: %s.URL is not a URL: want https://host/path", config))
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		errs = append(errs, fmt.Errorf("webhook: %s.URL is %q: want https://host/path, or http:// where nobody listens in", config, u.Redacted()))
	}
	if len(secrets) < 1 || len(secrets) > secretsMax {
		errs = append(errs, fmt.Errorf(`webhook: %s.Secrets are %d: want 1 to %d: make one with: echo "whsec_$(openssl rand -base64 32)"`, config, len(secrets), secretsMax))
	}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		if keys[i], err = parseSecret(secret); err != nil {
			errs = append(errs, fmt.Errorf("webhook: %s.Secrets[%d]: %w", config, i, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &endpoint{
		url:   address,
		shown: u.Scheme + "://" + u.Host + u.Path,
		keys:  keys,
		client: &http.Client{
			Timeout: timeout,
			// A redirect would take what is signed for one address to another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				TLSClientConfig:        trust.Clone(),
				ForceAttemptHTTP2:      true,
				DisableCompression:     true, // so that what is read is what was sent
				MaxConnsPerHost:        connections,
				MaxIdleConns:           connections,
				MaxIdleConnsPerHost:    connections,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
		},
	}, nil
}

// post sends a body and reads at most maxBytes of the answer. An error says that
// there was none. repeatable tells that the application may see it twice: a
// connection that ends just when it is used again is then no error.
func (e *endpoint) post(ctx context.Context, id string, body []byte, maxBytes int, repeatable bool) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return nil, withoutURL(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "roost")
	signAll(request.Header, e.keys, id, body)
	if repeatable {
		request.Header["X-Idempotency-Key"] = nil // is not sent: see http.Transport
	}
	response, err := e.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	a := &answer{status: response.StatusCode, retryAfter: retryAfter(response.Header)}
	a.body, a.err = io.ReadAll(io.LimitReader(response.Body, int64(maxBytes)+1))
	if len(a.body) > maxBytes {
		a.body, a.err = a.body[:maxBytes], errAnswerTooBig
	}
	_ = response.Body.Close() // it was only read
	return a, nil
}

func (e *endpoint) close() { e.client.CloseIdleConnections() }

// withoutURL is err without the address, which may hold a password.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// retryAfter is what Retry-After asks for (RFC 9110, section 10.2.3), zero if nothing.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		// A day is as good as more, and can't overflow.
		return time.Duration(min(max(seconds, 0), 24*60*60)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(date), 0), 24*time.Hour)
	}
	return 0
}

// text is the status for logs, with what to do about it.
func (a *answer) text() string {
	text := "HTTP " + strconv.Itoa(a.status)
	if name := http.StatusText(a.status); name != "" {
		text += " " + name
	}
	if a.status >= 300 && a.status < 400 {
		text += ": redirects are not followed; configure the address that it leads to"
	}
	return text
}

// throttle lets one log line pass in an interval and counts the others.
type throttle struct {
	mu   sync.Mutex
	next time.Time // guarded by mu
	held uint64    // guarded by mu
}

const throttleInterval = 10 * time.Second

// pass tells whether a line may be written now, and how many were not since the last.
func (t *throttle) pass() (held uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Before(t.next) {
		t.held++
		return 0, false
	}
	held, t.held, t.next = t.held, 0, now.Add(throttleInterval)
	return held, true
}
