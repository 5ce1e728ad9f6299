package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/server/protocol"
)

func newAsker(t *testing.T, url string, change func(*AskerConfig)) *Asker {
	t.Helper()
	c := AskerConfig{URL: url, Secrets: []string{testSecret}, Timeout: 20 * time.Second}
	if change != nil {
		change(&c)
	}
	a, err := NewAsker(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// says answers every request with a status and a body.
func says(status int, body string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // a client that is gone is another test's matter
	}
}

// asked is the body of the only request, which must be signed.
func asked(t *testing.T, rec *receiver) string {
	t.Helper()
	requests := rec.all()
	if len(requests) != 1 {
		t.Fatalf("%d requests, want 1", len(requests))
	}
	if err := Verify(testSecret, requests[0].header, requests[0].body, 0); err != nil {
		t.Errorf("Verify: %v", err)
	}
	return string(requests[0].body)
}

// The hooks of protocol.Application take the methods as they are.
var _ = func(a *Asker) *protocol.Application {
	return &protocol.Application{Connect: a.Connect, Refresh: a.Refresh, Subscribe: a.Subscribe, Publish: a.Publish, Call: a.Call}
}

func TestConnectIsAllowed(t *testing.T) {
	rec := newReceiver(t, says(200, `{"user":"42","expires":4102444800,"channels":["news","user:42"],
		"allow":{"subscribe":["room:*"],"publish":["room:1"]},"rate":10.0,"info":{"name":"Ada"},"data":{"motd":"hi"}}`))
	a := newAsker(t, rec.URL, nil)
	r := &protocol.ConnectRequest{
		Client: "c1", Token: "t", Name: "js/1", Data: json.RawMessage(`{"a":1}`), RemoteAddr: netip.MustParseAddrPort("[2001:db8::1]:5000"),
		Upgrade: &protocol.UpgradeParts{Headers: map[string]string{"Origin": "https://a.example"}, Cookies: map[string]string{"sid": "1"}, Query: map[string]string{"room": "7"}},
	}
	if err := a.Connect(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if got, want := asked(t, rec), `{"type":"connect","client":"c1","token":"t","name":"js/1","address":"[2001:db8::1]:5000","headers":{"Origin":"https://a.example"},"cookies":{"sid":"1"},"query":{"room":"7"},"data":{"a":1}}`; got != want {
		t.Errorf("asked %s\nwant  %s", got, want)
	}
	want := &protocol.ConnectRequest{
		Client: "c1", Token: "t", Name: "js/1", Data: r.Data, RemoteAddr: r.RemoteAddr, Upgrade: r.Upgrade,
		User: "42", Expires: time.Unix(4102444800, 0), Channels: []string{"news", "user:42"},
		Allow:       protocol.Permissions{Subscribe: []string{"room:*"}, Publish: []string{"room:1"}},
		MessageRate: 10, Info: json.RawMessage(`{"name":"Ada"}`), Reply: json.RawMessage(`{"motd":"hi"}`),
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if got, want := a.Stats(), (AskerStats{Asked: 1, Allowed: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestOtherQuestionsAreAllowed(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name, answer, question string
		ask                    func(*Asker) (got any, err error)
		want                   any
	}{
		{"connect, nothing said", `{}`, `{"type":"connect","client":"c1","user":"7"}`,
			func(a *Asker) (any, error) {
				r := &protocol.ConnectRequest{Client: "c1", User: "7"}
				return r, a.Connect(ctx, r)
			}, &protocol.ConnectRequest{Client: "c1", User: "7"}},
		{"connect, null for nothing", `{"user":null,"expires":null,"expires_in":null,"channels":null,"allow":null,"rate":null,"info":null,"data":null}`, `{"type":"connect","client":"c1","user":"7"}`,
			func(a *Asker) (any, error) {
				r := &protocol.ConnectRequest{Client: "c1", User: "7"}
				return r, a.Connect(ctx, r)
			}, &protocol.ConnectRequest{Client: "c1", User: "7"}},
		{"refresh", `{"expires":4102444800.25}`, `{"type":"refresh","client":"c1","user":"7","token":"t2"}`,
			func(a *Asker) (any, error) {
				r := &protocol.ConnectRequest{Client: "c1", User: "7", Token: "t2"}
				return r, a.Refresh(ctx, r)
			}, &protocol.ConnectRequest{Client: "c1", User: "7", Token: "t2", Expires: time.UnixMilli(4102444800250)}},
		{"subscribe", `{"expires":4102444800}`, `{"type":"subscribe","client":"c1","user":"7","token":"t","channel":"room:1"}`,
			func(a *Asker) (any, error) {
				r := &protocol.SubscribeRequest{Client: "c1", User: "7", Token: "t", Channel: "room:1"}
				return r, a.Subscribe(ctx, r)
			}, &protocol.SubscribeRequest{Client: "c1", User: "7", Token: "t", Channel: "room:1", Expires: time.Unix(4102444800, 0)}},
		{"publish as it is", `{}`, `{"type":"publish","client":"c1","user":"7","channel":"room:1","data":[1,2]}`,
			func(a *Asker) (any, error) {
				r := &protocol.PublishRequest{Client: "c1", User: "7", Channel: "room:1", Data: json.RawMessage(`[1,2]`)}
				return r, a.Publish(ctx, r)
			}, &protocol.PublishRequest{Client: "c1", User: "7", Channel: "room:1", Data: json.RawMessage(`[1,2]`)}},
		{"publish something else", `{"data":{"clean":true}}`, `{"type":"publish","client":"c1","channel":"room:1","data":1}`,
			func(a *Asker) (any, error) {
				r := &protocol.PublishRequest{Client: "c1", Channel: "room:1", Data: json.RawMessage(`1`)}
				return r, a.Publish(ctx, r)
			}, &protocol.PublishRequest{Client: "c1", Channel: "room:1", Data: json.RawMessage(`{"clean":true}`)}},
		{"call", `{"data":[3]}`, `{"type":"call","client":"c1","user":"7","method":"sum","data":[1,2]}`,
			func(a *Asker) (any, error) {
				r := &protocol.CallRequest{Client: "c1", User: "7", Method: "sum", Data: json.RawMessage(`[1,2]`)}
				return r, a.Call(ctx, r)
			}, &protocol.CallRequest{Client: "c1", User: "7", Method: "sum", Data: json.RawMessage(`[1,2]`), Reply: json.RawMessage(`[3]`)}},
	} {
		rec := newReceiver(t, says(200, tc.answer))
		got, err := tc.ask(newAsker(t, rec.URL, nil))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if question := asked(t, rec); question != tc.question {
			t.Errorf("%s: asked %s\nwant %s", tc.name, question, tc.question)
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

func TestExpiresIn(t *testing.T) {
	rec := newReceiver(t, says(200, `{"expires_in":3600}`))
	r := &protocol.SubscribeRequest{}
	if err := newAsker(t, rec.URL, nil).Subscribe(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if d := time.Until(r.Expires); d < 58*time.Minute || d > time.Hour {
		t.Errorf("expires in %v, want an hour", d)
	}
}

// What a client is told, and what the log tells, of every answer that allows nothing.
func TestAnswersThatAllowNothing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(int, http.ResponseWriter, *http.Request)
		want   protocol.Error
		log    string // empty: nothing is logged
		stats  AskerStats
	}{
		{"401", says(401, ""), protocol.Error{Code: protocol.CodeUnauthorized, Message: "refused by the application"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403", says(403, ""), protocol.Error{Code: protocol.CodePermissionDenied, Message: "refused by the application"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403 with reasons", says(403, `{"code":1234,"message":"banned","more":1}`), protocol.Error{Code: 1234, Message: "banned"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403 with a message", says(403, `{"message":"banned"}`), protocol.Error{Code: protocol.CodePermissionDenied, Message: "banned"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403 with a whole number", says(403, `{"code":1234.0,"message":"banned"}`), protocol.Error{Code: 1234, Message: "banned"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403 with a strange code", says(403, `{"code":-1}`), protocol.Error{Code: protocol.CodePermissionDenied, Message: "refused by the application"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403 with a page", says(403, "<html>"), protocol.Error{Code: protocol.CodePermissionDenied, Message: "refused by the application"}, "the application refused a client", AskerStats{Refused: 1}},
		{"401 with a huge page", says(401, strings.Repeat("x", 1<<20)), protocol.Error{Code: protocol.CodeUnauthorized, Message: "refused by the application"}, "the application refused a client", AskerStats{Refused: 1}},
		{"403 with a long message", says(403, `{"message":"`+strings.Repeat("é", 1000)+`"}`), protocol.Error{Code: protocol.CodePermissionDenied, Message: strings.Repeat("é", 512)}, "the application refused a client", AskerStats{Refused: 1}},
		{"expired", says(200, `{"expires":1764000000}`), protocol.Error{Code: protocol.CodeTokenExpired, Message: "what the application allows has expired already"}, "the application refused a client", AskerStats{Refused: 1}},
		{"expired, in seconds", says(200, `{"expires_in":-5}`), protocol.Error{Code: protocol.CodeTokenExpired, Message: "what the application allows has expired already"}, "the application refused a client", AskerStats{Refused: 1}},

		{"500", says(500, `{"user":"42"}`), protocol.Error{Code: protocol.CodeTimeout, Message: "the application did not answer; whether it did something is not known"}, "HTTP 500 Internal Server Error", AskerStats{Failed: 1}},
		{"404", says(404, ""), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "HTTP 404", AskerStats{Failed: 1}},
		{"204", says(204, ""), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "HTTP 204", AskerStats{Failed: 1}},
		{"redirect", func(_ int, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
			protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "redirects are not followed", AskerStats{Failed: 1}},
		{"empty", says(200, ""), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "the answer is empty", AskerStats{Failed: 1}},
		{"a page", says(200, "<html>log in</html>"), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "not a JSON object", AskerStats{Failed: 1}},
		{"null", says(200, "null"), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "not a JSON object", AskerStats{Failed: 1}},
		{"two objects", says(200, `{} {}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "more than one", AskerStats{Failed: 1}},
		{"a brace too many", says(200, `{}}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "more than one", AskerStats{Failed: 1}},
		{"half an object", says(200, `{"user":`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "unexpected EOF", AskerStats{Failed: 1}},
		{"a misspelt field", says(200, `{"expire":1764000000}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, `unknown field \"expire\"`, AskerStats{Failed: 1}},
		{"a wrong type", says(200, `{"user":42}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "user of type string", AskerStats{Failed: 1}},
		{"milliseconds", says(200, `{"expires":1764000000123}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "want Unix time in seconds", AskerStats{Failed: 1}},
		{"many seconds", says(200, `{"expires_in":1e300}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "want seconds", AskerStats{Failed: 1}},
		{"two ends", says(200, `{"expires_in":1,"expires":4102444800}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "want one of them", AskerStats{Failed: 1}},
		{"a negative rate", says(200, `{"rate":-1}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "rate", AskerStats{Failed: 1}},
		{"a huge answer", says(200, `{"data":"`+strings.Repeat("x", 1<<20)+`"}`), protocol.Error{Code: protocol.CodeInternal, Message: "the application could not answer"}, "too big: AskerConfig.AnswerMaxBytes is 65536", AskerStats{Failed: 1}},

		{"429", func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		},
			protocol.Error{Code: protocol.CodeBusy, Message: "the application is busy or away; nothing was done", RetryAfter: 7 * time.Second}, "HTTP 429", AskerStats{Busy: 1}},
		{"502", says(502, "<html>"), protocol.Error{Code: protocol.CodeTimeout, Message: "the application did not answer; whether it did something is not known"}, "HTTP 502", AskerStats{Failed: 1}},
		{"504", says(504, ""), protocol.Error{Code: protocol.CodeTimeout, Message: "the application did not answer; whether it did something is not known"}, "HTTP 504", AskerStats{Failed: 1}},
		{"503", says(503, ""), protocol.Error{Code: protocol.CodeBusy, Message: "the application is busy or away; nothing was done", RetryAfter: time.Second}, "HTTP 503", AskerStats{Busy: 1}},
		{"no answer at all", func(int, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			protocol.Error{Code: protocol.CodeTimeout, Message: "the application did not answer; whether it did something is not known"}, "EOF", AskerStats{Failed: 1}},
		{"cut short", func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"user":"42"}`))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, protocol.Error{Code: protocol.CodeTimeout, Message: "the application did not answer; whether it did something is not known"}, "unexpected EOF", AskerStats{Failed: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rec := newReceiver(t, tc.answer)
			var log logBuffer
			a := newAsker(t, rec.URL, func(c *AskerConfig) { c.Logger = log.logger() })
			r := &protocol.ConnectRequest{Client: "c1", Token: "secrettoken"}
			err := a.Connect(context.Background(), r)
			var got *protocol.Error
			if !errors.As(err, &got) || *got != tc.want {
				t.Errorf("got %+v, want %+v", err, tc.want)
			}
			if len(rec.all()) != 1 {
				t.Errorf("%d requests, want 1: the client tries again", len(rec.all()))
			}
			if !reflect.DeepEqual(r, &protocol.ConnectRequest{Client: "c1", Token: "secrettoken"}) {
				t.Errorf("the request was changed: %+v", r)
			}
			tc.stats.Asked = 1
			if stats := a.Stats(); stats != tc.stats {
				t.Errorf("%+v, want %+v", stats, tc.stats)
			}
			text := log.String()
			if tc.log == "" && text != "" || !strings.Contains(text, tc.log) || strings.Contains(text, "secrettoken") {
				t.Errorf("the log should say %q:\n%s", tc.log, text)
			}
		})
	}
}

func TestApplicationIsAway(t *testing.T) {
	rec := newReceiver(t, nil)
	rec.Close()
	var log logBuffer
	a := newAsker(t, rec.URL, func(c *AskerConfig) { c.Logger = log.logger() })
	err := a.Call(context.Background(), &protocol.CallRequest{})
	var got *protocol.Error
	if !errors.As(err, &got) || got.Code != protocol.CodeBusy || got.RetryAfter <= 0 || !strings.Contains(log.String(), "connection refused") {
		t.Errorf("%v, log:\n%s", err, log.String())
	}
}

// 111 says that nothing was done. Where the application may have done what it was
// asked, its client must not take that for an invitation to ask again.
func TestWhatMayHaveBeenDone(t *testing.T) {
	status := func(code int, body string) func(int, http.ResponseWriter, *http.Request) { return says(code, body) }
	reset := func(_ int, w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // an RST
		_ = conn.Close()
	}
	half := func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte(`{"data":1`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for _, tc := range []struct {
		name                string
		answer              func(int, http.ResponseWriter, *http.Request)
		call, publish, subs protocol.Code
	}{
		{"reset", reset, 112, 112, 112},
		{"half an answer", half, 112, 112, 112},
		{"500", status(500, ""), 112, 112, 112},
		{"502", status(502, ""), 112, 112, 112},
		{"504", status(504, ""), 112, 112, 112},
		{"bad JSON", status(200, "<html>"), 112, 112, 100},
		{"204", status(204, ""), 112, 112, 100},
		{"409", status(409, ""), 112, 112, 100},
		{"429", status(429, ""), 111, 111, 111},
		{"503", status(503, ""), 111, 111, 111},
		// A call may also fail by the application's own decision.
		{"404", status(404, ""), 109, 112, 100},
		{"422", status(422, ""), 105, 112, 100},
		{"422 with a reason", status(422, `{"code":2001,"message":"sold out"}`), 2001, 112, 100},
		{"409 with a reason", status(409, `{"code":2002}`), 2002, 112, 100},
		{"403", status(403, ""), 103, 103, 103},
	} {
		rec := newReceiver(t, tc.answer)
		a := newAsker(t, rec.URL, nil)
		for name, question := range map[string]struct {
			ask  func() error
			want protocol.Code
		}{
			"call":      {func() error { return a.Call(t.Context(), &protocol.CallRequest{Method: "buy"}) }, tc.call},
			"publish":   {func() error { return a.Publish(t.Context(), &protocol.PublishRequest{Channel: "a"}) }, tc.publish},
			"subscribe": {func() error { return a.Subscribe(t.Context(), &protocol.SubscribeRequest{Channel: "a"}) }, tc.subs},
		} {
			var got *protocol.Error
			if err := question.ask(); !errors.As(err, &got) || got.Code != question.want {
				t.Errorf("%s, %s: %v, want code %d", tc.name, name, err, question.want)
			} else if (got.Code == protocol.CodeBusy) != (got.RetryAfter > 0) {
				t.Errorf("%s, %s: %v, retry after %v", tc.name, name, err, got.RetryAfter)
			}
		}
	}
}

// Refusals say who it was about, a few in ten seconds.
func TestRefusalsAreLogged(t *testing.T) {
	rec := newReceiver(t, says(403, `{"message":"banned"}`))
	var log logBuffer
	a := newAsker(t, rec.URL, func(c *AskerConfig) { c.Logger = log.logger() })
	for range 3 * refusedLines {
		_ = a.Connect(t.Context(), &protocol.ConnectRequest{Client: "1-2-3", User: "42", Name: "app/7", Token: "hidden", RemoteAddr: netip.MustParseAddrPort("192.0.2.1:5000")})
	}
	text := log.String()
	for _, want := range []string{"level=INFO", "question=connect", "conn_id=1-2-3", "user=42", "client_name=app/7", "192.0.2.1:5000", "banned"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "\n"); n != refusedLines || strings.Contains(text, "hidden") {
		t.Errorf("%d lines, want %d, without the token:\n%s", n, refusedLines, text)
	}
}

func TestQuestionsTimeOut(t *testing.T) {
	hang := func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	drip := func(_ int, w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"user":`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request){"hangs": hang, "drips": drip} {
		rec := newReceiver(t, answer)
		a := newAsker(t, rec.URL, func(c *AskerConfig) { c.Timeout = 100 * time.Millisecond })
		err := a.Connect(context.Background(), &protocol.ConnectRequest{})
		var got *protocol.Error
		if !errors.As(err, &got) || got.Code != protocol.CodeTimeout {
			t.Errorf("%s: %v, want ErrorTimeout", name, err)
		}
		if stats := a.Stats(); stats != (AskerStats{Asked: 1, TimedOut: 1}) {
			t.Errorf("%s: %+v", name, stats)
		}
	}
}

// A client that leaves ends its question.
func TestAbandonedQuestion(t *testing.T) {
	ended := make(chan struct{})
	rec := newReceiver(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	})
	var log logBuffer
	a := newAsker(t, rec.URL, func(c *AskerConfig) { c.Logger = log.logger() })
	ctx, cancel := context.WithCancel(context.Background())
	errc := make(chan error, 1)
	go func() { errc <- a.Connect(ctx, &protocol.ConnectRequest{}) }()
	waitFor(t, "the question is under way", func() bool { return len(rec.all()) == 1 })
	cancel()
	if err := <-errc; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	<-ended
	if stats := a.Stats(); stats != (AskerStats{Asked: 1, Failed: 1}) || log.String() != "" {
		t.Errorf("%+v, log:\n%s", stats, log.String())
	}
}

// At most MaxPending questions are under way; others wait for their turn, for
// as long as an answer may take.
func TestMaxPending(t *testing.T) {
	const most, all = 4, 40
	var now, peak atomic.Int64
	release := make(chan struct{})
	rec := newReceiver(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte("{}"))
	})
	a := newAsker(t, rec.URL, func(c *AskerConfig) { c.MaxPending = most })
	var wg sync.WaitGroup
	for range all {
		wg.Go(func() {
			if err := a.Connect(context.Background(), &protocol.ConnectRequest{}); err != nil {
				t.Errorf("a question that waited: %v", err)
			}
		})
	}
	waitFor(t, "all have asked and the first are under way", func() bool { return a.Stats().Pending == all && now.Load() == most })

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	var busy *protocol.Error
	if err := a.Connect(ctx, &protocol.ConnectRequest{}); !errors.As(err, &busy) || busy.Code != protocol.CodeBusy {
		t.Errorf("without a turn in time: %v, want ErrorBusy", err)
	}
	close(release)
	wg.Wait()
	if got := peak.Load(); got != most {
		t.Errorf("%d questions were under way at a time, want %d", got, most)
	}
	if stats := a.Stats(); stats != (AskerStats{Asked: all + 1, Allowed: all, Busy: 1}) {
		t.Errorf("%+v", stats)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	rec := newReceiver(t, says(200, "{}"))
	a := newAsker(t, rec.URL, nil)
	var fresh atomic.Int64
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			fresh.Add(1)
		}
	}})
	for range 20 {
		if err := a.Connect(ctx, &protocol.ConnectRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := fresh.Load(); got != 1 {
		t.Errorf("20 questions took %d connections, want 1", got)
	}
}

// An application that ends a connection just when it is used again is asked
// again, but not told twice to publish.
func TestConnectionThatEndsWhenItIsUsedAgain(t *testing.T) {
	for _, tc := range []struct {
		name     string
		ask      func(*Asker) error
		requests int
		allowed  bool
	}{
		{"connect", func(a *Asker) error { return a.Connect(context.Background(), &protocol.ConnectRequest{}) }, 3, true},
		{"publish", func(a *Asker) error { return a.Publish(context.Background(), &protocol.PublishRequest{}) }, 2, false},
	} {
		rec := &receiver{answer: func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte("{}"))
		}}
		rec.Server = httptest.NewServer(rec)
		a := newAsker(t, rec.URL, nil)
		if err := tc.ask(a); err != nil {
			t.Fatal(err)
		}
		if err := tc.ask(a); (err == nil) != tc.allowed {
			t.Errorf("%s: %v", tc.name, err)
		}
		requests := rec.all()
		if len(requests) != tc.requests {
			t.Errorf("%s: %d requests, want %d", tc.name, len(requests), tc.requests)
		} else if first, again := requests[1], requests[len(requests)-1]; first.header.Get(HeaderID) != again.header.Get(HeaderID) {
			t.Errorf("%s: the repetition has another id", tc.name)
		}
		a.Close()
		rec.Close()
	}
}

func TestAskerConfigErrors(t *testing.T) {
	_, err := NewAsker(AskerConfig{URL: "/hook", Timeout: -1, MaxPending: -1, AnswerMaxBytes: 1})
	if err == nil {
		t.Fatal("NewAsker took everything")
	}
	for _, field := range []string{"URL", "Secrets", "Timeout", "MaxPending", "AnswerMaxBytes"} {
		if !strings.Contains(err.Error(), "webhook: AskerConfig."+field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
}
