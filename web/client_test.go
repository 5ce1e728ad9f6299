package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Client().ServeHTTP(w, r)
	return w
}

// A front-end developer counts what comes over the wire.
func TestClientIsSmall(t *testing.T) {
	const most = 10 << 10
	if l := ClientLibrary(); len(l.Gzipped) > most || len(l.Script) < 5000 {
		t.Errorf("roost.js has %d bytes, %d in gzip: want %d at most", len(l.Script), len(l.Gzipped), most)
	}
	if found := regexp.MustCompile(`\bimport\b[^.]*\bfrom\b|\brequire\(|\bimport\(`).Find(clientSource); found != nil {
		t.Errorf("roost.js depends on something: %s", found)
	}
}

func TestClientIsServedByVersion(t *testing.T) {
	l := ClientLibrary()
	w := get(t, l.Path)
	sum := sha512.Sum384(w.Body.Bytes())
	if want := "sha384-" + base64.StdEncoding.EncodeToString(sum[:]); want != l.Integrity || w.Code != 200 {
		t.Errorf("%d; the integrity is %s, want %s", w.Code, l.Integrity, want)
	}
	for name, want := range map[string]string{
		"Content-Type":                "text/javascript; charset=utf-8",
		"Cache-Control":               "public, max-age=31536000, immutable",
		"Access-Control-Allow-Origin": "*",
		"Vary":                        "Accept-Encoding",
		"Content-Encoding":            "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	packed := get(t, l.Path, "Accept-Encoding", "br, gzip;q=0.8")
	r, err := gzip.NewReader(packed.Body)
	if err != nil || packed.Header().Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, %v", err, packed.Header())
	}
	if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, l.Script) {
		t.Errorf("in gzip it is something else: %v", err)
	}
	if refused := get(t, l.Path, "Accept-Encoding", "gzip;q=0, br"); refused.Header().Get("Content-Encoding") != "" {
		t.Error("gzip was refused, and came")
	}
	// Under the path without a version browsers ask whether it has changed.
	latest := get(t, "/roost/roost.js")
	tag := latest.Header().Get("ETag")
	if latest.Header().Get("Cache-Control") != "no-cache" || tag == "" || tag == packed.Header().Get("ETag") {
		t.Errorf("%v", latest.Header())
	}
	if again := get(t, "/roost/roost.js", "If-None-Match", tag); again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("%d for what the browser has", again.Code)
	}
	if w := get(t, strings.Replace(l.Path, "roost.js", "roost.d.ts", 1)); w.Code != 200 || !strings.Contains(w.Body.String(), "export class Roost") {
		t.Errorf("the types: %d", w.Code)
	}
	for _, path := range []string{"/roost/0.0.1-00000000/roost.js", "/roost/package.json", "/"} {
		if w := get(t, path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// What there is to copy is right.
func TestClientSnippet(t *testing.T) {
	l := ClientLibrary()
	var info struct{ Version, Path, Integrity, Snippet string }
	if err := json.Unmarshal(get(t, "/roost/client.json").Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	if info.Path != l.Path || !strings.Contains(info.Snippet, l.Path) || !strings.Contains(info.Snippet, l.Integrity) {
		t.Errorf("%+v", info)
	}
	page := get(t, "/roost/").Body.String()
	for _, want := range []string{l.Version, l.Integrity, "&lt;script type=&#34;module&#34; src=&#34;" + l.Path} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
