package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const (
	secret = "0123456789abcdef"
	// printf %s 0123456789abcdef | sha256sum
	secretHash = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"
)

func TestParseKeys(t *testing.T) {
	keys, err := ParseKeys(strings.NewReader(`
# name  scopes  key
app     publish,read  ` + secretHash + `  channels=news:*,user:*  rate=2.5
   ops	all	another-long-secret-key

`))
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 {
		t.Fatalf("keys %+v", keys)
	}
	if k := keys[0]; k.Name != "app" || k.Hash != HashKey(secret) || !slices.Equal(k.Scopes, []Scope{ScopePublish, ScopeRead}) || !slices.Equal(k.Channels, []string{"news:*", "user:*"}) || k.Rate != 2.5 {
		t.Errorf("the first key is %+v", k)
	}
	if k := keys[1]; k.Name != "ops" || k.Hash != HashKey("another-long-secret-key") || !slices.Equal(k.Scopes, Scopes()) || k.Channels != nil || k.Rate != 0 {
		t.Errorf("the second key is %+v", k)
	}
	for _, tc := range []struct{ file, want string }{
		{"", "no key in it"},
		{"app publish\n", "line 1: want name, scopes and key"},
		{"# x\napp publish tooshortsecret\n", "line 2: the key has 14 bytes: want at least 16"},
		{"app publish sha256:12\n", "64 hexadecimal digits"},
		{"app write " + secret, `the scope "write"`},
		{"app publish " + secret + " rate=0", "above 0"},
		{"app publish " + secret + " rate=many", "above 0"},
		{"app publish " + secret + " topsecret", "channels=… and rate=…"},
		{"app publish " + secret + " channels=", `the channel pattern ""`},
		{"app publish " + secret + " channels=a*b", `the channel pattern "a*b"`},
		{"app publish " + secret + "\napp read another-long-secret-key", `two keys have the name "app"`},
		{"app publish " + secret + "\nops read " + secretHash, "are the same"},
		{"app publish " + secret + " rate=Inf", "the rate"},
	} {
		_, err := ParseKeys(strings.NewReader(tc.file))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.file, err, tc.want)
			continue
		}
		for _, hidden := range []string{secret, "tooshort", "topsecret"} {
			if strings.Contains(err.Error(), hidden) {
				t.Errorf("%q: the error shows a secret: %v", tc.file, err)
			}
		}
	}
}

// keyed is a handler with three keys.
func keyed(t *testing.T, f *fake) http.Handler {
	keys, err := ParseKeys(strings.NewReader(`
app     publish    secret-of-the-application
editor  publish,read,disconnect,subscribe  secret-of-the-editors channels=news:*,user:7
ops     read,disconnect,stats  secret-of-the-operators`))
	if err != nil {
		t.Fatal(err)
	}
	return newHandler(t, f, Config{Keys: keys})
}

func TestAuthentication(t *testing.T) {
	body := `{"channel":"c","data":1}`
	for _, tc := range []struct {
		header []string
		status int
		code   Code
		detail string
	}{
		{nil, 401, CodeUnauthorized, "Authorization: Bearer KEY"},
		{[]string{"Authorization", "Bearer secret-of-the-applicatio"}, 401, CodeUnauthorized, "not known"},
		{[]string{"Authorization", "Bearer "}, 401, CodeUnauthorized, "needs an API key"},
		{[]string{"Authorization", "Basic secret-of-the-application"}, 401, CodeUnauthorized, `"Basic"`},
		{[]string{"X-API-Key", "nothing"}, 401, CodeUnauthorized, "not known"},
		{[]string{"Authorization", "Bearer secret-of-the-operators"}, 403, CodeForbidden, "the scope publish"},
		{[]string{"Authorization", "Bearer secret-of-the-application", "Origin", "https://evil.example"}, 403, CodeCrossSite, "another site"},
	} {
		f := &fake{}
		w := ask(t, keyed(t, f), "POST", "/v1/publish", body, tc.header...)
		wantProblem(t, w, tc.status, tc.code, tc.detail)
		if got := w.Header().Get("WWW-Authenticate"); (got == `Bearer realm="roost"`) != (tc.status == 401) {
			t.Errorf("%q: WWW-Authenticate %q", tc.header, got)
		}
		wantPublished(t, f)
	}
	for _, header := range [][]string{
		{"Authorization", "Bearer secret-of-the-application"},
		{"Authorization", "bearer  secret-of-the-application"},
		{"X-API-Key", "secret-of-the-application"},
		// With keys the name of the host does not matter.
		{"X-API-Key", "secret-of-the-application", "Host", "roost.internal"},
	} {
		if w := ask(t, keyed(t, &fake{}), "POST", "/v1/publish", body, header...); w.Code != 200 {
			t.Errorf("%q: %d %s", header, w.Code, w.Body)
		}
	}
	for _, open := range []string{"/healthz", "/readyz", "/v1/openapi.json"} {
		if w := ask(t, keyed(t, &fake{}), "GET", open, ""); w.Code != 200 {
			t.Errorf("%s without a key: %d", open, w.Code)
		}
	}
}

// Two keys never take each other's publications for repetitions.
func TestIdempotencyKeysAreOfTheirKey(t *testing.T) {
	f := &fake{}
	ask(t, keyed(t, f), "POST", "/v1/publish", `{"channel":"c","data":1,"idempotency_key":"i"}`, "X-API-Key", "secret-of-the-application")
	if len(f.published) != 1 || f.published[0].IdempotencyKey != "app/i" {
		t.Errorf("published %+v", f.published)
	}
}

func TestChannelPatterns(t *testing.T) {
	for _, tc := range []struct {
		method, target, body string
		allowed              bool
	}{
		{"POST", "/v1/publish", `{"channel":"news:sport","data":1}`, true},
		{"POST", "/v1/publish", `{"channel":"new","data":1}`, false},
		{"POST", "/v1/publish", `{"user":"7","data":1}`, true},
		{"POST", "/v1/publish", `{"channel":"user:7","data":1}`, true},
		{"POST", "/v1/publish", `{"user":"77","data":1}`, false},
		{"POST", "/v1/publish", `{"all":true,"data":1}`, false},
		{"GET", "/v1/channels?prefix=news:", "", true},
		{"GET", "/v1/channels?prefix=news", "", false},
		{"GET", "/v1/channels", "", false},
		{"GET", "/v1/channels/news:a/history", "", true},
		{"GET", "/v1/channels/chat:a/history", "", false},
		{"GET", "/v1/channels/chat:a/presence", "", false},
		{"DELETE", "/v1/channels/chat:a/history", "", false},
		{"DELETE", "/v1/channels/chat:a/connections", "", false},
		{"DELETE", "/v1/channels/news:a/connections", "", true},
		{"GET", "/v1/users/7/connections", "", true},
		{"GET", "/v1/users/8/connections", "", false},
		{"DELETE", "/v1/users/8/connections", "", false},
		{"POST", "/v1/users/7/subscriptions/news:a", "", true},
		{"POST", "/v1/users/8/subscriptions/news:a", "", false},
		{"POST", "/v1/users/7/subscriptions/chat:a", "", false},
		{"DELETE", "/v1/users/7/subscriptions/chat:a", "", false},
		{"DELETE", "/v1/connections/c1", "", false},
		{"GET", "/v1/connections", "", false},
		{"POST", "/v1/connections/c1/subscriptions/news:a", "", false},
		{"DELETE", "/v1/connections/c1/subscriptions/news:a", "", false},
		{"POST", "/v1/publish", `{"client":"c1","data":1}`, false},
	} {
		f := &fake{}
		w := ask(t, keyed(t, f), tc.method, tc.target, tc.body, "X-API-Key", "secret-of-the-editors")
		if tc.allowed && w.Code >= 300 {
			t.Errorf("%s %s %s: %d %s, want it allowed", tc.method, tc.target, tc.body, w.Code, w.Body)
		}
		if !tc.allowed {
			wantProblem(t, w, 403, CodeForbidden, `"editor"`)
			if len(f.published)+len(f.calls) > 0 {
				t.Errorf("%s %s %s was done: %+v %+v", tc.method, tc.target, tc.body, f.published, f.calls)
			}
		}
	}
	w := ask(t, keyed(t, &fake{}), "POST", "/v1/batch", `{"publications":[{"channel":"chat:a","data":1},{"channel":"news:a","data":1}]}`, "X-API-Key", "secret-of-the-editors")
	if !strings.Contains(w.Body.String(), `"failed":1`) {
		t.Errorf("a batch with a foreign channel: %s", w.Body)
	}
}

// Every route wants its scope and no other.
func TestScopes(t *testing.T) {
	for _, route := range routes {
		if route.scope == "" {
			continue
		}
		for _, scope := range Scopes() {
			h := newHandler(t, &fake{}, Config{Keys: []Key{{Name: "k", Hash: HashKey(secret), Scopes: []Scope{scope}}}})
			target := strings.NewReplacer("{channel}", "c", "{user}", "u", "{client}", "x").Replace(route.path)
			w := ask(t, h, route.method, target, "", "X-API-Key", secret)
			if (w.Code == 403) != (scope != route.scope) {
				t.Errorf("%s %s with the scope %s: %d", route.method, route.path, scope, w.Code)
			}
		}
	}
}

func TestRequire(t *testing.T) {
	f := &fake{}
	inner := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299) })
	h := keyed(t, f).(*Handler).Require(ScopeStats, inner)
	for key, status := range map[string]int{"secret-of-the-operators": 299, "secret-of-the-application": 403, "": 401} {
		r := httptest.NewRequest("GET", "/debug/pprof/", nil)
		r.Header.Set("X-API-Key", key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("key %q: %d, want %d", key, w.Code, status)
		}
	}
}
