package server_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/roostws/roost/server"
)

// responders are handlers whose responses are the same from Config.HTTP as from net/http.
var responders = map[string]http.HandlerFunc{
	"plain":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>hello") },
	"nothing": func(http.ResponseWriter, *http.Request) {},
	"no type": func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "x")
	},
	"no date":  func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil; _, _ = io.WriteString(w, "x") },
	"own date": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", "Mon, 30 Nov 2026 19:00:00 GMT") },
	"encoded": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		_, _ = io.WriteString(w, "x")
	},
	"line breaks": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "1\r\nX-B: 2\nX-C: 3") },
	"bad name": func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X A"] = []string{"1"}
		w.Header()["X\r\nB"] = []string{"1"}
	},
	"two values": func(w http.ResponseWriter, _ *http.Request) { w.Header()["Set-Cookie"] = []string{"a=1", "b=2"} },
	"set too late": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Early", "1")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("X-Late", "1")
		w.Header().Set("X-Early", "2")
		w.WriteHeader(http.StatusTeapot)
	},
	"unknown status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
	"status 42":       func(w http.ResponseWriter, _ *http.Request) { recoverStatus(w, 42) },
	"status 1000":     func(w http.ResponseWriter, _ *http.Request) { recoverStatus(w, 1000) },
	"204 with a body": func(w http.ResponseWriter, _ *http.Request) { forbiddenBody(w, http.StatusNoContent) },
	"304 with a body": func(w http.ResponseWriter, _ *http.Request) { forbiddenBody(w, http.StatusNotModified) },
	"304 that names a length": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		w.WriteHeader(http.StatusNotModified)
	},
	"304 with a length that is none": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "-5")
		w.WriteHeader(http.StatusNotModified)
	},
	"trailer": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
		w.Header().Set(http.TrailerPrefix+"X-After", "1")
	},
}

// recoverStatus responds 500 if a status panics.
func recoverStatus(w http.ResponseWriter, status int) {
	defer func() {
		if recover() != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}()
	w.WriteHeader(status)
}

// forbiddenBody writes content where there is none, and says in a header whether the
// writer has said so.
func forbiddenBody(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
		panic("a body was taken")
	}
}

// What a handler of Config.HTTP writes becomes what net/http makes of it.
func TestHTTPResponsesAreNetHTTPs(t *testing.T) {
	byPath := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		responders[strings.TrimPrefix(r.URL.Path, "/")](w, r)
	})
	s := start(t, server.Config{HTTP: byPath})
	reference := httptest.NewServer(byPath)
	defer reference.Close()
	client := http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	get := func(t *testing.T, base, name string) (status int, header http.Header, body string) {
		t.Helper()
		r, err := client.Get(base + "/" + strings.ReplaceAll(name, " ", "%20"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Header["Date"]) == 1 && name != "own date" {
			r.Header.Set("Date", "now")
		}
		return r.StatusCode, r.Header, string(text)
	}
	for _, name := range slices.Sorted(maps.Keys(responders)) {
		t.Run(name, func(t *testing.T) {
			status, header, body := get(t, "http://"+s.Addrs()[0].String(), name)
			wantStatus, wantHeader, wantBody := get(t, reference.URL, name)
			if status != wantStatus || body != wantBody || !maps.EqualFunc(header, wantHeader, slices.Equal) {
				t.Errorf("got  %d %q %q\nwant %d %q %q", status, header, body, wantStatus, wantHeader, wantBody)
			}
		})
	}
}

// A header has one value of each kind that decides where a response ends, however the
// handler spells it: what is behind it would be taken for the next response.
func TestHTTPHeadersInAnySpelling(t *testing.T) {
	s := start(t, server.Config{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["content-length"] = []string{"1"}
		h["CONTENT-LENGTH"] = []string{"2"}
		h["transfer-encoding"] = []string{"chunked"}
		h["connection"] = []string{"keep-alive"}
		h["date"] = []string{"Mon, 30 Nov 2026 19:00:00 GMT"}
		h["trailer"] = []string{"X-After"}
		h["x-mine"] = []string{"1"}
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/unchanged":
			w.WriteHeader(http.StatusNotModified)
		case "/switch":
			w.WriteHeader(http.StatusSwitchingProtocols)
		default:
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "hello")
		}
	})})
	for path, want := range map[string]struct {
		status, lengths int
		body            string
	}{
		"/":          {200, 1, "hello"},
		"/empty":     {204, 0, ""},
		"/unchanged": {304, 0, ""},
		"/switch":    {500, 1, "something went wrong in the server.\n"},
	} {
		c := connect(t, s)
		c.Put("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		all, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		head, body, _ := strings.Cut(string(all), "\r\n\r\n")
		lower := strings.ToLower(head)
		if got := strings.Count(lower, "\r\ncontent-length:"); got != want.lengths {
			t.Errorf("%s: %d lengths, want %d", path, got, want.lengths)
		}
		if strings.Contains(lower, "transfer-encoding") || strings.Contains(lower, "keep-alive") || strings.Contains(lower, "trailer") {
			t.Errorf("%s: %q", path, head)
		}
		if strings.Count(lower, "\r\ndate:") != 1 || want.status != 500 && !strings.Contains(head, "\r\nX-Mine: 1") {
			t.Errorf("%s: %q", path, head)
		}
		if !strings.HasPrefix(head, "HTTP/1.1 "+strconv.Itoa(want.status)+" ") || body != want.body {
			t.Errorf("%s: %.20q %q, want %d %q", path, head, body, want.status, want.body)
		}
	}
	wantPanics(t, s, 1) // 101
}
