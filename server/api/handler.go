package api

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// A Handler serves the publish API. Its methods may be called from any goroutine.
type Handler struct {
	// Immutable after New.
	backend   Backend
	cfg       Config
	clients   []*client
	mux       *http.ServeMux
	crossSite *http.CrossOriginProtection

	// buffers are *bytes.Buffer, for request and response bodies.
	buffers sync.Pool
}

// New checks cfg and returns a Handler.
func New(backend Backend, cfg Config) (*Handler, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	h := &Handler{backend: backend, cfg: cfg, mux: http.NewServeMux(), crossSite: http.NewCrossOriginProtection()}
	h.buffers.New = func() any { return new(bytes.Buffer) }
	for _, k := range cfg.Keys {
		k.Scopes, k.Channels = slices.Clone(k.Scopes), slices.Clone(k.Channels)
		h.clients = append(h.clients, newClient(k))
	}
	h.register()
	return h, nil
}

// ServeHTTP serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// route is one endpoint. One without a scope needs no key.
type route struct {
	method, path string
	scope        Scope
	// items: it takes from the client's rate by itself, for each publication.
	items  bool
	handle func(h *Handler, c *client, w http.ResponseWriter, r *http.Request) error
}

// routes are all endpoints.
var routes = []route{
	{"POST", "/v1/publish", ScopePublish, false, (*Handler).publish},
	{"POST", "/v1/publish/many", ScopePublish, true, (*Handler).publishMany},
	{"POST", "/v1/batch", ScopePublish, true, (*Handler).batch},
	{"GET", "/v1/channels", ScopeRead, false, (*Handler).channels},
	{"GET", "/v1/channels/{channel}/history", ScopeRead, false, (*Handler).history},
	{"DELETE", "/v1/channels/{channel}/history", ScopeClear, false, (*Handler).clearHistory},
	{"GET", "/v1/channels/{channel}/presence", ScopeRead, false, (*Handler).presence},
	{"DELETE", "/v1/channels/{channel}/connections", ScopeDisconnect, false, (*Handler).disconnectChannel},
	{"GET", "/v1/users/{user}/connections", ScopeRead, false, (*Handler).connections},
	{"DELETE", "/v1/users/{user}/connections", ScopeDisconnect, false, (*Handler).disconnectUser},
	{"POST", "/v1/users/{user}/subscriptions/{channel}", ScopeSubscribe, false, (*Handler).subscribe},
	{"DELETE", "/v1/users/{user}/subscriptions/{channel}", ScopeSubscribe, false, (*Handler).unsubscribe},
	{"GET", "/v1/connections", ScopeRead, false, (*Handler).allConnections},
	{"DELETE", "/v1/connections/{client}", ScopeDisconnect, false, (*Handler).disconnect},
	{"POST", "/v1/connections/{client}/subscriptions/{channel}", ScopeSubscribe, false, (*Handler).subscribe},
	{"DELETE", "/v1/connections/{client}/subscriptions/{channel}", ScopeSubscribe, false, (*Handler).unsubscribe},
	{"GET", "/v1/stats", ScopeStats, false, (*Handler).stats},
	{"GET", "/v1/nodes", ScopeStats, false, (*Handler).nodes},
	{"GET", "/v1/openapi.json", "", false, (*Handler).openapi},
	{"GET", "/healthz", "", false, (*Handler).healthz},
	{"GET", "/readyz", "", false, (*Handler).readyz},
}

// register adds the routes to the mux, and a 405 for the other methods of each path.
func (h *Handler) register() {
	allowed := map[string][]string{}
	for _, route := range routes {
		h.mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) {
			if err := h.serve(&route, w, r); err != nil {
				h.problemOf(err).write(w)
			}
		})
		allowed[route.path] = append(allowed[route.path], route.method)
		if route.method == "GET" {
			allowed[route.path] = append(allowed[route.path], "HEAD")
		}
	}
	for path, methods := range allowed {
		slices.Sort(methods)
		h.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			p := problem(http.StatusMethodNotAllowed, CodeMethod, "%s is not for this address. Use %s.", r.Method, strings.Join(methods, " or "))
			p.allow = strings.Join(methods, ", ")
			p.write(w)
		})
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(http.StatusNotFound, CodeNotFound, "There is nothing at %s. GET /v1/openapi.json tells what there is; a slash in a channel's name or a user's ID is written %%2F.", r.URL.EscapedPath()).write(w)
	})
}

// serve serves one request of a route, or returns the error to respond with.
func (h *Handler) serve(route *route, w http.ResponseWriter, r *http.Request) error {
	c := anybody
	if route.scope != "" {
		var err error
		if c, err = h.admit(route.scope, r); err != nil {
			return err
		}
		if !route.items {
			if err := c.take(); err != nil {
				return err
			}
		}
	}
	if r.Method == "POST" && (r.ContentLength != 0 || r.Header.Get("Content-Type") != "") {
		if err := checkMediaType(r); err != nil {
			return err
		}
		if err := h.inflate(r); err != nil {
			return err
		}
	}
	return route.handle(h, c, w, r)
}

// admit returns the client that sent a request, if it may use the scope.
func (h *Handler) admit(scope Scope, r *http.Request) (*client, error) {
	// CrossOriginProtection lets pages read what they like. Here reading is worth
	// protecting, too.
	write := r
	if r.Method != http.MethodPost {
		like := *r
		like.Method = http.MethodPost
		write = &like
	}
	if err := h.crossSite.Check(write); err != nil {
		return nil, problem(http.StatusForbidden, CodeCrossSite, "The request comes from a web page of another site. Call the API from your back end.")
	}
	c, err := h.authenticate(r)
	if err != nil {
		return nil, err
	}
	return c, c.mayUse(scope)
}

// Require returns a handler that checks requests as the API checks its own (keys,
// scopes, host names) before it calls next.
func (h *Handler) Require(scope Scope, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := h.admit(scope, r); err != nil {
			h.problemOf(err).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
)

// checkMediaType refuses what a web page could send without a preflight: a form, or
// a text. ("Simple" requests of the Fetch standard have no other types.)
func checkMediaType(r *http.Request) error {
	header := r.Header.Get("Content-Type")
	if header == typeJSON {
		return nil
	}
	want := typeJSON
	if r.URL.Path == "/v1/batch" {
		want += " or " + typeNDJSON
	}
	kind, params, err := mime.ParseMediaType(header)
	switch {
	case header == "":
		return problem(http.StatusUnsupportedMediaType, CodeMediaType, "The body has no type. Send Content-Type: %s.", want)
	case err != nil || kind != typeJSON && (kind != typeNDJSON || r.URL.Path != "/v1/batch"):
		return problem(http.StatusUnsupportedMediaType, CodeMediaType, "The type of the body is %q. Send Content-Type: %s.", header, want)
	case params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8"):
		return problem(http.StatusUnsupportedMediaType, CodeMediaType, "The body is in %s. JSON is UTF-8 (RFC 8259, section 8.1).", params["charset"])
	}
	return nil
}

// buffer returns an empty buffer, to be given back with release.
func (h *Handler) buffer() *bytes.Buffer {
	b := h.buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

// release keeps b for the next request, unless it has become large.
func (h *Handler) release(b *bytes.Buffer) {
	if b.Cap() <= 64<<10 {
		h.buffers.Put(b)
	}
}

// read reads the whole body into a buffer.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, into *bytes.Buffer) error {
	limit := int64(h.cfg.PublishBodyMaxBytes)
	if r.ContentLength > limit {
		return h.tooLarge()
	}
	// One byte more shows that there is more, and io.EOF needs room to be seen.
	into.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	_, err := into.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	if err == nil {
		return nil
	}
	return h.readError(err)
}

func (h *Handler) readError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return h.tooLarge()
	}
	return problem(http.StatusBadRequest, CodeBodyIncomplete, "The body could not be read: %v. Send it completely.", err)
}

func (h *Handler) tooLarge() error {
	return problem(http.StatusRequestEntityTooLarge, CodeBodyTooLarge, "The body, or a line of it, is larger than %d bytes (PublishBodyMaxBytes). Send less at a time, or a batch as a stream (%s).", h.cfg.PublishBodyMaxBytes, typeNDJSON)
}

// answer writes a 200 with b, which is JSON.
func answer(w http.ResponseWriter, b []byte) {
	header := w.Header()
	header["Content-Type"] = jsonHeader
	header["Cache-Control"] = noStoreHeader
	header["X-Content-Type-Options"] = noSniffHeader
	_, _ = w.Write(b) // a client that is gone learns nothing
}

// Header values without an allocation each; net/http only reads them.
var (
	jsonHeader    = []string{typeJSON}
	noStoreHeader = []string{"no-store"}
	noSniffHeader = []string{"nosniff"}
)
