package demo

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/web"
)

// wantRefusal wants an error of the protocol with the code want, and none if that is 0.
func wantRefusal(t *testing.T, what string, err error, want protocol.Code) {
	t.Helper()
	if want != 0 {
		t.Log(what)
		wantCode(t, err, want)
	} else if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func TestGuestsHaveNames(t *testing.T) {
	t.Parallel()
	var c server.Config
	New("").Configure(&c)
	for name, want := range map[string]protocol.Code{
		"Anna": 0, "Zoë 🐦": 0, strings.Repeat("ü", nameMaxChars): 0,
		"": protocol.CodeUnauthorized, " Anna": protocol.CodeUnauthorized, "a\nb": protocol.CodeUnauthorized, "\u202eannA": protocol.CodeUnauthorized,
		strings.Repeat("x", nameMaxChars+1): protocol.CodeUnauthorized,
	} {
		r := &protocol.ConnectRequest{Token: name}
		err := c.Application.Connect(context.Background(), r)
		wantRefusal(t, name, err, want)
		if err == nil && (r.User != name || r.MessageRate != guestRate) {
			t.Errorf("%q is the user %q with %d messages a second", name, r.User, r.MessageRate)
		}
	}
}

// What the flags have configured stays: a guest's name does not replace a token.
func TestFlagsWin(t *testing.T) {
	t.Parallel()
	refusal := errors.New("no token")
	c := server.Config{
		Handshake:  server.Handshake{Origins: []string{"https://example.com"}},
		Namespaces: []server.Namespace{{Name: "chat", HistoryMessages: 7}},
		Application: &protocol.Application{
			Connect: func(context.Context, *protocol.ConnectRequest) error { return refusal },
		},
	}
	told := 0
	c.Events = func(*protocol.Event) { told++ }
	New("").Configure(&c)
	if err := c.Application.Connect(context.Background(), &protocol.ConnectRequest{Token: "Anna"}); err != refusal || c.Application.Anonymous {
		t.Errorf("connect: %v, anonymous %t; want the check of the flags", err, c.Application.Anonymous)
	}
	if c.Namespaces[0].HistoryMessages != 7 || len(c.Handshake.Origins) != 1 {
		t.Errorf("namespaces %+v, origins %q: want those of the flags", c.Namespaces[0], c.Handshake.Origins)
	}
	if c.Events(&protocol.Event{Type: protocol.EventConnected}); told != 1 {
		t.Error("the web hooks are told nothing")
	}
}

// Pages of all sites may connect, but not where a cookie would make them a user.
func TestOrigins(t *testing.T) {
	t.Parallel()
	for cookie, want := range map[string]string{"": "*", "session": ""} {
		c := server.Config{Handshake: server.Handshake{TokenCookie: cookie}}
		New("").Configure(&c)
		if got := strings.Join(c.Handshake.Origins, " "); got != want {
			t.Errorf("with the cookie %q the origins are %q, want %q", cookie, got, want)
		}
	}
}

func TestWhatGuestsPublish(t *testing.T) {
	t.Parallel()
	var c server.Config
	New("").Configure(&c)
	for _, tc := range []struct {
		user, channel, data string
		want                protocol.Code
	}{
		{"Anna", "chat:lobby", `{"text":"hello","id":"1"}`, 0},
		{"Anna", "typing:lobby", `{"text":"not passed on"}`, 0},
		{"", "chat:lobby", `{"text":"hello"}`, protocol.CodePermissionDenied},
		{"Anna", "chat:other", `{"text":"hello"}`, protocol.CodeBadRequest},
		{"Anna", "chat:lobby", `{"text":" "}`, protocol.CodeBadRequest},
		{"Anna", "chat:lobby", `{"text":"` + strings.Repeat("x", chatMaxChars+1) + `"}`, protocol.CodeBadRequest},
		{"Anna", "chat:lobby", `{"text":"a","id":"` + strings.Repeat("x", chatIDMaxBytes+1) + `"}`, protocol.CodeBadRequest},
		{"Anna", "chat:lobby", `"hello"`, protocol.CodeBadRequest},
		{"Anna", "user:Ben", `{}`, protocol.CodePermissionDenied},
		{"Anna", "read:Ben", `{}`, protocol.CodePermissionDenied},
	} {
		r := &protocol.PublishRequest{User: tc.user, Channel: tc.channel, Data: []byte(tc.data)}
		wantRefusal(t, tc.channel+" "+tc.data[:min(len(tc.data), 40)], c.Application.Publish(context.Background(), r), tc.want)
		if tc.channel == chatTyping && string(r.Data) != "{}" {
			t.Errorf("typing is published as %s", r.Data)
		}
	}
	wantRefusal(t, "a call", c.Application.Call(context.Background(), &protocol.CallRequest{Method: "none"}), protocol.CodeUnknownMethod)
}

func TestMarksMoveForwardOnly(t *testing.T) {
	t.Parallel()
	m := &marks{read: map[string]history.Position{}}
	for i, step := range []struct {
		user string
		at   history.Position
		want bool
	}{
		{"Anna", history.Position{Epoch: "a", Offset: 3}, true},
		{"Anna", history.Position{Epoch: "a", Offset: 2}, false},
		{"Anna", history.Position{Epoch: "a", Offset: 3}, false},
		{"Ben", history.Position{Epoch: "a", Offset: 2}, true},
		{"Anna", history.Position{Epoch: "b", Offset: 1}, true}, // another history
	} {
		if got := m.move(step.user, step.at); got != step.want {
			t.Errorf("step %d: moved %t, want %t", i, got, step.want)
		}
	}
}

// The source of each demo is one click away: page, script, and what the server does.
func TestSource(t *testing.T) {
	t.Parallel()
	d := New("")
	mux := d.mux()
	pages, _ := fs.Glob(web.DemoFiles(), "*/index.html")
	for _, page := range pages {
		name := strings.TrimSuffix(page, "/index.html")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/source/"+name, nil))
		for _, file := range []string{"web/demo/" + page, "web/demo/" + name + "/" + name + ".js", "web/demo/demo.js"} {
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<h2>"+file+"</h2>") {
				t.Errorf("/source/%s = %d without %s", name, w.Code, file)
			}
		}
		text, err := fs.ReadFile(web.DemoFiles(), page)
		if err != nil || !strings.Contains(string(text), `href="../source/`+name+`"`) {
			t.Errorf("%s has no link to its source (%v)", page, err)
		}
	}
}

// The start page leads to every demo, and nowhere that is not there.
func TestStartPageLeadsSomewhere(t *testing.T) {
	t.Parallel()
	mux := New("").mux()
	text, err := fs.ReadFile(web.DemoFiles(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	demos, _ := fs.Glob(web.DemoFiles(), "*/index.html")
	for _, demo := range demos {
		if folder := strings.TrimSuffix(demo, "index.html"); !strings.Contains(string(text), `href="`+folder+`"`) {
			t.Errorf("nothing leads to %s", folder)
		}
	}
	for _, link := range regexp.MustCompile(`href="([^":]+)"`).FindAllStringSubmatch(string(text), -1) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+strings.TrimPrefix(link[1], "./"), nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s = %d", link[1], w.Code)
		}
	}
}
