package pusher

import (
	"context"
	"crypto/hmac"
	"crypto/md5" // what the protocol checks bodies with; the signature is what protects them
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/protocol"
)

// The HTTP API: /apps/{id}/… with the signatures of Pusher's own libraries.

const (
	// signatureAge is how far a request's clock may differ from ours.
	signatureAge = 600 * time.Second
	// apiTimeout bounds what a request waits for.
	apiTimeout = 10 * time.Second
	// channelsMax and batchMax are how much one request may say.
	channelsMax = 100
	batchMax    = 10
	// envelopeMaxBytes is what a body may have beside the data of its events.
	envelopeMaxBytes = 64 << 10
)

// A problem is an error of the API: Pusher's libraries show status and text.
type problem struct {
	status int
	text   string
}

func (p *problem) Error() string { return p.text }

func problemf(status int, format string, args ...any) *problem {
	return &problem{status, fmt.Sprintf(format, args...)}
}

// call is one request of an app's back end.
type call struct {
	p     *Server
	app   *app
	ctx   context.Context
	query url.Values
	path  []string // behind /apps/ID/
	body  []byte
}

// ServeHTTP serves the HTTP API, on whatever path ends in /apps/ID/….
func (p *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	result, err := p.serve(w, r)
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		known := explain(err)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(known.status)
		_, _ = io.WriteString(w, known.text+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	b, err := json.Marshal(result)
	if err != nil {
		panic("pusher: a result has no JSON: " + err.Error()) // names and numbers have
	}
	_, _ = w.Write(b)
}

// explain returns an error as it is told to a back end.
func explain(err error) *problem {
	var known *problem
	var told *protocol.Error
	var incomplete *server.IncompleteError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &told):
		return problemf(told.Status(), "%s", told.Message)
	case errors.Is(err, protocol.ErrBadName):
		return problemf(http.StatusBadRequest, "%s", strings.TrimPrefix(err.Error(), "server: "))
	case errors.Is(err, protocol.ErrMessageTooBig):
		return problemf(http.StatusRequestEntityTooLarge, "The data content of this event exceeds the allowed maximum")
	case errors.Is(err, server.ErrBusy), errors.Is(err, server.ErrServerClosed), errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrUnknown):
		return problemf(http.StatusServiceUnavailable, "%s: try again", strings.TrimPrefix(err.Error(), "server: "))
	case errors.As(err, &incomplete), errors.Is(err, context.DeadlineExceeded):
		return problemf(http.StatusServiceUnavailable, "not all servers have answered: try again")
	}
	return problemf(http.StatusInternalServerError, "something went wrong in the server")
}

// A route is an endpoint: method and path behind /apps/ID/, with * for one part.
type route struct {
	method, path string
	serve        func(*call) (any, error)
}

var routes = []route{
	{"POST", "events", (*call).events},
	{"POST", "batch_events", (*call).batchEvents},
	{"GET", "channels", (*call).channels},
	{"GET", "channels/*", (*call).channel},
	{"GET", "channels/*/users", (*call).users},
	{"POST", "users/*/terminate_connections", (*call).terminate},
	{"POST", "users/*/events", (*call).userEvents},
}

func (p *Server) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	rest, found := strings.CutPrefix(r.URL.EscapedPath(), "/apps/")
	if !found {
		return nil, problemf(http.StatusNotFound, "There is nothing at %s", r.URL.Path)
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return nil, problemf(http.StatusBadRequest, "The path is malformed")
		}
		parts[i] = plain
	}
	app := p.byID[parts[0]]
	if app == nil {
		return nil, problemf(http.StatusNotFound, "The app %.64q does not exist", parts[0])
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "The query is malformed")
	}
	limit := int64(batchMax)*int64(app.EventMaxBytes)*6 + envelopeMaxBytes // each byte may be an escape
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, problemf(http.StatusRequestEntityTooLarge, "The body is larger than %d bytes", limit)
	case err != nil:
		return nil, problemf(http.StatusBadRequest, "The body could not be read")
	}
	if err := app.checkRequest(r.Method, r.URL.EscapedPath(), query, body, time.Now()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), apiTimeout)
	defer cancel()
	c := &call{p: p, app: app, ctx: ctx, query: query, path: parts[1:], body: body}
	for _, route := range routes {
		if route.method == r.Method && fitsRoute(route.path, c.path) {
			return route.serve(c)
		}
	}
	return nil, problemf(http.StatusNotFound, "There is no %s %s", r.Method, r.URL.Path)
}

func fitsRoute(pattern string, path []string) bool {
	parts := strings.Split(pattern, "/")
	if len(parts) != len(path) {
		return false
	}
	for i, part := range parts {
		if part != "*" && part != path[i] {
			return false
		}
	}
	return true
}

// checkRequest checks the signature of a request, and says what is wrong with it.
func (a *app) checkRequest(method, path string, query url.Values, body []byte, now time.Time) error {
	denied := func(format string, args ...any) error {
		return problemf(http.StatusUnauthorized, format, args...)
	}
	for name := range query {
		if len(query[name]) > 1 && strings.HasPrefix(name, "auth_") {
			return denied("%s is there twice", name)
		}
	}
	if key := query.Get("auth_key"); key == "" {
		return denied("Missing required parameter: auth_key")
	} else if key != a.Key {
		return denied("Unknown auth_key %.64q", key)
	}
	if version := query.Get("auth_version"); version != "1.0" {
		return denied("Invalid auth_version %.16q: want 1.0", version)
	}
	seconds, err := strconv.ParseInt(query.Get("auth_timestamp"), 10, 64)
	if err != nil {
		return denied("Missing required parameter, or not a number: auth_timestamp")
	}
	if seconds < now.Add(-signatureAge).Unix() || seconds > now.Add(signatureAge).Unix() {
		return denied("Timestamp expired: Given timestamp (%s) not within %ds of server time (%s)",
			time.Unix(seconds, 0).UTC().Format(time.RFC3339), int(signatureAge.Seconds()), now.UTC().Format(time.RFC3339))
	}
	if sum := query.Get("body_md5"); sum != "" || len(body) > 0 {
		own := md5.Sum(body)
		if !hmac.Equal([]byte(hex.EncodeToString(own[:])), []byte(sum)) {
			return denied("Invalid body_md5: it is not that of the body")
		}
	}
	if !a.signed(signedText(method, path, query), query.Get("auth_signature")) {
		return denied("Invalid signature: you should have sent HmacSHA256Hex(%q, your_secret_key), but you sent %.64q", signedText(method, path, query), query.Get("auth_signature"))
	}
	return nil
}

// signedText is what a request's signature signs.
func signedText(method, path string, query url.Values) string {
	var pairs []string
	for name, values := range query {
		if name != "auth_signature" {
			pairs = append(pairs, strings.ToLower(name)+"="+strings.Join(values, ","))
		}
	}
	slices.Sort(pairs)
	return method + "\n" + path + "\n" + strings.Join(pairs, "&")
}
