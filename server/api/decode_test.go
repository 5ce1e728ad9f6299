package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
)

// rebuild goes through a value with a walker and puts together what it saw.
func rebuild(t *testing.T, value []byte) any {
	switch value[0] {
	case '{':
		out := map[string]any{}
		for w := jsonx.Walk(value); w.More(); {
			quoted, v := w.Member()
			name, ok := unquote(quoted)
			if !ok {
				t.Fatalf("%q is no name", quoted)
			}
			out[string(name)] = rebuild(t, v)
		}
		return out
	case '[':
		out := []any{}
		for w := jsonx.Walk(value); w.More(); {
			out = append(out, rebuild(t, w.Element()))
		}
		return out
	case '"':
		text, ok := unquote(value)
		if !ok && bytes.Contains(bytes.ToLower(value), []byte(`\ud`)) {
			break // half of a surrogate pair, which encoding/json makes U+FFFD of
		}
		if !ok {
			t.Fatalf("%q is no string", value)
		}
		return string(text)
	}
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		t.Fatalf("the walker took %q for a value: %v", value, err)
	}
	return v
}

// FuzzWalk: whatever encoding/json takes for an object in UTF-8, the walker sees the same in it.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a" : [ ] , "b":{"c":"}\"],\\"}, "":null }`, `{"a":[1,2,[{}]],"b":-1e5}`, "{\"\\u0061\":\n\ttrue\r}",
		`{"a":"\\"}`, `[1]`, `{"a":1}x`, `{"a":[true,false,null,"x",0.5]}`, `{"a":{"a":{"a":[[[]]]}}}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := object(b); err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Code != CodeBadJSON {
				t.Errorf("object(%q): %v", b, err)
			}
			return
		}
		var want any
		if err := json.Unmarshal(b, &want); err != nil {
			// What is valid and can't be read is a number beyond float64.
			return
		}
		if got := rebuild(t, bytes.TrimSpace(b)); !reflect.DeepEqual(got, want) {
			t.Errorf("walking %q gave %v, want %v", b, got, want)
		}
	})
}

// FuzzPublication: no body makes it panic, and what is taken has one audience.
func FuzzPublication(f *testing.F) {
	f.Add([]byte(`{"channel":"c","data":{"a":1},"wait":"5s","spread":"1m","key":"k","from":"x","idempotency_key":"i"}`))
	f.Add([]byte(`{"user":"\u0000","base64":"AAAA"}`))
	f.Add([]byte(`{"all":true,"text":null,"data":null}`))
	h := newHandler(f, &fake{}, Config{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p publication
		if h.parseOne(&p, b, 5*time.Second) != nil {
			return
		}
		audiences := 0
		for _, there := range []bool{p.Channel != "", p.User != "", p.All} {
			if there {
				audiences++
			}
		}
		if audiences != 1 || p.wait < 0 || p.wait > WaitMax || p.Spread < 0 || p.Spread > SpreadMax || p.Payload == nil || p.Type == 0 {
			t.Errorf("%q was taken for %+v", b, p)
		}
	})
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// body is a request's body that can be read again.
type body struct{ strings.Reader }

func (*body) Close() error { return nil }

const benchmarkBody = `{"channel":"news","data":{"title":"hello","text":"0123456789012345678901234567890123456789"},"wait":"0s"}`

// publisher sends the same request again and again, without net/http's part.
func publisher(tb testing.TB, cfg Config) func() {
	h := newHandler(tb, quiet{}, cfg)
	r := httptest.NewRequest("POST", "http://localhost/v1/publish", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+secret)
	b, w := &body{}, &discard{http.Header{}}
	r.Body, r.ContentLength = b, int64(len(benchmarkBody))
	return func() {
		b.Reset(benchmarkBody)
		clear(w.header)
		h.ServeHTTP(w, r)
		if len(w.header["Content-Type"]) != 1 || w.header["Content-Type"][0] != typeJSON {
			tb.Fatalf("refused: %v", w.header)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for name, cfg := range map[string]Config{
		"open":  {},
		"keyed": {Keys: []Key{{Name: "k", Hash: HashKey(secret), Scopes: Scopes(), Rate: 1e9}}},
	} {
		b.Run(name, func(b *testing.B) {
			publish := publisher(b, cfg)
			b.ReportAllocs()
			for b.Loop() {
				publish()
			}
		})
	}
}

// Publishing must stay cheap: beside net/http's own part this allocates a channel
// name and little else.
func TestPublishAllocatesLittle(t *testing.T) {
	const most = 12
	if n := testing.AllocsPerRun(200, publisher(t, Config{})); n > most {
		t.Errorf("a publication takes %v allocations, want %d at most", n, most)
	}
}

// quiet takes everything.
type quiet struct{ Backend }

func (quiet) CheckNamespace(string) error { return nil }

func (quiet) BeginPublish(context.Context, server.Publication) func() (server.Receipt, error) {
	return func() (server.Receipt, error) {
		return server.Receipt{Position: history.Position{Epoch: "e1", Offset: 7}, Matched: 3, Written: 3, Complete: true}, nil
	}
}
