package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/api"
)

// Nothing here takes nearly that long.
const testTimeout = 20 * time.Second

var _ api.Backend = (*server.Server)(nil)

// site is a server with its publish API.
type site struct {
	t    *testing.T
	srv  *server.Server
	ws   string // address of the clients' port
	http *httptest.Server
}

// newSite starts a server whose clients say who they are, and what they
// subscribe to, in their request's query.
func newSite(t *testing.T) *site {
	t.Helper()
	srv, err := server.New(server.Config{
		Listen: []string{"127.0.0.1:0"}, Engine: server.Engine{Loops: 2}, Namespaces: []server.Namespace{{Name: "news", HistoryMessages: 10}},
		Handler: server.Handler{Upgrade: func(r *server.UpgradeRequest) error {
			user, channel, _ := strings.Cut(strings.TrimPrefix(r.Path(), "/"), "/")
			r.User = user
			if channel != "" {
				r.Channels = []string{channel}
			}
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	h, err := api.New(srv, api.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, srv: srv, ws: srv.Addrs()[0].String(), http: httptest.NewServer(h)}
	t.Cleanup(s.http.Close)
	return s
}

// dial connects a user, subscribed to a channel.
func (s *site) dial(user, channel string) *wstest.Client {
	s.t.Helper()
	return wstest.Dial(s.t, fmt.Sprintf("ws://%s/%s/%s", s.ws, user, channel))
}

// ask sends a request and reads the answer.
func (s *site) ask(method, path, body string, into any) int {
	s.t.Helper()
	r, err := http.NewRequest(method, s.http.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: testTimeout}
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			s.t.Fatalf("%s %s: %d %s: %v", method, path, response.StatusCode, answer, err)
		}
	}
	return response.StatusCode
}

type receipt struct {
	Epoch               string
	Offset              uint64
	Matched, Written    int
	Complete, Duplicate bool
	Code, Detail        string
}

// One application's day, over real sockets.
func TestOverTheServer(t *testing.T) {
	s := newSite(t)
	ann, bob := s.dial("ann", "news:1"), s.dial("bob", "news:1")

	var r receipt
	for i := 1; i <= 3; i++ {
		body := fmt.Sprintf(`{"channel":"news:1","data":{"n":%d}}`, i)
		if status := s.ask("POST", "/v1/publish", body, &r); status != 200 || r.Offset != uint64(i) || r.Epoch == "" || r.Matched != 2 || r.Written != 2 || !r.Complete {
			t.Fatalf("publication %d: %d %+v", i, status, r)
		}
		for _, conn := range []*wstest.Client{ann, bob} {
			conn.Want(fmt.Sprintf(`{"n":%d}`, i))
		}
	}
	if status := s.ask("POST", "/v1/publish", `{"user":"bob","base64":"AP8="}`, &r); status != 200 || r.Matched != 1 {
		t.Errorf("to bob: %d %+v", status, r)
	}
	bob.WantBinary("\x00\xff")

	var history struct {
		Offset   uint64
		Messages []struct {
			Offset uint64
			Data   json.RawMessage
		}
		More bool
	}
	s.ask("GET", "/v1/channels/news:1/history?limit=2&reverse=true", "", &history)
	if history.Offset != 3 || !history.More || len(history.Messages) != 2 || history.Messages[0].Offset != 3 || !bytes.Equal(history.Messages[0].Data, []byte(`{"n":3}`)) {
		t.Errorf("history %+v", history)
	}
	var presence struct {
		Clients int
		Members []struct{ Client, User string }
	}
	if s.ask("GET", "/v1/channels/news:1/presence", "", &presence); presence.Clients != 2 || len(presence.Members) != 2 {
		t.Errorf("presence %+v", presence)
	}
	var channels struct{ Channels []struct{ Name string } }
	if s.ask("GET", "/v1/channels?prefix=news", "", &channels); len(channels.Channels) != 1 || channels.Channels[0].Name != "news:1" {
		t.Errorf("channels %+v", channels)
	}
	var done struct{ Connections int }
	if status := s.ask("POST", "/v1/users/ann/subscriptions/extra", "", &done); status != 200 || done.Connections != 1 {
		t.Errorf("subscribing ann: %d %+v", status, done)
	}
	s.ask("POST", "/v1/publish", `{"channel":"extra","text":"only ann"}`, &r)
	ann.Want("only ann")
	var connections struct {
		Connections []struct {
			Client   string
			Channels []string
		}
	}
	if s.ask("GET", "/v1/users/ann/connections", "", &connections); len(connections.Connections) != 1 || len(connections.Connections[0].Channels) != 2 {
		t.Fatalf("ann's connections %+v", connections)
	}
	if status := s.ask("DELETE", "/v1/connections/"+connections.Connections[0].Client+"?code=4000&reason=enough", "", &done); status != 200 || done.Connections != 1 {
		t.Errorf("disconnecting ann: %d %+v", status, done)
	}
	_, _, err := wsutil.ReadServerData(ann)
	if closed, ok := err.(wsutil.ClosedError); !ok || closed.Code != 4000 || closed.Reason != "enough" {
		t.Errorf("ann was told %v", err)
	}
	if status := s.ask("DELETE", "/v1/channels/news:1/connections", "", &done); status != 200 || done.Connections != 1 {
		t.Errorf("disconnecting all: %d %+v", status, done)
	}
	_, _, err = wsutil.ReadServerData(bob)
	if closed, ok := err.(wsutil.ClosedError); !ok || closed.Code != ws.StatusCode(api.CloseDisconnected) {
		t.Errorf("bob was told %v", err)
	}
	var stats struct{ Opened uint64 }
	if s.ask("GET", "/v1/stats", "", &stats); stats.Opened != 2 {
		t.Errorf("stats %+v", stats)
	}
}

// A repetition is told what it repeats, however short it waits.
func TestRepetitions(t *testing.T) {
	s := newSite(t)
	body := `{"channel":"news:2","data":1,"wait":"0s","idempotency_key":"once"}`
	var first, again receipt
	s.ask("POST", "/v1/publish", body, &first)
	for range 20 {
		if status := s.ask("POST", "/v1/publish", body, &again); status != 200 || !again.Duplicate || again.Offset != 1 || again.Epoch != first.Epoch {
			t.Fatalf("a repetition of %+v: %d %+v", first, status, again)
		}
	}
}

func TestServersRefusals(t *testing.T) {
	s := newSite(t)
	var p receipt
	if status := s.ask("POST", "/v1/publish", `{"channel":"`+strings.Repeat("x", 300)+`","data":1}`, &p); status != 400 || p.Code != string(api.CodeBadName) || !strings.Contains(p.Detail, "300 bytes") {
		t.Errorf("a long name: %d %+v", status, p)
	}
	if status := s.ask("DELETE", "/v1/connections/nobody", "", &p); status != 400 || p.Code != string(api.CodeBadName) || !strings.Contains(p.Detail, "nobody") {
		t.Errorf("no connection's name: %d %+v", status, p)
	}
}

// Repetitions while the first publication is under way have its position, and wait
// for its receipt as long as they like. Another message with its key is refused.
func TestRepetitionsAtTheSameTime(t *testing.T) {
	s := newSite(t)
	s.dial("ann", "news:3")
	const keys, copies = 20, 8
	var mu sync.Mutex
	offsets := map[string]map[uint64]int{}
	firsts := 0
	var wg sync.WaitGroup
	for i := range keys * copies {
		wg.Go(func() {
			key := fmt.Sprint(i % keys)
			var r receipt
			if status := s.ask("POST", "/v1/publish", `{"channel":"news:3","data":1,"wait":"0s","idempotency_key":"`+key+`"}`, &r); status != 200 {
				t.Errorf("a repetition: %d %+v", status, r)
			}
			mu.Lock()
			defer mu.Unlock()
			if offsets[key] == nil {
				offsets[key] = map[uint64]int{}
			}
			offsets[key][r.Offset]++
			if !r.Duplicate {
				firsts++
			}
		})
	}
	wg.Wait()
	if firsts != keys {
		t.Errorf("%d were published, want %d", firsts, keys)
	}
	for key, of := range offsets {
		if len(of) != 1 {
			t.Errorf("key %s has the offsets %v, want one", key, of)
		}
	}
	for _, other := range []string{`"data":2`, `"data":1,"key":"k"`, `"data":1,"from":"ann"`, `"text":"1","spread":"1s"`, `"base64":"MQ=="`} {
		var r receipt
		if status := s.ask("POST", "/v1/publish", `{"channel":"news:3",`+other+`,"idempotency_key":"1"}`, &r); status != 422 || r.Code != string(api.CodeKeyReused) {
			t.Errorf("%s: %d %+v, want 422", other, status, r)
		}
	}
	var r receipt
	if s.ask("POST", "/v1/publish", `{"channel":"news:4","data":2,"idempotency_key":"1"}`, &r); r.Duplicate || r.Offset != 1 {
		t.Errorf("to another channel: %+v", r)
	}
}

// What would be lost is refused from the beginning of a shutdown, however long the
// clients take to say goodbye.
func TestPublishDuringShutdown(t *testing.T) {
	s := newSite(t)
	ann := s.dial("ann", "news:5") // does not answer the Close frame
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.srv.Shutdown(ctx) }()
	published := 0
	for {
		var r receipt
		status := s.ask("POST", "/v1/publish", `{"channel":"news:5","data":1}`, &r)
		if status == 503 && r.Code == string(api.CodeClosed) {
			break
		}
		if status != 200 {
			t.Fatalf("%d %+v", status, r)
		}
		published++
	}
	// All that was acknowledged comes before the Close frame.
	for range published {
		ann.Want("1")
	}
	if header, err := ws.ReadHeader(ann); err != nil || header.OpCode != ws.OpClose {
		t.Errorf("%+v, %v; want the Close frame", header, err)
	}
	select {
	case err := <-ended:
		t.Errorf("the server has not waited for the client: %v", err)
	default:
	}
	cancel()
	<-ended
}

// A misspelt namespace is an error that names those that there are.
func TestMisspeltNamespace(t *testing.T) {
	s := newSite(t)
	for target, body := range map[string]string{
		"POST /v1/publish":                         `{"channel":"nwes:1","data":1}`,
		"GET /v1/channels/nwes:1/history":          "",
		"GET /v1/channels/nwes:1/presence":         "",
		"DELETE /v1/channels/nwes:1/connections":   "",
		"POST /v1/users/ann/subscriptions/nwes:1":  "",
		"DELETE /v1/users/ann/subscriptions/nwes:": "",
	} {
		method, path, _ := strings.Cut(target, " ")
		var p receipt
		if status := s.ask(method, path, body, &p); status != 404 || p.Code != string(api.CodeNoNamespace) || !strings.Contains(p.Detail, `"nwes" (there are "news")`) {
			t.Errorf("%s: %d %+v", target, status, p)
		}
	}
	for _, fine := range []string{"news:1", "plain", "user:ann"} {
		if status := s.ask("POST", "/v1/publish", `{"channel":"`+fine+`","data":1}`, nil); status != 200 {
			t.Errorf("%s: %d", fine, status)
		}
	}
}

// Lists beyond a page are read page by page; one connection has its own messages and
// subscriptions.
func TestConnectionsByName(t *testing.T) {
	s := newSite(t)
	const all = 23
	conns := map[string]*wstest.Client{}
	for i := range all {
		user := fmt.Sprintf("user%02d", i)
		conns[user] = s.dial(user, "news:9")
	}
	var first []string
	for _, path := range []string{"/v1/connections", "/v1/channels/news:9/presence", "/v1/channels"} {
		if path == "/v1/channels" {
			for i := range all {
				s.dial("another", fmt.Sprintf("news:list%02d", i))
			}
			path += "?prefix=news:list&"
		} else {
			path += "?"
		}
		var names []string
		pages := 0
		for cursor := ""; ; pages++ {
			var page struct {
				Connections, Members []struct{ Client string }
				Channels             []struct{ Name string }
				More, Truncated      bool
				Next                 string
			}
			if status := s.ask("GET", path+"limit=5&cursor="+cursor, "", &page); status != 200 {
				t.Fatalf("%s: %d", path, status)
			}
			for _, c := range append(page.Connections, page.Members...) {
				names = append(names, c.Client)
			}
			for _, c := range page.Channels {
				names = append(names, c.Name)
			}
			if page.More || page.Truncated {
				cursor = page.Next
				continue
			}
			if page.Next != "" {
				t.Errorf("%s: the last page has the cursor %q", path, page.Next)
			}
			break
		}
		seen := map[string]bool{}
		for _, name := range names {
			seen[name] = true
		}
		if len(names) != all || len(seen) != all || pages != 4 {
			t.Errorf("%s: %d entries, %d different, on %d pages before the last; want %d, %d, 4", path, len(names), len(seen), pages, all, all)
		}
		if first == nil {
			first = names
		}
	}
	client := first[7]
	var info struct {
		Connections []struct{ Client, User string }
	}
	s.ask("GET", "/v1/connections?limit=1000", "", &info)
	user := ""
	for _, c := range info.Connections {
		if c.Client == client {
			user = c.User
		}
	}
	conn := conns[user]
	if conn == nil {
		t.Fatalf("%s is of %q: %+v", client, user, info)
	}
	var r receipt
	if status := s.ask("POST", "/v1/publish", `{"client":"`+client+`","data":{"only":"you"}}`, &r); status != 200 || r.Matched != 1 || !r.Complete {
		t.Errorf("to one connection: %d %+v", status, r)
	}
	conn.Want(`{"only":"you"}`)
	var done struct{ Connections int }
	path := "/v1/connections/" + client + "/subscriptions/extra"
	if status := s.ask("POST", path, "", &done); status != 200 || done.Connections != 1 {
		t.Errorf("subscribing: %d %+v", status, done)
	}
	if s.ask("POST", "/v1/publish", `{"channel":"extra","data":1}`, &r); r.Matched != 1 {
		t.Errorf("to its channel: %+v", r)
	}
	conn.Want("1")
	for _, want := range []int{1, 0} {
		if status := s.ask("DELETE", path, "", &done); status != 200 || done.Connections != want {
			t.Errorf("unsubscribing: %d %+v, want %d", status, done, want)
		}
	}
	for _, want := range []int{1, 0} {
		if status := s.ask("DELETE", "/v1/connections/"+client, "", &done); status != 200 || done.Connections != want {
			t.Errorf("disconnecting: %d %+v, want %d", status, done, want)
		}
		if _, err := ws.ReadHeader(conn); want == 1 && err != nil {
			t.Error(err)
		}
		_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(nil)))
		_ = conn.Close()
	}
	if s.ask("POST", "/v1/publish", `{"client":"`+client+`","data":1}`, &r); r.Matched != 0 {
		t.Errorf("to one that has gone: %+v", r)
	}
}

// A cleared history is empty; positions go on.
func TestClearHistory(t *testing.T) {
	s := newSite(t)
	var r receipt
	for range 3 {
		s.ask("POST", "/v1/publish", `{"channel":"news:6","data":1}`, &r)
	}
	epoch := r.Epoch
	var cleared struct{ Messages int }
	for _, want := range []int{3, 0} {
		if status := s.ask("DELETE", "/v1/channels/news:6/history", "", &cleared); status != 200 || cleared.Messages != want {
			t.Errorf("cleared: %d %+v, want %d", status, cleared, want)
		}
	}
	if s.ask("POST", "/v1/publish", `{"channel":"news:6","data":2}`, &r); r.Epoch != epoch || r.Offset != 4 {
		t.Errorf("the next message: %+v, want offset 4 of %s", r, epoch)
	}
	var history struct {
		Offset   uint64
		Messages []struct{ Offset uint64 }
		Gap      bool
	}
	if s.ask("GET", "/v1/channels/news:6/history?since_offset=1&since_epoch="+epoch, "", &history); !history.Gap || history.Offset != 4 || len(history.Messages) != 1 || history.Messages[0].Offset != 4 {
		t.Errorf("history since 1: %+v", history)
	}
}
