package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

// call is one that the fake has had.
type call struct {
	method  string
	name    string
	other   string
	code    frame.CloseCode
	limit   int
	history history.Query
}

// fake is a backend that remembers what it was asked.
type fake struct {
	mu        sync.Mutex
	published []server.Publication
	deadlines []time.Duration // how long each publication was willing to wait
	calls     []call
	err       error // what everything answers
	publish   func(server.Publication) (server.Receipt, error)
}

func (f *fake) BeginPublish(ctx context.Context, p server.Publication) func() (server.Receipt, error) {
	receipt, err := f.publishMessage(ctx, p)
	return func() (server.Receipt, error) { return receipt, err }
}

func (f *fake) publishMessage(ctx context.Context, p server.Publication) (server.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Payload = bytes.Clone(p.Payload) // as the real one does
	f.published = append(f.published, p)
	var wait time.Duration
	if at, bounded := ctx.Deadline(); bounded {
		wait = time.Until(at)
	}
	f.deadlines = append(f.deadlines, wait)
	if f.publish != nil {
		return f.publish(p)
	}
	return server.Receipt{Position: history.Position{Epoch: "e1", Offset: uint64(len(f.published))}, Matched: 3, Written: 2, Complete: true}, f.err
}

func (f *fake) note(c call) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, c)
	return f.err
}

// CheckNamespace knows all but nwes.
func (f *fake) CheckNamespace(channel string) error {
	if strings.HasPrefix(channel, "nwes:") {
		return &protocol.Error{Code: protocol.CodeUnknownNamespace, Message: `there is no namespace "nwes" (there are "news")`}
	}
	return nil
}

func (f *fake) History(channel string, q history.Query) (history.Page, error) {
	err := f.note(call{method: "History", name: channel, history: q})
	at := time.UnixMilli(1_700_000_000_123)
	return history.Page{Position: history.Position{Epoch: "e1", Offset: 18}, More: true, Messages: []history.Message{
		{Offset: 15, Time: at, Type: server.Text, Payload: []byte(`{"a":"<b>"}`), Key: "k", From: "42"},
		{Offset: 16, Time: at, Type: server.Text, Payload: []byte(`plain <text>`)},
		{Offset: 17, Time: at, Type: server.Binary, Payload: []byte{0, 255}},
	}}, err
}

func (f *fake) ClearHistory(channel string) (int, error) {
	return 9, f.note(call{method: "ClearHistory", name: channel})
}

func (f *fake) Presence(_ context.Context, channel, after string, limit int) (protocol.ChannelMembers, error) {
	err := f.note(call{method: "Presence", name: channel, other: after, limit: limit})
	return protocol.ChannelMembers{Clients: 3, Members: []protocol.Member{{Client: "c1", User: "42", Info: json.RawMessage(`{"name":"Ada"}`)}, {Client: "c2"}}, Truncated: true}, err
}

func (f *fake) Channels(_ context.Context, prefix, after string, limit int) ([]server.ChannelInfo, bool, error) {
	err := f.note(call{method: "Channels", name: prefix, other: after, limit: limit})
	return []server.ChannelInfo{{Name: "news", Clients: 3}, {Name: "news:é", Clients: 1}}, true, err
}

func (f *fake) LargestChannels(_ context.Context, prefix string, limit int) ([]server.ChannelInfo, bool, error) {
	err := f.note(call{method: "LargestChannels", name: prefix, limit: limit})
	return []server.ChannelInfo{{Name: "news", Clients: 3}}, true, err
}

func (f *fake) Connections(_ context.Context, user, after string, limit int) ([]server.ConnectionInfo, bool, error) {
	err := f.note(call{method: "Connections", name: user, other: after, limit: limit})
	return []server.ConnectionInfo{
		{Client: "c1", User: user, RemoteAddr: netip.MustParseAddrPort("192.0.2.1:5000"), Subprotocol: "roost.v1.json", Age: 1500 * time.Millisecond, Channels: []string{"news"}, LagMessages: 4, PendingBytes: 512},
		{Client: "c2", User: user},
	}, false, err
}

// audienceName is an audience as a text.
func audienceName(a server.Audience) string {
	return strings.Trim("client:"+a.Client+" user:"+a.User+" channel:"+a.Channel, " ")
}

func (f *fake) Disconnect(_ context.Context, a server.Audience, code frame.CloseCode, reason string) (int, error) {
	return 3, f.note(call{method: "Disconnect", name: audienceName(a), code: code, other: reason})
}

func (f *fake) Subscribe(_ context.Context, a server.Audience, channel string) (int, error) {
	return 2, f.note(call{method: "Subscribe", name: audienceName(a), other: channel})
}

func (f *fake) Unsubscribe(_ context.Context, a server.Audience, channel string) (int, error) {
	return 1, f.note(call{method: "Unsubscribe", name: audienceName(a), other: channel})
}

func (f *fake) Nodes() []server.NodeInfo {
	return []server.NodeInfo{{ID: "k3", Name: "a", Version: "1.2", Addrs: []string{"127.0.0.1:80"}, Connections: 7, Since: time.UnixMilli(5), Self: true}, {ID: "k4"}}
}

func (f *fake) Stats() server.Stats {
	stats := new(server.Server).Stats()
	for i := range stats {
		switch stats[i].Name {
		case "connections":
			stats[i].Value = 7
		case "invalid_utf8":
			stats[i].Value = 1
		}
	}
	return stats
}

// newHandler is a Handler on a backend.
func newHandler(t testing.TB, backend Backend, cfg Config) *Handler {
	t.Helper()
	h, err := New(backend, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask sends a request to h, as a program on the same machine would, and checks
// request and answer against openapi.json.
func ask(t *testing.T, h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r, w := send(h, method, target, body, header...)
	checkAgainstOpenAPI(t, r, body, w)
	return w
}

// send is ask without the check.
func send(h http.Handler, method, target, body string, header ...string) (*http.Request, *httptest.ResponseRecorder) {
	r := httptest.NewRequest(method, "http://127.0.0.1:8081"+target, strings.NewReader(body))
	if method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Del(header[i])
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return r, w
}

// wantAnswer checks status and, if there is one, the body as JSON.
func wantAnswer(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if body == "" {
		if w.Body.Len() > 0 {
			t.Errorf("body %q, want none", w.Body)
		}
		return
	}
	if got, want := compact(t, w.Body.String()), compact(t, body); got != want {
		t.Errorf("answer %s\nwant   %s", got, want)
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%q is not JSON: %v", text, err)
	}
	return b.String()
}

// wantProblem checks an answer that is an error.
func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code Code, detail string) *Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("the answer %d %q is no problem: %v", w.Code, w.Body, err)
	}
	if w.Code != status || p.Status != status || p.Code != code || !strings.Contains(p.Detail, detail) {
		t.Errorf("answer %d %s; want %d %s with %q", w.Code, w.Body, status, code, detail)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("the type of a problem is %q", kind)
	}
	if p.Title != http.StatusText(status) {
		t.Errorf("title %q, want %q", p.Title, http.StatusText(status))
	}
	return &p
}

func TestPublish(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       server.Publication
	}{
		{"any JSON to a channel", ` {"channel" : "news", "data" : {"a": [1, "x,}", null], "b":{}} } `,
			server.Publication{Channel: "news", Type: server.Text, Payload: []byte(`{"a": [1, "x,}", null], "b":{}}`)}},
		{"a number at the end", `{"user":"42","data":-1.5e3}`,
			server.Publication{User: "42", Type: server.Text, Payload: []byte(`-1.5e3`)}},
		{"null is a message", `{"channel":"c","data":null}`,
			server.Publication{Channel: "c", Type: server.Text, Payload: []byte(`null`)}},
		{"text to all", `{"all":true,"text":"caf\u00e9 \"1\"\n"}`,
			server.Publication{All: true, Type: server.Text, Payload: []byte("café \"1\"\n")}},
		{"an empty text", `{"channel":"c","text":""}`,
			server.Publication{Channel: "c", Type: server.Text, Payload: []byte{}}},
		{"bytes", `{"channel":"c","base64":"AP8="}`,
			server.Publication{Channel: "c", Type: server.Binary, Payload: []byte{0, 255}}},
		{"everything", `{"spread":"30s","from":"7","key":"k","idempotency_key":"i-1","wait":"1s","ch\u0061nnel":"a\/b é","data":"x"}`,
			server.Publication{Channel: "a/b é", Type: server.Text, Payload: []byte(`"x"`), Key: "k", From: "7", IdempotencyKey: "i-1", Spread: 30 * time.Second}},
		{"null is absent", `{"channel":"c","user":null,"all":null,"data":1,"text":null,"key":null,"spread":null,"wait":null}`,
			server.Publication{Channel: "c", Type: server.Text, Payload: []byte(`1`)}},
		{"not to all is absent", `{"channel":"c","all":false,"data":1}`,
			server.Publication{Channel: "c", Type: server.Text, Payload: []byte(`1`)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{}
			w := ask(t, newHandler(t, f, Config{}), "POST", "/v1/publish", tc.body)
			wantAnswer(t, w, 200, `{"epoch":"e1","offset":1,"matched":3,"written":2,"complete":true,"duplicate":false}`)
			wantPublished(t, f, tc.want)
		})
	}
}

func wantPublished(t *testing.T, f *fake, want ...server.Publication) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	same := func(a, b server.Publication) bool {
		payloads := bytes.Equal(a.Payload, b.Payload)
		a.Payload, b.Payload = nil, nil
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		return payloads && bytes.Equal(x, y)
	}
	if !slices.EqualFunc(f.published, want, same) {
		t.Errorf("published %+v\nwant      %+v", f.published, want)
	}
}

// Without history there is no position to tell.
func TestReceiptWithoutHistory(t *testing.T) {
	f := &fake{publish: func(server.Publication) (server.Receipt, error) { return server.Receipt{Duplicate: true}, nil }}
	w := ask(t, newHandler(t, f, Config{}), "POST", "/v1/publish", `{"channel":"c","data":1}`)
	wantAnswer(t, w, 200, `{"matched":0,"written":0,"complete":false,"duplicate":true}`)
}

func TestPublishWaits(t *testing.T) {
	for _, tc := range []struct {
		wait string
		want time.Duration
	}{{`"0s"`, 0}, {`"40s"`, 40 * time.Second}, {`null`, 20 * time.Second}} {
		f := &fake{publish: func(server.Publication) (server.Receipt, error) { return server.Receipt{}, nil }}
		ask(t, newHandler(t, f, Config{Wait: 20 * time.Second}), "POST", "/v1/publish", `{"channel":"c","data":1,"wait":`+tc.wait+`}`)
		if got := f.deadlines[0]; got > tc.want || got < tc.want-15*time.Second {
			t.Errorf("wait %s: the backend was given %v, want %v", tc.wait, got, tc.want)
		}
	}
}

func TestPublishRefusals(t *testing.T) {
	deep := strings.Repeat("[", 20_000)
	for _, tc := range []struct {
		name, body string
		status     int
		code       Code
		detail     string
		members    []string
	}{
		{"nothing", "", 400, CodeBadJSON, "empty", nil},
		{"no JSON", `{"channel":"c","data":}`, 400, CodeBadJSON, "at byte 23", nil},
		{"cut", `{"channel":"c","data":[1`, 400, CodeBadJSON, "not JSON", nil},
		{"two values", `{"channel":"c","data":1} {}`, 400, CodeBadJSON, "not JSON", nil},
		{"too deep", `{"channel":"c","data":` + deep, 400, CodeBadJSON, "not JSON", nil},
		{"no object", `["channel"]`, 400, CodeBadJSON, "no object", nil},
		{"not UTF-8", "{\"channel\":\"c\",\"text\":\"\xff\"}", 400, CodeBadJSON, "UTF-8", nil},
		{"typos", `{"chanel":"c","data":1,"Key":"k"}`, 400, CodeUnknownMember, `"chanel", "Key"`, []string{"chanel", "Key"}},
		{"no audience", `{"data":1}`, 400, CodeMissingMember, "receiver", []string{"channel", "user", "client", "all"}},
		{"not even to all", `{"data":1,"all":false}`, 400, CodeMissingMember, "receiver", []string{"channel", "user", "client", "all"}},
		{"two audiences", `{"channel":"c","all":true,"data":1}`, 400, CodeBadValue, "channel, all", []string{"channel", "all"}},
		{"a connection and a user", `{"client":"0-7-1","user":"42","data":1}`, 400, CodeBadValue, "user, client", []string{"user", "client"}},
		{"a connection without a name", `{"client":"","data":1}`, 400, CodeBadValue, "client must be", []string{"client"}},
		{"a connection and what is for history", `{"client":"0-7-1","data":1,"key":"k","from":"x","spread":"1s"}`, 400, CodeBadValue, "key, from, spread", []string{"key", "from", "spread"}},
		{"no message", `{"channel":"c"}`, 400, CodeMissingMember, "no message", []string{"data", "text", "base64"}},
		{"two messages", `{"channel":"c","data":null,"text":"x"}`, 400, CodeBadValue, "data, text", []string{"data", "text"}},
		{"twice the same", `{"channel":"c","data":1,"data":2}`, 400, CodeBadValue, "twice", []string{"data"}},
		{"empty channel", `{"channel":"","data":1}`, 400, CodeBadValue, "channel must be", []string{"channel"}},
		{"empty user", `{"user":"","data":1}`, 400, CodeBadValue, "user must be", []string{"user"}},
		{"channel is a number", `{"channel":5,"data":1}`, 400, CodeBadValue, "channel must be a string", []string{"channel"}},
		{"all is a string", `{"all":"yes","data":1}`, 400, CodeBadValue, "all must be true", []string{"all"}},
		{"text is an object", `{"channel":"c","text":{}}`, 400, CodeBadValue, "text must be a string", []string{"text"}},
		{"not base64", `{"channel":"c","base64":"AP8"}`, 400, CodeBadValue, "with padding", []string{"base64"}},
		{"a duration without unit", `{"channel":"c","data":1,"spread":"30"}`, 400, CodeBadValue, `"0s" to "1h0m0s"`, []string{"spread"}},
		{"a spread without end", `{"channel":"c","data":1,"spread":"2h"}`, 400, CodeBadValue, "spread must be", []string{"spread"}},
		{"a negative wait", `{"channel":"c","data":1,"wait":"-1s"}`, 400, CodeBadValue, "wait must be", []string{"wait"}},
		{"an empty idempotency key", `{"channel":"c","data":1,"idempotency_key":""}`, 400, CodeBadValue, "1 to 255", []string{"idempotency_key"}},
		{"a long idempotency key", `{"channel":"c","data":1,"idempotency_key":"` + strings.Repeat("x", 256) + `"}`, 400, CodeBadValue, "1 to 255", []string{"idempotency_key"}},
		{"of a publication to many", `{"channels":["c"],"data":1}`, 400, CodeUnknownMember, `"channels"`, []string{"channels"}},
		{"too large", `{"channel":"c","data":"` + strings.Repeat("x", 100_000) + `"}`, 413, CodeBodyTooLarge, "65536 bytes", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &fake{}
			p := wantProblem(t, ask(t, newHandler(t, f, Config{PublishBodyMaxBytes: 64 << 10}), "POST", "/v1/publish", tc.body), tc.status, tc.code, tc.detail)
			if !slices.Equal(p.Members, tc.members) {
				t.Errorf("members %q, want %q", p.Members, tc.members)
			}
			wantPublished(t, f)
		})
	}
}

// A body of unknown length is cut off at the limit too.
func TestChunkedBodyIsBounded(t *testing.T) {
	h := newHandler(t, &fake{}, Config{PublishBodyMaxBytes: 64 << 10})
	r := httptest.NewRequest("POST", "http://localhost/v1/publish", io.MultiReader(strings.NewReader(`{"channel":"c","data":"`+strings.Repeat("x", 70_000)+`"}`)))
	r.Header.Set("Content-Type", "application/json")
	if r.ContentLength != -1 {
		t.Fatal("the length of the body is known")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	wantProblem(t, w, 413, CodeBodyTooLarge, "65536 bytes")
}

func TestBackendErrors(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		code   Code
		detail string
		retry  string
	}{
		{server.ErrBusy, 503, CodeBusy, "nothing was done", "1"},
		{broker.ErrUnavailable, 503, CodeBrokerAway, "nothing was done", "2"},
		{broker.ErrUnknown, 504, CodeBrokerSilent, "may have been published", ""},
		{server.ErrServerClosed, 503, CodeClosed, "closed", "5"},
		{server.ErrBadName, 400, CodeBadName, "Bad name", ""},
		{server.ErrMessageTooBig, 413, CodeMessageTooBig, "too big", ""},
		{&protocol.Error{Code: protocol.CodeUnknownNamespace, Message: "unknown namespace"}, 404, CodeNoNamespace, "Unknown namespace", ""},
		{server.ErrKeyReused, 422, CodeKeyReused, "nothing was published", ""},
		{&protocol.Error{Code: protocol.CodeLimit, Message: "too many", RetryAfter: 1500 * time.Millisecond}, 429, CodeRefused, "Too many", "2"},
		{context.DeadlineExceeded, 503, CodeTimeout, "in time", "1"},
		{io.ErrUnexpectedEOF, 500, CodeInternal, "log", ""},
	} {
		h := newHandler(t, &fake{err: tc.err}, Config{})
		w := ask(t, h, "POST", "/v1/publish", `{"channel":"c","data":1}`)
		wantProblem(t, w, tc.status, tc.code, tc.detail)
		if got := w.Header().Get("Retry-After"); got != tc.retry {
			t.Errorf("%v: Retry-After %q, want %q", tc.err, got, tc.retry)
		}
		for _, target := range []string{"GET /v1/channels", "GET /v1/channels/c/history", "GET /v1/channels/c/presence", "GET /v1/users/u/connections",
			"DELETE /v1/users/u/connections", "DELETE /v1/channels/c/connections", "DELETE /v1/connections/x", "POST /v1/users/u/subscriptions/c", "DELETE /v1/users/u/subscriptions/c"} {
			method, path, _ := strings.Cut(target, " ")
			if w := ask(t, h, method, path, ""); w.Code != tc.status {
				t.Errorf("%v: %s answers %d, want %d", tc.err, target, w.Code, tc.status)
			}
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	for _, tc := range []struct{ header, member, want string }{
		{"abc", "", "abc"}, {`"abc"`, "", "abc"}, {"abc", `"abc"`, "abc"}, {"", `"abc"`, "abc"},
	} {
		f := &fake{}
		body := `{"channel":"c","data":1}`
		if tc.member != "" {
			body = `{"channel":"c","data":1,"idempotency_key":` + tc.member + `}`
		}
		ask(t, newHandler(t, f, Config{}), "POST", "/v1/publish", body, "Idempotency-Key", tc.header)
		if len(f.published) != 1 || f.published[0].IdempotencyKey != tc.want {
			t.Errorf("header %q, member %s: published %+v, want the key %q", tc.header, tc.member, f.published, tc.want)
		}
	}
	w := ask(t, newHandler(t, &fake{}, Config{}), "POST", "/v1/publish", `{"channel":"c","data":1,"idempotency_key":"x"}`, "Idempotency-Key", "y")
	wantProblem(t, w, 400, CodeBadValue, "Send one of them")
	w = ask(t, newHandler(t, &fake{}, Config{}), "POST", "/v1/publish", `{"channel":"c","data":1}`, "Idempotency-Key", `""`)
	wantProblem(t, w, 400, CodeBadValue, "Idempotency-Key must be")
}

func TestReads(t *testing.T) {
	for _, tc := range []struct {
		target, want string
		call         call
	}{
		{"/v1/channels?prefix=new%2F&limit=2", `{"channels":[{"name":"news","clients":3},{"name":"news:é","clients":1}],"more":true,"next":"news:é"}`,
			call{method: "Channels", name: "new/", limit: 2}},
		{"/v1/channels?prefix=n&order=clients&limit=2", `{"channels":[{"name":"news","clients":3}],"more":true}`,
			call{method: "LargestChannels", name: "n", limit: 2}},
		{"/v1/channels?order=name", `{"channels":[{"name":"news","clients":3},{"name":"news:é","clients":1}],"more":true,"next":"news:é"}`,
			call{method: "Channels", limit: 100}},
		{"/v1/channels/a%2Fb%20%C3%A9/history?since_epoch=e1&since_offset=14&limit=3&reverse=true", `{"epoch":"e1","offset":18,"messages":[
			{"offset":15,"time":1700000000123,"data":{"a":"<b>"},"key":"k","from":"42"},
			{"offset":16,"time":1700000000123,"data":"plain <text>"},
			{"offset":17,"time":1700000000123,"data":"AP8=","encoding":"base64"}],"more":true,"gap":false}`,
			call{method: "History", name: "a/b é", history: history.Query{Since: &history.Position{Epoch: "e1", Offset: 14}, Limit: 3, Reverse: true}}},
		{"/v1/channels/%2E%2E/presence", `{"clients":3,"members":[{"client":"c1","user":"42","info":{"name":"Ada"}},{"client":"c2"}],"truncated":true,"next":"c2"}`,
			call{method: "Presence", name: "..", limit: 100}},
		{"/v1/channels/c/presence?cursor=c0&limit=2", `{"clients":3,"members":[{"client":"c1","user":"42","info":{"name":"Ada"}},{"client":"c2"}],"truncated":true,"next":"c2"}`,
			call{method: "Presence", name: "c", other: "c0", limit: 2}},
		{"/v1/connections?cursor=c0", `{"connections":[
			{"client":"c1","remote_addr":"192.0.2.1:5000","subprotocol":"roost.v1.json","age_ms":1500,"channels":["news"],"lag_messages":4,"pending_bytes":512},
			{"client":"c2","age_ms":0,"channels":[],"lag_messages":0,"pending_bytes":0}],"more":false}`,
			call{method: "Connections", other: "c0", limit: 100}},
		{"/v1/users/42/connections?limit=5", `{"connections":[
			{"client":"c1","user":"42","remote_addr":"192.0.2.1:5000","subprotocol":"roost.v1.json","age_ms":1500,"channels":["news"],"lag_messages":4,"pending_bytes":512},
			{"client":"c2","user":"42","age_ms":0,"channels":[],"lag_messages":0,"pending_bytes":0}],"more":false}`,
			call{method: "Connections", name: "42", limit: 5}},
		{"/healthz", `{"status":"ok"}`, call{}},
		{"/readyz", `{"status":"ok"}`, call{}},
	} {
		f := &fake{}
		h := newHandler(t, f, Config{})
		wantAnswer(t, ask(t, h, "GET", tc.target, ""), 200, tc.want)
		if tc.call.method != "" {
			got, _ := json.Marshal(f.calls)
			want, _ := json.Marshal([]call{tc.call})
			if !bytes.Equal(got, want) || len(f.calls) != 1 || f.calls[0].name != tc.call.name || f.calls[0].limit != tc.call.limit || f.calls[0].other != tc.call.other || f.calls[0].method != tc.call.method {
				t.Errorf("%s asked %+v, want %+v", tc.target, f.calls, tc.call)
			}
			if h := f.calls[0].history; tc.call.history.Since != nil && (h.Since == nil || *h.Since != *tc.call.history.Since || h.Limit != 3 || !h.Reverse) {
				t.Errorf("%s asked %+v of the history", tc.target, h)
			}
		}
	}
}

func TestReadRefusals(t *testing.T) {
	for _, tc := range []struct {
		target string
		code   Code
		detail string
	}{
		{"/v1/channels?limit=0", CodeBadValue, "1 to "},
		{"/v1/channels?limit=-1", CodeBadValue, "1 to "},
		{"/v1/channels?limit=ten", CodeBadValue, "1 to "},
		{"/v1/channels?limit=1&limit=2", CodeBadValue, "twice"},
		{"/v1/channels?prefx=a&lmit=1", CodeUnknownMember, `"lmit", "prefx"`},
		{"/v1/channels?order=size", CodeBadValue, `"name" or "clients"`},
		{"/v1/channels?order=clients&cursor=a", CodeBadValue, "no cursor"},
		{"/v1/channels?prefix=%zz", CodeBadValue, "malformed"},
		{"/v1/channels/c/history?since_offset=1", CodeMissingMember, "need each other"},
		{"/v1/channels/c/history?since_epoch=e&since_offset=-1", CodeBadValue, "since_offset must be"},
		{"/v1/channels/c/history?reverse=1", CodeBadValue, "true or false"},
		{"/v1/stats?verbose=1", CodeUnknownMember, "takes none"},
	} {
		f := &fake{}
		w := httptest.NewRecorder()
		newHandler(t, f, Config{}).ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+tc.target, nil))
		wantProblem(t, w, 400, tc.code, tc.detail)
		if len(f.calls) > 0 {
			t.Errorf("%s asked %+v", tc.target, f.calls)
		}
	}
}

func TestControl(t *testing.T) {
	for _, tc := range []struct {
		method, target string
		connections    int
		want           call
	}{
		{"DELETE", "/v1/channels/news/connections", 3, call{method: "Disconnect", name: "client: user: channel:news", code: 4403}},
		{"DELETE", "/v1/users/42/connections?code=1001&reason=moved%3B+retry%3D500", 3, call{method: "Disconnect", name: "client: user:42 channel:", code: 1001, other: "moved; retry=500"}},
		{"DELETE", "/v1/connections/0-7-1?code=3000", 3, call{method: "Disconnect", name: "client:0-7-1 user: channel:", code: 3000}},
		{"POST", "/v1/users/42/subscriptions/a%2Fb", 2, call{method: "Subscribe", name: "client: user:42 channel:", other: "a/b"}},
		{"DELETE", "/v1/users/42/subscriptions/news", 1, call{method: "Unsubscribe", name: "client: user:42 channel:", other: "news"}},
		{"POST", "/v1/connections/0-7-1/subscriptions/news", 2, call{method: "Subscribe", name: "client:0-7-1 user: channel:", other: "news"}},
		{"DELETE", "/v1/connections/0-7-1/subscriptions/news", 1, call{method: "Unsubscribe", name: "client:0-7-1 user: channel:", other: "news"}},
	} {
		f := &fake{}
		wantAnswer(t, ask(t, newHandler(t, f, Config{}), tc.method, tc.target, ""), 200, fmt.Sprintf(`{"connections":%d}`, tc.connections))
		if len(f.calls) != 1 || f.calls[0] != tc.want {
			t.Errorf("%s %s asked %+v, want %+v", tc.method, tc.target, f.calls, tc.want)
		}
	}
	for _, tc := range []struct {
		method, target, body string
		code                 Code
		detail               string
	}{
		{"DELETE", "/v1/users/42/connections?code=1005", "", CodeBadValue, "may be sent"},
		{"DELETE", "/v1/users/42/connections?code=999", "", CodeBadValue, "1000 to 4999"},
		{"DELETE", "/v1/users/42/connections?reason=" + strings.Repeat("x", 124), "", CodeBadValue, "123 bytes"},
		{"DELETE", "/v1/users/42/connections?reson=x", "", CodeUnknownMember, "reson"},
		{"POST", "/v1/users/42/subscriptions/news", `{"expires":5}`, CodeUnknownMember, "expires"},
		{"POST", "/v1/users/42/subscriptions/news", `[]`, CodeBadJSON, "object"},
	} {
		f := &fake{}
		w := ask(t, newHandler(t, f, Config{}), tc.method, tc.target, tc.body)
		wantProblem(t, w, 400, tc.code, tc.detail)
		if len(f.calls) > 0 {
			t.Errorf("%s asked %+v", tc.target, f.calls)
		}
	}
	f := &fake{}
	wantAnswer(t, ask(t, newHandler(t, f, Config{}), "POST", "/v1/users/42/subscriptions/news", ` {} `), 200, `{"connections":2}`)
}

func TestClearHistory(t *testing.T) {
	f := &fake{}
	wantAnswer(t, ask(t, newHandler(t, f, Config{}), "DELETE", "/v1/channels/a%2Fb/history", ""), 200, `{"messages":9}`)
	if len(f.calls) != 1 || f.calls[0] != (call{method: "ClearHistory", name: "a/b"}) {
		t.Errorf("asked %+v", f.calls)
	}
	wantProblem(t, ask(t, newHandler(t, f, Config{}), "DELETE", "/v1/channels/c/history?limit=5", ""), 400, CodeUnknownMember, "limit")
}

// A message for one connection.
func TestPublishToAConnection(t *testing.T) {
	const answered = `{"matched":1,"written":1,"complete":true,"duplicate":false}`
	f := &fake{publish: func(server.Publication) (server.Receipt, error) {
		return server.Receipt{Matched: 1, Written: 1, Complete: true}, nil
	}}
	h := newHandler(t, f, Config{})
	wantAnswer(t, ask(t, h, "POST", "/v1/publish", `{"client":"0-7-1","data":{"a":1}}`), 200, answered)
	wantAnswer(t, ask(t, h, "POST", "/v1/publish", `{"client":"0-7-1","base64":"AP8=","wait":"0s"}`), 200, answered)
	wantAnswer(t, ask(t, h, "POST", "/v1/batch", `{"publications":[{"client":"0-7-1","text":"x"}]}`), 200, `{"results":[`+answered+`],"failed":0}`)
	wantPublished(t, f,
		server.Publication{Client: "0-7-1", Type: server.Text, Payload: []byte(`{"a":1}`)},
		server.Publication{Client: "0-7-1", Type: server.Binary, Payload: []byte("\x00\xff")},
		server.Publication{Client: "0-7-1", Type: server.Text, Payload: []byte("x")})
	wantProblem(t, ask(t, h, "POST", "/v1/publish", `{"client":"0-7-1","data":1}`, "Idempotency-Key", "k"), 400, CodeBadValue, "no idempotency key")
	if len(f.published) != 3 {
		t.Errorf("published %+v", f.published[3:])
	}
}

// A misspelt namespace is an error wherever a channel can be named.
func TestUnknownNamespace(t *testing.T) {
	for _, target := range []string{
		"GET /v1/channels/nwes:1/history", "DELETE /v1/channels/nwes:1/history", "GET /v1/channels/nwes:1/presence", "DELETE /v1/channels/nwes:1/connections",
		"POST /v1/users/u/subscriptions/nwes:1", "DELETE /v1/users/u/subscriptions/nwes:1",
	} {
		f := &fake{}
		method, path, _ := strings.Cut(target, " ")
		wantProblem(t, ask(t, newHandler(t, f, Config{}), method, path, ""), 404, CodeNoNamespace, `"nwes" (there are "news")`)
		if len(f.calls) > 0 {
			t.Errorf("%s: %+v", target, f.calls)
		}
	}
	f := &fake{}
	h := newHandler(t, f, Config{})
	wantProblem(t, ask(t, h, "POST", "/v1/publish", `{"channel":"nwes:1","data":1}`), 404, CodeNoNamespace, "nwes")
	for target, body := range map[string]string{
		"/v1/publish/many": `{"channels":["nwes:1"],"data":1}`,
		"/v1/batch":        `{"publications":[{"channel":"nwes:1","data":1}]}`,
	} {
		if w := ask(t, h, "POST", target, body); w.Code != 200 || !strings.Contains(w.Body.String(), `"code":"unknown_namespace"`) || !strings.Contains(w.Body.String(), `"failed":1`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	wantPublished(t, f)
}

// As over the native protocol, more than 1,000 is as good as 1,000.
func TestLimitIsCapped(t *testing.T) {
	for _, limit := range []string{"1000", "1001", "10000", "2000000000"} {
		f := &fake{}
		h := newHandler(t, f, Config{})
		for _, path := range []string{"/v1/channels", "/v1/channels/c/history", "/v1/channels/c/presence", "/v1/users/u/connections"} {
			if w := ask(t, h, "GET", path+"?limit="+limit, ""); w.Code != 200 {
				t.Errorf("%s?limit=%s: %d %s", path, limit, w.Code, w.Body)
			}
		}
		for _, c := range f.calls {
			if max(c.limit, c.history.Limit) != ListMax {
				t.Errorf("limit=%s: %+v, want %d", limit, c, ListMax)
			}
		}
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// A body in gzip is what it stands for, and bounded by that.
func TestGzipBodies(t *testing.T) {
	h := newHandler(t, &fake{}, Config{PublishBodyMaxBytes: 64 << 10})
	zip := func(target, body, kind string) *httptest.ResponseRecorder {
		_, w := send(h, "POST", target, body, "Content-Encoding", "gzip", "Content-Type", kind)
		return w
	}
	wantAnswer(t, zip("/v1/publish", gzipped(`{"channel":"c","data":1}`), typeJSON), 200, askedOnce)
	if w := zip("/v1/batch", gzipped("{\"channel\":\"c\",\"data\":1}\n{\"channel\":\"c\",\"data\":2}\n"), typeNDJSON); strings.Count(w.Body.String(), `"matched":3`) != 2 {
		t.Errorf("a stream: %d %s", w.Code, w.Body)
	}
	if w := zip("/v1/users/4/subscriptions/c", gzipped(""), typeJSON); w.Code != 200 {
		t.Errorf("an empty body: %d %s", w.Code, w.Body)
	}
	bomb := gzipped(`{"channel":"c","data":"` + strings.Repeat("x", 10<<20) + `"}`)
	if len(bomb) > 64<<10 {
		t.Fatalf("it has %d bytes", len(bomb))
	}
	wantProblem(t, zip("/v1/publish", bomb, typeJSON), 413, CodeBodyTooLarge, "65536 bytes")
	if w := zip("/v1/batch", bomb, typeNDJSON); !strings.Contains(w.Body.String(), string(CodeBodyTooLarge)) {
		t.Errorf("a line too long: %d %s", w.Code, w.Body)
	}
	whole := gzipped(`{"channel":"c","data":1}`)
	for name, body := range map[string]string{
		"not gzip": `{"channel":"c","data":1}`, "nothing": "", "cut": whole[:len(whole)-9], "a bit off": whole[:12] + "\xff" + whole[13:],
	} {
		if w := zip("/v1/publish", body, typeJSON); w.Code != 400 {
			t.Errorf("%s: %d %s, want 400", name, w.Code, w.Body)
		}
	}
}

// What other servers did not answer is missing, and named; the rest is there.
func TestIncomplete(t *testing.T) {
	f := &fake{err: fmt.Errorf("x: %w", &server.IncompleteError{Missing: []string{"b", "k4"}})}
	for _, request := range []string{
		"GET /v1/channels", "GET /v1/channels?order=clients", "GET /v1/connections", "GET /v1/users/42/connections", "DELETE /v1/users/42/connections",
		"DELETE /v1/connections/0-1-2@k3", "POST /v1/users/42/subscriptions/news", "DELETE /v1/users/42/subscriptions/news",
	} {
		method, path, _ := strings.Cut(request, " ")
		w := ask(t, newHandler(t, f, Config{}), method, path, "")
		if body := strings.TrimSpace(w.Body.String()); w.Code != 200 || !strings.HasSuffix(body, `,"incomplete":true,"missing":["b","k4"]}`) || strings.Contains(body, `":null`) {
			t.Errorf("%s: %d %s", request, w.Code, body)
		}
	}
}

func TestNodes(t *testing.T) {
	w := ask(t, newHandler(t, &fake{}, Config{}), "GET", "/v1/nodes", "")
	want := `{"nodes":[{"id":"k3","name":"a","version":"1.2","addrs":["127.0.0.1:80"],"connections":7,"since":5,"self":true},{"id":"k4","addrs":[],"connections":0,"since":-62135596800000}]}`
	if body := strings.TrimSpace(w.Body.String()); w.Code != 200 || body != want {
		t.Errorf("%d %s", w.Code, body)
	}
}

func TestStats(t *testing.T) {
	w := ask(t, newHandler(t, &fake{}, Config{}), "GET", "/v1/stats", "")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["connections"] != 7.0 || got["invalid_utf8"] != 1.0 || got["tls_handshakes"] != 0.0 || got["engine_accept_errors"] != 0.0 {
		t.Errorf("stats %s", w.Body)
	}
}

func TestHealth(t *testing.T) {
	w := ask(t, newHandler(t, &fake{}, Config{Healthy: func() error { return server.ErrServerClosed }}), "GET", "/healthz", "")
	wantProblem(t, w, 503, CodeUnhealthy, "losed")
}

func TestWrongAddressMethodAndType(t *testing.T) {
	h := newHandler(t, &fake{}, Config{})
	wantProblem(t, ask(t, h, "GET", "/v1/nothing", ""), 404, CodeNotFound, "/v1/openapi.json")
	wantProblem(t, ask(t, h, "GET", "/v1/channels/a/b/history", ""), 404, CodeNotFound, "%2F")
	for target, allow := range map[string]string{
		"PUT /v1/publish":                 "POST",
		"GET /v1/batch":                   "POST",
		"POST /v1/channels":               "GET, HEAD",
		"PUT /v1/users/42/connections":    "DELETE, GET, HEAD",
		"GET /v1/users/4/subscriptions/c": "DELETE, POST",
		"OPTIONS /v1/publish":             "POST",
	} {
		method, path, _ := strings.Cut(target, " ")
		w := ask(t, h, method, path, "")
		wantProblem(t, w, 405, CodeMethod, "Use ")
		if got := w.Header().Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", target, got, allow)
		}
	}
	body := `{"channel":"c","data":1}`
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", "application/json; charset=latin1", "a/b/c"} {
		wantProblem(t, ask(t, h, "POST", "/v1/publish", body, "Content-Type", kind), 415, CodeMediaType, "")
	}
	wantProblem(t, ask(t, h, "POST", "/v1/publish", body, "Content-Encoding", "br"), 415, CodeMediaType, "gzip")
	// Without a body there is nothing that needs a type.
	if w := ask(t, h, "POST", "/v1/users/4/subscriptions/c", "", "Content-Type", ""); w.Code != 200 {
		t.Errorf("without a body: %d %s, want 200", w.Code, w.Body)
	}
	wantProblem(t, ask(t, h, "POST", "/v1/publish", "", "Content-Type", ""), 400, CodeBadJSON, "body is empty")
	for _, kind := range []string{"application/json; charset=UTF-8", "Application/JSON"} {
		wantAnswer(t, ask(t, h, "POST", "/v1/publish", `{"channel":"c","data":1,"wait":"0s"}`, "Content-Type", kind), 200, askedOnce)
		h = newHandler(t, &fake{}, Config{})
	}
}

const askedOnce = `{"epoch":"e1","offset":1,"matched":3,"written":2,"complete":true,"duplicate":false}`

// A web page must not reach the API of the machine it is looked at on, by a name
// of its own or from elsewhere.
func TestWebPagesAreKeptOut(t *testing.T) {
	body := `{"channel":"c","data":1}`
	for _, header := range [][]string{
		{"Host", "evil.example:8081"},
		{"Host", "127.0.0.1.evil.example"},
		{"Host", "192.0.2.1"},
		{"Host", ""},
		{"Origin", "https://evil.example"},
		{"Sec-Fetch-Site", "cross-site"},
	} {
		f := &fake{}
		w := ask(t, newHandler(t, f, Config{}), "POST", "/v1/publish", body, header...)
		if w.Code != 403 {
			t.Errorf("%q: %d %s, want 403", header, w.Code, w.Body)
		}
		wantPublished(t, f)
		// Reading is not for pages either.
		f = &fake{}
		if w := ask(t, newHandler(t, f, Config{}), "GET", "/v1/channels", "", header...); w.Code != 403 || len(f.calls) > 0 {
			t.Errorf("GET with %q: %d %s, want 403", header, w.Code, w.Body)
		}
	}
	for _, header := range [][]string{{"Origin", "http://127.0.0.1:8081"}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}} {
		if w := ask(t, newHandler(t, &fake{}, Config{}), "GET", "/v1/channels", "", header...); w.Code != 200 {
			t.Errorf("GET with %q: %d %s, want 200", header, w.Code, w.Body)
		}
	}
	for _, host := range []string{"localhost", "localhost:8081", "LOCALHOST", "127.0.0.1:1", "127.8.8.8", "[::1]:8081", "[::1]"} {
		if w := ask(t, newHandler(t, &fake{}, Config{}), "POST", "/v1/publish", body, "Host", host); w.Code != 200 {
			t.Errorf("host %s: %d %s, want 200", host, w.Code, w.Body)
		}
	}
	if w := ask(t, newHandler(t, &fake{}, Config{Hosts: []string{"api.internal"}}), "POST", "/v1/publish", body, "Host", "api.internal:80"); w.Code != 200 {
		t.Errorf("a host of Config.Hosts: %d %s, want 200", w.Code, w.Body)
	}
	if w := ask(t, newHandler(t, &fake{}, Config{Hosts: []string{"*"}}), "POST", "/v1/publish", body, "Host", "any.example"); w.Code != 200 {
		t.Errorf("any host: %d %s, want 200", w.Code, w.Body)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{Config{PublishBodyMaxBytes: 5}, "PublishBodyMaxBytes is 5"},
		{Config{BatchMaxItems: -1}, "BatchMaxItems is -1"},
		{Config{Wait: time.Hour}, "Wait is 1h0m0s"},
		{Config{Keys: []Key{{Name: "a", Hash: HashKey("a"), Scopes: []Scope{"write"}}}}, `the scope "write"`},
	} {
		if _, err := New(&fake{}, tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("New(%+v): %v, want %q", tc.cfg, err, tc.want)
		}
	}
}
