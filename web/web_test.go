package web

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func TestPagesServeTheirFiles(t *testing.T) {
	for _, tc := range []struct {
		page         http.Handler
		method, path string
		wantCode     int
		wantType     string
		wantBody     string
	}{
		{Demo(), "GET", "/", 200, "text/html; charset=utf-8", "<title>Roost demo</title>"},
		{Demo(), "GET", "/demo.js", 200, "text/javascript; charset=utf-8", "new Roost"},
		{Demo(), "GET", "/demo.css", 200, "text/css; charset=utf-8", ".cards"},
		{Demo(), "GET", "/icon.svg", 200, "image/svg+xml", "<svg"},
		{Demo(), "HEAD", "/", 200, "text/html; charset=utf-8", ""},
		{Demo(), "GET", "/chat/", 200, "text/html; charset=utf-8", "<title>Chat · Roost demo</title>"},
		{Demo(), "GET", "/nothing", 404, "", "404"},
		{Demo(), "GET", "/../web.go", 404, "", "404"},
		{Dashboard(), "GET", "/", 200, "text/html; charset=utf-8", "<title>Roost dashboard</title>"},
		{Dashboard(), "GET", "/dashboard.js", 200, "text/javascript; charset=utf-8", "/metrics"},
		{Demo(), "GET", "/theme.css", 200, "text/css; charset=utf-8", "light-dark("},
		{Dashboard(), "GET", "/theme.css", 200, "text/css; charset=utf-8", "light-dark("},
		{Dashboard(), "GET", "/icon.svg", 200, "image/svg+xml", "<svg"},
		{Dashboard(), "GET", "/demo.js", 404, "", "404"},
		{Demo(), "POST", "/", 405, "", "GET"},
	} {
		r := httptest.NewRequest(tc.method, "http://roost.test/", nil)
		r.URL.Path = tc.path
		w := httptest.NewRecorder()
		tc.page.ServeHTTP(w, r)
		if w.Code != tc.wantCode {
			t.Errorf("%s %s = %d, want %d", tc.method, tc.path, w.Code, tc.wantCode)
		}
		if got := w.Header().Get("Content-Type"); tc.wantType != "" && got != tc.wantType {
			t.Errorf("%s %s: Content-Type %q, want %q", tc.method, tc.path, got, tc.wantType)
		}
		if !strings.Contains(w.Body.String(), tc.wantBody) {
			t.Errorf("%s %s: body %.80q lacks %q", tc.method, tc.path, w.Body, tc.wantBody)
		}
	}
}

// The page must work without a network and must not turn a message into markup.
func TestPagesFetchNothingAndBuildNoMarkup(t *testing.T) {
	forbidden := map[string]*regexp.Regexp{
		"a file from elsewhere":         regexp.MustCompile(`(src|<link[^>]* href)="(https?:)?//`),
		"an import from elsewhere":      regexp.MustCompile(`(\bimport\b|url\().*https?:`),
		"markup made from text":         regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`),
		"an inline handler (no script)": regexp.MustCompile(`<[^>]+ on[a-z]+="|<script>|style="`),
	}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) == ".svg" || name == vendored {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		for what, pattern := range forbidden {
			if hit := pattern.Find(body); hit != nil {
				t.Errorf("%s has %s: %s", name, what, hit)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	Demo().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'self'") {
		t.Errorf("Content-Security-Policy %q does not confine the page", got)
	}
}

const vendored = "demo/vendor/yjs.js"

// The library that others have written is what its README says.
func TestVendoredLibraryIsAsMade(t *testing.T) {
	library, err := files.ReadFile(vendored)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := files.ReadFile("demo/vendor/README.md")
	if sum := fmt.Sprintf("%x", sha256.Sum256(library)); err != nil || !bytes.Contains(readme, []byte(sum)) {
		t.Errorf("the SHA-256 of yjs.js is %s: web/demo/vendor/README.md has another, %v", sum, err)
	}
}
