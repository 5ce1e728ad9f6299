package webhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/throttle"
	"github.com/roostws/roost/server/protocol"
)

// An Asker asks the application what a client may do. Its methods fit the functions
// of protocol.Application and may be called from any number of goroutines. They return
// a *protocol.Error if the application refuses, with what it said, and if it does not
// answer: CodeBusy if the question surely did not arrive, or the application said so
// (429, 503); CodeTimeout if it is not known whether the application did something;
// CodeInternal if an answer to a question that does nothing is malformed. The reason
// of the last three is only in the log.
type Asker struct {
	// Immutable after NewAsker.
	cfg      AskerConfig
	endpoint *endpoint
	places   chan struct{} // holds one for each question under way

	asked, allowed, refused, busy, timedOut, failed atomic.Uint64
	pending                                         atomic.Int64

	failures throttle.Throttle
	refusals throttle.Throttle
}

// refusedLines is how many refusals are logged in throttle.Interval.
const refusedLines = 10

// AskerStats are an Asker's counters. Asked is the sum of the others.
type AskerStats struct {
	Asked uint64 `name:"questions" help:"questions to the application"`
	// Pending questions are under way or wait for their turn.
	Pending int64 `gauge:"yes" help:"questions that are under way or wait for their turn"`
	// Allowed and Refused count the application's decisions.
	Allowed uint64 `help:"questions that the application answered with yes"`
	Refused uint64 `help:"questions that the application answered with no"`
	// Busy questions did not get their turn, or did not reach the application, or it
	// had no time for them (HTTP 429, 503).
	Busy uint64 `help:"questions that did not get their turn or did not reach the application"`
	// TimedOut questions were not answered within Timeout.
	TimedOut uint64 `help:"questions that were not answered in time"`
	// Failed questions got no usable answer (another status, bad JSON, a connection
	// that was cut), or the client left before it came.
	Failed uint64 `help:"questions that got no usable answer"`
}

// Counters returns the same for server.Config.Stats. It may be called on any goroutine.
func (a *Asker) Counters() server.Stats { return counters.OfFields("ask", a.Stats()) }

// NewAsker returns an Asker. The error names every field that is wrong.
func NewAsker(c AskerConfig) (*Asker, error) {
	c = c.withDefaults()
	// The client has no timeout of its own: each question has one.
	endpoint, err := newEndpoint(askerName, c.URL, c.Secrets, nil, c.TLS, 0, c.MaxPending)
	if err := errors.Join(err, c.validate()); err != nil {
		return nil, err
	}
	return &Asker{
		cfg: c, endpoint: endpoint, places: make(chan struct{}, c.MaxPending),
		refusals: throttle.Throttle{Lines: refusedLines},
	}, nil
}

// Close closes idle connections to the application. The Asker can still be used.
func (a *Asker) Close() { a.endpoint.close() }

// SetSecrets replaces AskerConfig.Secrets, for later questions. An error changes
// nothing. It may be called on any goroutine.
func (a *Asker) SetSecrets(secrets []string) error {
	return a.endpoint.setSecrets(askerName, secrets)
}

// Stats returns the counters. It may be called from any goroutine.
func (a *Asker) Stats() AskerStats {
	return AskerStats{
		Asked: a.asked.Load(), Pending: a.pending.Load(),
		Allowed: a.allowed.Load(), Refused: a.refused.Load(),
		Busy: a.busy.Load(), TimedOut: a.timedOut.Load(), Failed: a.failed.Load(),
	}
}

// A Question is the body of an Asker's request. Empty fields are left out.
type Question struct {
	// Type is "connect", "refresh", "subscribe", "publish" or "call".
	Type string `json:"type"`
	// Client is the connection's name, User its identity if it has one.
	Client string `json:"client"`
	User   string `json:"user,omitempty"`
	// Token is the client's: connect, refresh, subscribe.
	Token string `json:"token,omitempty"`
	// Name is the client's description of itself, Address its address (host:port):
	// connect, refresh.
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
	// The parts of the upgrade request that protocol.Application.Parts selects: connect.
	protocol.UpgradeParts
	// Channel: subscribe, publish.
	Channel string `json:"channel,omitempty"`
	// Method: call.
	Method string `json:"method,omitempty"`
	// Protocol, Namespace and Socket are those of clients whose protocol has them: connect,
	// call.
	Protocol  string `json:"protocol,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Socket    string `json:"socket,omitempty"`
	// Data is what the client adds: connect, refresh, publish, call.
	Data json.RawMessage `json:"data,omitempty"`
	// Encoding is "base64" where Data is a string that holds binary data: publish.
	Encoding string `json:"encoding,omitempty"`
}

// expiry says when what an answer allows ends.
type expiry struct {
	Expires   *float64 `json:"expires"`    // Unix seconds
	ExpiresIn *float64 `json:"expires_in"` // seconds
}

// connectAnswer is the answer to connect and refresh.
type connectAnswer struct {
	expiry
	User     string   `json:"user"`
	Channels []string `json:"channels"`
	Allow    struct {
		Subscribe []string `json:"subscribe"`
		Publish   []string `json:"publish"`
	} `json:"allow"`
	Join []string        `json:"join"`
	Rate jsonx.Int       `json:"rate"`
	Info json.RawMessage `json:"info"`
	Data json.RawMessage `json:"data"`
}

// publishAnswer is the answer to publish. Encoding is that of Data.
type publishAnswer struct {
	Data     json.RawMessage `json:"data"`
	Encoding string          `json:"encoding"`
}

// callAnswer is the answer to call.
type callAnswer struct {
	Data  json.RawMessage `json:"data"`
	Join  []string        `json:"join"`
	Leave []string        `json:"leave"`
}

// Connect asks who a client is. It is for protocol.Application.Connect.
func (a *Asker) Connect(ctx context.Context, r *protocol.ConnectRequest) error {
	return a.connect(ctx, "connect", r)
}

// Refresh asks the same about a new token on an open connection. It is for
// protocol.Application.Refresh.
func (a *Asker) Refresh(ctx context.Context, r *protocol.ConnectRequest) error {
	return a.connect(ctx, "refresh", r)
}

func (a *Asker) connect(ctx context.Context, kind string, r *protocol.ConnectRequest) error {
	q := Question{Type: kind, Client: r.Client, User: r.User, Token: r.Token, Name: r.Name, Data: r.Data, Protocol: r.Protocol, Namespace: r.Namespace}
	if r.RemoteAddr.IsValid() {
		q.Address = r.RemoteAddr.String()
	}
	if r.Upgrade != nil {
		q.UpgradeParts = *r.Upgrade
	}
	var got connectAnswer
	return a.ask(ctx, q, &got, func() error {
		expires, err := got.time()
		if err != nil {
			return err
		}
		if got.Rate < 0 {
			return fmt.Errorf(`the answer's "rate" is %d: want 0 or more`, got.Rate)
		}
		if got.User != "" {
			r.User = got.User
		}
		r.Expires, r.Channels, r.MessageRate = expires, got.Channels, int(got.Rate)
		r.Allow = protocol.Permissions{Subscribe: got.Allow.Subscribe, Publish: got.Allow.Publish}
		r.Info, r.Reply, r.Rooms = orNothing(got.Info), orNothing(got.Data), got.Join
		return nil
	})
}

// Subscribe asks whether a client may subscribe to a channel. It is for
// protocol.Application.Subscribe.
func (a *Asker) Subscribe(ctx context.Context, r *protocol.SubscribeRequest) error {
	var got expiry
	q := Question{Type: "subscribe", Client: r.Client, User: r.User, Token: r.Token, Channel: r.Channel}
	return a.ask(ctx, q, &got, func() (err error) {
		r.Expires, err = got.time()
		return err
	})
}

// Publish asks whether a client may publish; the answer's data, if any, is
// published instead. It is for protocol.Application.Publish.
func (a *Asker) Publish(ctx context.Context, r *protocol.PublishRequest) error {
	var got publishAnswer
	q := Question{Type: "publish", Client: r.Client, User: r.User, Channel: r.Channel, Data: r.Data}
	if r.Base64 {
		q.Encoding = jsonx.Base64
	}
	return a.ask(ctx, q, &got, func() error {
		if got.Encoding != "" && got.Encoding != jsonx.Base64 {
			return fmt.Errorf(`the answer's "encoding" is %.40q: want "base64", or leave it out`, got.Encoding)
		}
		if data := orNothing(got.Data); data != nil {
			r.Data, r.Base64 = data, got.Encoding == jsonx.Base64
		}
		return nil
	})
}

// Call passes a client's request to the application. It is for protocol.Application.Call.
func (a *Asker) Call(ctx context.Context, r *protocol.CallRequest) error {
	var got callAnswer
	q := Question{Type: "call", Client: r.Client, User: r.User, Method: r.Method, Data: r.Data, Protocol: r.Protocol, Namespace: r.Namespace, Socket: r.Socket}
	return a.ask(ctx, q, &got, func() error {
		r.Reply, r.Join, r.Leave = orNothing(got.Data), got.Join, got.Leave
		return nil
	})
}

// ask posts a question, decodes the answer into got and has it taken over by accept.
func (a *Asker) ask(ctx context.Context, q Question, got any, accept func() error) error {
	a.asked.Add(1)
	a.pending.Add(1)
	defer a.pending.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return a.abandoned(ctx)
		}
		return a.unanswered(q, &a.busy, protocol.CodeBusy, 0, errors.New("it did not get its turn: AskerConfig.MaxPending are under way"))
	}
	body, err := json.Marshal(q)
	if err != nil { // data that is no JSON
		return a.unanswered(q, &a.failed, protocol.CodeBadRequest, 0, err)
	}
	// Questions that change nothing may be asked twice.
	repeatable := !q.does()
	reply, err := a.endpoint.post(ctx, newID(), body, a.cfg.AnswerMaxBytes, repeatable)
	if err == nil && reply.status == http.StatusOK {
		err = reply.err // of another status the number says enough
	}
	// malformed is the code where the application has answered, but not as it should.
	malformed := protocol.CodeInternal
	if q.does() {
		malformed = protocol.CodeTimeout // it may have been done
	}
	switch {
	case errors.Is(err, errAnswerTooBig):
		return a.unanswered(q, &a.failed, malformed, 0, fmt.Errorf("%w: AskerConfig.AnswerMaxBytes is %d", err, a.cfg.AnswerMaxBytes))
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return a.abandoned(ctx)
	case errors.Is(err, errNotSent):
		return a.unanswered(q, &a.busy, protocol.CodeBusy, 0, err)
	case err != nil && ctx.Err() != nil:
		return a.unanswered(q, &a.timedOut, protocol.CodeTimeout, 0, fmt.Errorf("no answer in time: AskerConfig.Timeout is %v", a.cfg.Timeout))
	case err != nil:
		return a.unanswered(q, &a.failed, protocol.CodeTimeout, 0, err)
	case reply.refuses(q):
		return a.refuse(q, reply.refusal())
	}
	switch {
	case reply.status == http.StatusOK:
	case reply.status == http.StatusTooManyRequests, reply.status == http.StatusServiceUnavailable:
		return a.unanswered(q, &a.busy, protocol.CodeBusy, reply.retryAfter, errors.New(reply.text()))
	case reply.status >= 500:
		return a.unanswered(q, &a.failed, protocol.CodeTimeout, reply.retryAfter, errors.New(reply.text()))
	default:
		return a.unanswered(q, &a.failed, malformed, 0, errors.New(reply.text()+": want 200, 401 or 403"))
	}
	err = decode(reply.body, got)
	if err == nil {
		err = accept()
	}
	var expired *protocol.Error
	switch {
	case errors.As(err, &expired):
		return a.refuse(q, expired)
	case err != nil:
		return a.unanswered(q, &a.failed, malformed, 0, err)
	}
	a.allowed.Add(1)
	return nil
}

// does reports whether the application may do something because of the question,
// which must then not be asked twice.
func (q *Question) does() bool { return q.Type == "publish" || q.Type == "call" }

// refuse counts and logs a refusal, and returns it.
func (a *Asker) refuse(q Question, e *protocol.Error) error {
	a.refused.Add(1)
	if held, ok := a.refusals.Pass(); ok {
		a.cfg.Logger.Info("the application refused a client", "question", q.Type, "conn_id", q.Client, "user", q.User,
			"remote_addr", q.Address, "client_name", cut(q.Name, 100), "channel", q.Channel, "method", cut(q.Method, 100), "err", e, "lines_held", held)
	}
	return e
}

// abandoned counts a question whose client has left.
func (a *Asker) abandoned(ctx context.Context) error {
	a.failed.Add(1)
	return ctx.Err()
}

// busyRetry is when clients try again where the application does not say.
const busyRetry = time.Second

// unanswered counts and logs why a question has no answer. It returns the error for
// the client, which does not say why.
func (a *Asker) unanswered(q Question, count *atomic.Uint64, code protocol.Code, retry time.Duration, reason error) error {
	count.Add(1)
	if held, ok := a.failures.Pass(); ok {
		a.cfg.Logger.Error("a question to the application was not answered",
			"url", a.endpoint.shown, "question", q.Type, "conn_id", q.Client, "err", reason, "lines_held", held)
	}
	e := &protocol.Error{Code: code, RetryAfter: retry}
	switch code {
	case protocol.CodeBusy:
		e.Message = "the application is busy or away; nothing was done"
		e.RetryAfter = cmp.Or(retry, busyRetry)
	case protocol.CodeTimeout:
		e.Message = "the application did not answer; whether it did something is not known"
	case protocol.CodeBadRequest:
		e.Message = "data is not JSON"
	default:
		e.Message = "the application could not answer"
	}
	return e
}

// messageMaxBytes limits the text of a refusal: errors are short.
const messageMaxBytes = 1024

// said is the body of a refusal.
type said struct {
	Code    jsonx.Int `json:"code"`
	Message string    `json:"message"`
}

// refuses reports whether the application has decided against the client: with 401
// or 403; for a call also with another status of the client's fault, whose body is
// JSON with a code or message of its own, or which is 404 or 422.
func (a *answer) refuses(q Question) bool {
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotFound, http.StatusUnprocessableEntity:
		return q.Type == "call"
	}
	var s said
	return q.Type == "call" && a.status/100 == 4 && json.Unmarshal(a.body, &s) == nil && (s.Code > 0 || s.Message != "")
}

// refusal returns the error for the client. An application that says no more than
// the status, or in a page instead of JSON, has refused as well.
func (a *answer) refusal() *protocol.Error {
	e := &protocol.Error{Code: protocol.CodeBadRequest, Message: "refused by the application", RetryAfter: a.retryAfter}
	switch a.status {
	case http.StatusUnauthorized:
		e.Code = protocol.CodeUnauthorized
	case http.StatusForbidden:
		e.Code = protocol.CodePermissionDenied
	case http.StatusNotFound:
		e.Code, e.Message = protocol.CodeUnknownMethod, "the application does not know this method"
	}
	var said said
	if json.Unmarshal(a.body, &said) != nil {
		return e
	}
	if said.Code > 0 {
		e.Code = protocol.Code(said.Code)
	}
	if said.Message != "" {
		e.Message = cut(said.Message, messageMaxBytes)
	}
	return e
}

// cut returns the beginning of text, at most n bytes of whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// decode accepts exactly one JSON object with known fields: an "expire" that is ignored
// would be access that never ends.
func decode(body []byte, into any) error {
	if body = bytes.TrimSpace(body); len(body) == 0 {
		return errors.New("the answer is empty: want a JSON object, {} at least")
	}
	if body[0] != '{' {
		return errors.New("the answer is not a JSON object")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("the answer is more than one JSON object")
	}
	return nil
}

// orNothing returns data, or nothing for null: many frameworks write that for unset
// fields.
func orNothing(data json.RawMessage) json.RawMessage {
	if string(data) == "null" {
		return nil
	}
	return data
}

// Limits above which a time is in milliseconds, or overflows time.Duration: the year
// 5138, and 31 years.
const (
	expiresMax   = 1e11
	expiresInMax = 1e9
)

// time returns when it ends, zero for never. A time that has passed is an error.
func (e expiry) time() (time.Time, error) {
	var at time.Time
	switch {
	case e.Expires != nil && e.ExpiresIn != nil:
		return at, errors.New(`the answer has "expires" and "expires_in": want one of them`)
	case e.Expires != nil && *e.Expires > expiresMax:
		return at, fmt.Errorf(`the answer's "expires" is %.0f: want Unix time in seconds`, *e.Expires)
	case e.ExpiresIn != nil && *e.ExpiresIn > expiresInMax:
		return at, fmt.Errorf(`the answer's "expires_in" is %.0f: want seconds, at most 1000000000`, *e.ExpiresIn)
	case e.Expires != nil:
		at = time.UnixMilli(int64(max(*e.Expires, 0) * 1000))
	case e.ExpiresIn != nil:
		at = time.Now().Add(time.Duration(max(*e.ExpiresIn, 0)*1000) * time.Millisecond)
	default:
		return at, nil
	}
	if !at.After(time.Now()) {
		return at, &protocol.Error{Code: protocol.CodeTokenExpired, Message: "what the application allows has expired already"}
	}
	return at, nil
}
