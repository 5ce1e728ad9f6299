package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/server"
)

func TestPublishMany(t *testing.T) {
	f := &fake{publish: func(p server.Publication) (server.Receipt, error) {
		if p.Channel == "full" {
			return server.Receipt{}, server.ErrBusy
		}
		return server.Receipt{Matched: 1, Written: 1, Complete: true}, nil
	}}
	w := ask(t, newHandler(t, f, Config{}), "POST", "/v1/publish/many", `{"channels":["news","full"],"users":["42"],"data":[1],"key":"k"}`, "Idempotency-Key", "i")
	wantAnswer(t, w, 200, `{"results":[
		{"channel":"news","matched":1,"written":1,"complete":true,"duplicate":false},
		{"channel":"full","problem":{"status":503,"title":"Service Unavailable","code":"busy","detail":"The server has too much waiting to take more; nothing was done. Try again after Retry-After, or publish slower.","retry_after":1}},
		{"user":"42","matched":1,"written":1,"complete":true,"duplicate":false}],"failed":1}`)
	each := server.Publication{Type: server.Text, Payload: []byte(`[1]`), Key: "k"}
	one, two, three := each, each, each
	one.Channel, one.IdempotencyKey = "news", "i#0"
	two.Channel, two.IdempotencyKey = "full", "i#1"
	three.User, three.IdempotencyKey = "42", "i#2"
	wantPublished(t, f, one, two, three)
}

func TestPublishManyRefusals(t *testing.T) {
	for _, tc := range []struct {
		body   string
		status int
		code   Code
		detail string
	}{
		{`{"channels":"news","data":1}`, 400, CodeBadValue, "array of strings"},
		{`{"channels":["news",5],"data":1}`, 400, CodeBadValue, "array of strings"},
		{`{"users":[""],"data":1}`, 400, CodeBadValue, "not empty"},
		{`{"users":[],"channels":[],"data":1}`, 400, CodeMissingMember, "at least one"},
		{`{"data":1}`, 400, CodeMissingMember, "channels, users"},
		{`{"channels":["a"]}`, 400, CodeMissingMember, "no message"},
		{`{"channel":"a","data":1}`, 400, CodeUnknownMember, `"channel"`},
		{`{"channels":["a","b"],"users":["c"],"data":1}`, 413, CodeTooManyItems, "3 publications"},
	} {
		f := &fake{}
		w := ask(t, newHandler(t, f, Config{BatchMaxItems: 2}), "POST", "/v1/publish/many", tc.body)
		wantProblem(t, w, tc.status, tc.code, tc.detail)
		wantPublished(t, f)
	}
}

func TestBatch(t *testing.T) {
	f := &fake{}
	// Items that are wrong are not what openapi.json allows, and stop nothing.
	_, w := send(newHandler(t, f, Config{}), "POST", "/v1/batch", `{"wait":"0s","publications":[
		{"channel":"a","data":{"x":[]}}, {"chanel":"a","data":1}, {"all":true,"text":"t","idempotency_key":"mine"}, 5 ]}`, "Idempotency-Key", "i")
	var got struct {
		Results []struct {
			Offset  uint64
			Problem *Problem
		}
		Failed int
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("%v: %d %s", err, w.Code, w.Body)
	}
	if got.Failed != 2 || len(got.Results) != 4 || got.Results[0].Offset != 1 || got.Results[2].Offset != 2 ||
		got.Results[1].Problem.Code != CodeUnknownMember || got.Results[3].Problem.Code != CodeBadJSON {
		t.Errorf("results %s", w.Body)
	}
	wantPublished(t, f,
		server.Publication{Channel: "a", Type: server.Text, Payload: []byte(`{"x":[]}`), IdempotencyKey: "i#0"},
		server.Publication{All: true, Type: server.Text, Payload: []byte("t"), IdempotencyKey: "mine"})
	for i, wait := range f.deadlines {
		if wait != 0 {
			t.Errorf("publication %d waited %v", i, wait)
		}
	}
	wantAnswer(t, ask(t, newHandler(t, &fake{}, Config{}), "POST", "/v1/batch", `{"publications":[]}`), 200, `{"results":[],"failed":0}`)
}

func TestBatchRefusals(t *testing.T) {
	for _, tc := range []struct {
		body   string
		status int
		code   Code
		detail string
	}{
		{`{}`, 400, CodeMissingMember, "publications"},
		{`{"publications":{}}`, 400, CodeBadValue, "an array"},
		{`{"publication":[]}`, 400, CodeUnknownMember, `"publication"`},
		{`{"publications":[],"wait":5}`, 400, CodeBadValue, "wait"},
		{`{"publications":[],"wait":"5"}`, 400, CodeBadValue, "wait"},
		{`[]`, 400, CodeBadJSON, "object"},
		{`{"publications":[{},{},{}]}`, 413, CodeTooManyItems, "3 publications"},
	} {
		wantProblem(t, ask(t, newHandler(t, &fake{}, Config{BatchMaxItems: 2}), "POST", "/v1/batch", tc.body), tc.status, tc.code, tc.detail)
	}
}

// Lines are answered one by one while the request is still being sent.
func TestStream(t *testing.T) {
	f := &fake{}
	site := httptest.NewServer(newHandler(t, f, Config{PublishBodyMaxBytes: 1024}))
	defer site.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	body, lines := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, "POST", site.URL+"/v1/batch", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	r.Header.Set("Idempotency-Key", "i")
	send := func(line string) {
		t.Helper()
		if _, err := io.WriteString(lines, line); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = io.WriteString(lines, `{"channel":"a","data":1,"wait":"0s"}`+"\n\n  \n") }()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || kind != "application/x-ndjson" {
		t.Fatalf("status %d, type %q", response.StatusCode, kind)
	}
	answers := bufio.NewReader(response.Body)
	want := func(parts ...string) {
		t.Helper()
		line, err := answers.ReadString('\n')
		for _, part := range parts {
			if err != nil || !strings.Contains(line, part) {
				t.Fatalf("answer %q, %v; want %q", line, err, part)
			}
		}
	}
	want(`"offset":1`)
	send(`{"channel":"a",` + "\r\n")
	want(`"problem":`, string(CodeBadJSON))
	send(`{"channel":"a","data":2,"wait":"0s"}` + "\r\n" + `{"channel":"b","data":3,"wait":"0s"}` + "\n")
	want(`"offset":2`)
	want(`"offset":3`)
	send(`{"channel":"c","data":"the last has no line feed","wait":"0s"}`)
	lines.Close()
	want(`"offset":4`)
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("at the end %q, %v", rest, err)
	}
	if len(f.published) != 4 || f.published[3].IdempotencyKey != "i#4" {
		t.Errorf("published %+v", f.published)
	}
}

// What can't be read ends a stream, and says so.
func TestStreamLineTooLong(t *testing.T) {
	f := &fake{}
	body := `{"channel":"a","data":1}` + "\n" + `{"channel":"a","data":"` + strings.Repeat("x", 5000) + `"}` + "\n" + `{"channel":"a","data":3}`
	w := ask(t, newHandler(t, f, Config{PublishBodyMaxBytes: 1024}), "POST", "/v1/batch", body, "Content-Type", "application/x-ndjson")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"offset":1`) || !strings.Contains(lines[1], string(CodeBodyTooLarge)) {
		t.Errorf("answers %q", lines)
	}
}

// A batch counts its publications, not its requests.
func TestBatchTakesFromTheRate(t *testing.T) {
	f := &fake{}
	h := newHandler(t, f, Config{Keys: []Key{{Name: "slow", Hash: HashKey(secret), Scopes: []Scope{ScopePublish}, Rate: 0.001}}})
	item := `{"channel":"a","data":1}`
	w := ask(t, h, "POST", "/v1/batch", fmt.Sprintf(`{"publications":[%s,%s]}`, item, item), "Authorization", "Bearer "+secret)
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"failed":1`) || !strings.Contains(w.Body.String(), string(CodeRateLimited)) || len(f.published) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	limited := ask(t, h, "POST", "/v1/publish", item, "Authorization", "Bearer "+secret)
	wantProblem(t, limited, 429, CodeRateLimited, "0.001 requests a second")
	if got := limited.Header().Get("Retry-After"); got != "1000" && got != "999" {
		t.Errorf("Retry-After %q, want some 1000 seconds", got)
	}
}

// later is a backend whose results are there when all publications of a test have come.
type later struct {
	*fake
	due sync.WaitGroup
}

func (l *later) BeginPublish(ctx context.Context, p server.Publication) func() (server.Receipt, error) {
	result := l.fake.BeginPublish(ctx, p)
	l.due.Done()
	return func() (server.Receipt, error) {
		l.due.Wait()
		return result()
	}
}

// What comes together is on its way to a broker together, and its results keep their order.
func TestManyAreBegunBeforeTheFirstIsWaitedFor(t *testing.T) {
	const n = 5
	lines := strings.Repeat("{\"channel\":\"c\",\"data\":1}\n", n)
	for _, tc := range []struct{ target, body, contentType string }{
		{"/v1/batch", `{"publications":[` + strings.TrimSuffix(strings.ReplaceAll(lines, "\n", ","), ",") + `]}`, "application/json"},
		{"/v1/batch", lines, typeNDJSON},
		{"/v1/publish/many", `{"channels":["a","b","c","d","e"],"data":1}`, "application/json"},
	} {
		backend := &later{fake: &fake{}}
		backend.due.Add(n)
		w := ask(t, newHandler(t, backend, Config{}), "POST", tc.target, tc.body, "Content-Type", tc.contentType)
		offsets := regexp.MustCompile(`"offset":\d`).FindAllString(w.Body.String(), -1)
		if want := []string{`"offset":1`, `"offset":2`, `"offset":3`, `"offset":4`, `"offset":5`}; !slices.Equal(offsets, want) {
			t.Errorf("%s as %s: %s", tc.target, tc.contentType, w.Body)
		}
	}
}
