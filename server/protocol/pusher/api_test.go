package pusher_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/pusher"
)

// What requests of the HTTP API are answered, and what is wrong with those that are refused.
func TestAPI(t *testing.T) {
	r := start(t, func(_ *server.Config, o *pusher.Options) { o.Apps[0].EventMaxBytes = 100 })
	a, b := r.connect(first), r.connect(first)
	a.subscribe("news", "")
	a.subscribe("presence-x", person("ann"))
	b.subscribe("presence-x", person("ann"))
	r.connect(other).subscribe("elsewhere", "")
	names := func(n int) string {
		list, _ := json.Marshal(slices.Repeat([]string{"news"}, n))
		return string(list)
	}
	events := func(n int) string {
		return `{"batch":[` + strings.TrimSuffix(strings.Repeat(`{"name":"e","channel":"other","data":"1"},`, n), ",") + "]}"
	}
	for _, tc := range []struct {
		method, path, query, body string
		status                    int
		response                  string
	}{
		{"POST", "/events", "", `{"name":"e","channels":` + names(100) + `,"data":"1"}`, 200, "{}"},
		{"POST", "/events", "", `{"name":"e","channels":` + names(101) + `,"data":"1"}`, 400, "more than 100 channels"},
		{"POST", "/events", "", `{"name":"e","channels":["news"],"data":"` + strings.Repeat("x", 101) + `"}`, 413, "exceeds the allowed maximum"},
		{"POST", "/events", "", `{"name":"e","channels":["news"]}`, 400, "data"},
		{"POST", "/events", "", `{"channels":["news"],"data":"1"}`, 400, "name"},
		{"POST", "/events", "", `{"name":"e","data":"1"}`, 400, "channels"},
		{"POST", "/events", "", `{"name":"e","channels":["a b"],"data":"1"}`, 400, "Invalid channel name"},
		{"POST", "/events", "", `{"name":"e","channels":["news"],"data":"1","socket_id":"x"}`, 400, "Invalid socket id"},
		{"POST", "/events", "", `{"name":"e","channels":["private-encrypted-a","news"],"data":"1"}`, 400, "encrypted"},
		{"POST", "/events", "", `{`, 400, "JSON"},
		{"POST", "/events", "", `{"name":"e","channels":["presence-x"],"data":"1","info":"user_count,subscription_count"}`, 200, `{"channels":{"presence-x":{"user_count":1,"subscription_count":2}}}`},
		{"POST", "/batch_events", "", events(10), 200, "{}"},
		{"POST", "/batch_events", "", events(11), 400, "want 1 to 10"},
		{"POST", "/batch_events", "", `{"batch":[]}`, 400, "want 1 to 10"},
		{"POST", "/batch_events", "", `{"batch":[{"name":"e","channel":"news","data":"1","info":"subscription_count"},{"name":"e","channel":"other","data":"1"}]}`, 200, `{"batch":[{"subscription_count":1},{}]}`},
		{"GET", "/channels", "", "", 200, `{"channels":{"news":{},"presence-x":{}}}`},
		{"GET", "/channels", "filter_by_prefix=presence-&info=user_count", "", 200, `{"channels":{"presence-x":{"user_count":1}}}`},
		{"GET", "/channels", "info=subscription_count", "", 200, `{"channels":{"news":{"subscription_count":1},"presence-x":{"subscription_count":2}}}`},
		{"GET", "/channels", "info=user_count", "", 400, "filter_by_prefix"},
		{"GET", "/channels/news", "info=subscription_count", "", 200, `{"occupied":true,"subscription_count":1}`},
		{"GET", "/channels/nothing", "", "", 200, `{"occupied":false}`},
		{"GET", "/channels/news", "info=user_count", "", 400, "presence channels only"},
		{"GET", "/channels/presence-x/users", "", "", 200, `{"users":[{"id":"ann"}]}`},
		{"GET", "/channels/news/users", "", "", 400, "presence"},
		{"GET", "/nothing", "", "", 404, "There is no GET"},
		{"DELETE", "/events", "", "", 404, "There is no DELETE"},
	} {
		r.wantAPI(first, tc.method, tc.path, tc.query, tc.body, tc.status, tc.response)
	}
	// What a signature is worth.
	now := time.Now().Unix()
	request := func(query string) string {
		return "/apps/1/channels?" + query + "&auth_signature=" + sign(first, "GET\n/apps/1/channels\n"+query)
	}
	for target, response := range map[string]string{
		request(fmt.Sprintf("auth_key=key1&auth_timestamp=%d&auth_version=1.0", now-599)):                                                     "",
		request(fmt.Sprintf("auth_key=key1&auth_timestamp=%d&auth_version=1.0", now-700)):                                                     "Timestamp expired",
		request(fmt.Sprintf("auth_key=key1&auth_timestamp=%d&auth_version=1.0", now+700)):                                                     "Timestamp expired",
		request(fmt.Sprintf("auth_key=key2&auth_timestamp=%d&auth_version=1.0", now)):                                                         "Unknown auth_key",
		request(fmt.Sprintf("auth_key=key1&auth_timestamp=%d&auth_version=2.0", now)):                                                         "auth_version",
		request("auth_key=key1&auth_version=1.0"):                                                                                             "auth_timestamp",
		request(fmt.Sprintf("auth_timestamp=%d&auth_version=1.0", now)):                                                                       "auth_key",
		request(fmt.Sprintf("auth_key=key1&auth_timestamp=%d&auth_version=1.0", now)) + "&filter_by_prefix=x":                                 "Invalid signature",
		request(fmt.Sprintf("auth_key=key1&auth_timestamp=%d&auth_version=1.0&body_md5=0", now)):                                              "body_md5",
		fmt.Sprintf("/apps/1/channels?auth_key=key1&auth_timestamp=%d&auth_version=1.0&auth_signature=%s", now, sign(other, "anything else")): "Invalid signature",
	} {
		want := 401
		if response == "" {
			want, response = 200, "channels"
		}
		if status, got := r.request("GET", target, ""); status != want || !strings.Contains(got, response) {
			t.Errorf("%s: %d %s, want %d %s", target, status, got, want, response)
		}
	}
	if status, got := r.request("GET", "/apps/3/channels", ""); status != 404 {
		t.Errorf("an app that does not exist: %d %s", status, got)
	}
}

// Web hooks are told what happens, signed.
func TestWebHooks(t *testing.T) {
	type hook struct {
		Name, Channel, Event, Data string
		UserID                     string `json:"user_id"`
		SocketID                   string `json:"socket_id"`
		SubscriptionCount          int    `json:"subscription_count"`
	}
	told := make(chan hook, 100)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var batch struct {
			TimeMS int64 `json:"time_ms"`
			Events []hook
		}
		if err := json.Unmarshal(body, &batch); err != nil || batch.TimeMS == 0 {
			t.Errorf("%s: %v", body, err)
		}
		if key, signature := r.Header.Get("X-Pusher-Key"), r.Header.Get("X-Pusher-Signature"); key != first.Key || signature != sign(first, string(body)) {
			t.Errorf("a web hook is signed with %s by %s", signature, key)
		}
		for _, e := range batch.Events {
			told <- e
		}
	}))
	t.Cleanup(backend.Close)
	r := start(t, func(_ *server.Config, o *pusher.Options) {
		o.Apps[0].WebhookURL = backend.URL
		o.Apps[0].WebhookEvents = []string{"channel_occupied", "channel_vacated", "member_added", "member_removed", "client_event", "cache_miss", "subscription_count"}
		o.Apps[0].SubscriptionCounts = true
	})
	want := func(w hook) {
		t.Helper()
		select {
		case got := <-told:
			if got != w {
				t.Fatalf("got %+v, want %+v", got, w)
			}
		case <-time.After(patience):
			t.Fatalf("no %+v", w)
		}
	}
	ann, bob := r.connect(first), r.connect(first)
	r.connect(other).subscribe("news", "")
	ann.subscribe("presence-x", person("ann"))
	want(hook{Name: "channel_occupied", Channel: "presence-x"})
	want(hook{Name: "member_added", Channel: "presence-x", UserID: "ann"})
	bob.subscribe("presence-x", person("bob"))
	want(hook{Name: "member_added", Channel: "presence-x", UserID: "bob"})
	bob.send(`{"event":"client-x","channel":"presence-x","data":{"n":1}}`)
	want(hook{Name: "client_event", Channel: "presence-x", Event: "client-x", Data: `{"n":1}`, UserID: "bob", SocketID: bob.socket})
	bob.close()
	want(hook{Name: "member_removed", Channel: "presence-x", UserID: "bob"})
	ann.close()
	want(hook{Name: "member_removed", Channel: "presence-x", UserID: "ann"})
	want(hook{Name: "channel_vacated", Channel: "presence-x"})
	cid := r.connect(first)
	cid.subscribe("cache-x", "")
	cid.want("pusher:cache_miss", "cache-x")
	want(hook{Name: "channel_occupied", Channel: "cache-x"})
	want(hook{Name: "cache_miss", Channel: "cache-x"})
	cid.subscribe("news", "")
	for got := range told { // the other's end may come between
		if got == (hook{Name: "subscription_count", Channel: "news", SubscriptionCount: 1}) {
			break
		}
	}
}

// What is wrong with apps is told by field.
func TestApps(t *testing.T) {
	for field, app := range map[string]pusher.App{
		"ID":                 {ID: "a/b", Key: "k", Secret: "s"},
		"Key":                {ID: "1", Secret: "s"},
		"Secret":             {ID: "1", Key: "k"},
		"WebhookURL":         {ID: "1", Key: "k", Secret: "s", WebhookURL: "example.com"},
		"WebhookEvents":      {ID: "1", Key: "k", Secret: "s", WebhookEvents: []string{"x"}},
		"PresenceMaxMembers": {ID: "1", Key: "k", Secret: "s", PresenceMaxMembers: -1},
		"ClientEventRate":    {ID: "1", Key: "k", Secret: "s", ClientEventRate: -1},
	} {
		if _, err := pusher.New(pusher.Options{Apps: []pusher.App{app}}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v, want an error of %s", app, err, field)
		}
	}
	if _, err := pusher.New(pusher.Options{Apps: []pusher.App{first, first}}); err == nil || !contains(err.Error(), "each ID once", "each key once") {
		t.Errorf("an app twice: %v", err)
	}
	if _, err := pusher.New(pusher.Options{}); err == nil {
		t.Error("no app is no error")
	}
}
