package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/settings"
)

// secretsMax limits Secrets: each signs every request, in one header.
const secretsMax = 8

// endpoint is the application's URL and the client that posts to it.
type endpoint struct {
	url    string
	shown  string // without what may be secret in it, for logs
	client *http.Client
	form   *Form // nil: ours

	// Atomic: any goroutine.
	keys atomic.Pointer[[][]byte] // replaced by setSecrets
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

// newEndpoint checks address and secrets, which another form does not need; config is the name of their struct in
// errors. connections limits the connections to the application.
func newEndpoint(config, address string, secrets []string, form *Form, trust *tls.Config, timeout time.Duration, connections int) (*endpoint, error) {
	var errs []error
	bad := func(field string, err error) {
		errs = append(errs, &settings.FieldError{Config: config, Field: field, Err: err})
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		// The error of url.Parse holds the whole address, with a password if there is one.
		bad("URL", errors.New("not a URL: want https://host/path"))
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		errs = append(errs, &settings.FieldError{Config: config, Field: "URL", Value: u.Redacted(), Want: "https://host/path, or http:// on a network that you trust"})
	}
	var keys [][]byte
	if form == nil {
		keys, err = parseSecrets(config, secrets)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e := &endpoint{
		form:  form,
		url:   address,
		shown: u.Scheme + "://" + u.Host + u.Path,
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
	}
	e.keys.Store(&keys)
	return e, nil
}

// parseSecrets returns the keys of secrets; config is the name of their struct in
// errors.
func parseSecrets(config string, secrets []string) ([][]byte, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, &settings.FieldError{Config: config, Field: "Secrets", Err: fmt.Errorf(format, args...)})
	}
	if len(secrets) < 1 || len(secrets) > secretsMax {
		bad(`%d of them: want 1 to %d: make one with: echo "whsec_$(openssl rand -base64 32)"`, len(secrets), secretsMax)
	}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		var err error
		if keys[i], err = parseSecret(secret); err != nil {
			bad("number %d: %w", i+1, err)
		}
	}
	return keys, errors.Join(errs...)
}

// setSecrets replaces the secrets. An error changes nothing. Any goroutine.
func (e *endpoint) setSecrets(config string, secrets []string) error {
	keys, err := parseSecrets(config, secrets)
	if err == nil {
		e.keys.Store(&keys)
	}
	return err
}

// errNotSent wraps the error of a request that surely did not arrive.
var errNotSent = errors.New("not sent")

// post sends a body and reads at most maxBytes of the answer. It returns an error if
// there is none; one that wraps errNotSent if no connection was there to send on.
// repeatable allows the application to see the request twice: a connection that ends
// just when it is used again is then no error.
func (e *endpoint) post(ctx context.Context, id string, body []byte, maxBytes int, repeatable bool) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return nil, withoutURL(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "roost")
	if e.form != nil {
		e.form.Sign(request.Header, body)
	} else {
		signAll(request.Header, *e.keys.Load(), id, body)
	}
	if repeatable {
		request.Header["X-Idempotency-Key"] = nil // is not sent: see http.Transport
	}
	var connected atomic.Bool
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	response, err := e.client.Do(request)
	if err != nil {
		if err = withoutURL(err); !connected.Load() {
			err = fmt.Errorf("%w: %w", errNotSent, err)
		}
		return nil, err
	}
	a := &answer{status: response.StatusCode, retryAfter: retry.After(response.Header.Get("Retry-After"), time.Now())}
	a.body, a.err = io.ReadAll(io.LimitReader(response.Body, int64(maxBytes)+1))
	if len(a.body) > maxBytes {
		a.body, a.err = a.body[:maxBytes], errAnswerTooBig
	}
	_ = response.Body.Close() // it was only read
	return a, nil
}

func (e *endpoint) close() { e.client.CloseIdleConnections() }

// withoutURL removes the address from err: it may hold a password.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// text returns the status for logs, with what to do about it.
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
