package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tdewolff/minify/v2"
	"github.com/tdewolff/minify/v2/js"
)

//go:embed client/roost.js
var clientSource []byte

//go:embed client/roost.d.ts
var clientTypes []byte

//go:embed client/package.json
var clientPackage []byte

// A Library is the browser client as it is served: one ES module without
// dependencies, minified.
type Library struct {
	// Version is that of the npm package, and the beginning of the script's hash: a
	// path with it always has the same content.
	Version string
	// Path is where the script is, Types where its TypeScript declarations are.
	Path, Types string
	// Integrity is for <script integrity>: the SHA-384 of Script.
	Integrity string
	// Snippet is the script element to copy into a page of the same origin.
	Snippet string
	// Script and Gzipped are its bytes. They must not be changed.
	Script, Gzipped []byte
}

// ClientLibrary returns the browser client. It is safe for any number of goroutines.
var ClientLibrary = sync.OnceValue(func() *Library {
	var manifest struct{ Version string }
	if err := json.Unmarshal(clientPackage, &manifest); err != nil {
		panic("web: client/package.json is not JSON: " + err.Error())
	}
	var script, gzipped bytes.Buffer
	m := minify.New()
	m.AddFunc("text/javascript", js.Minify)
	if err := m.Minify("text/javascript", &script, bytes.NewReader(clientSource)); err != nil {
		panic("web: client/roost.js is not JavaScript: " + err.Error())
	}
	w, _ := gzip.NewWriterLevel(&gzipped, gzip.BestCompression) // the level is one that exists
	_, _ = w.Write(script.Bytes())                              // a bytes.Buffer takes everything
	_ = w.Close()
	sum := sha512.Sum384(script.Bytes())
	l := &Library{Script: script.Bytes(), Gzipped: gzipped.Bytes()}
	l.Version = fmt.Sprintf("%s-%x", manifest.Version, sum[:4])
	l.Path, l.Types = "/roost/"+l.Version+"/roost.js", "/roost/"+l.Version+"/roost.d.ts"
	l.Integrity = "sha384-" + base64.StdEncoding.EncodeToString(sum[:])
	l.Snippet = `<script type="module" src="` + l.Path + `" integrity="` + l.Integrity + `" crossorigin="anonymous"></script>`
	return l
})

// Client serves the browser client below /roost/: the script under its version,
// where browsers may keep it for ever, and as /roost/roost.js, where they ask whether it
// has changed; what to copy into a page, as HTML at /roost/ and as JSON at
// /roost/client.json. Pages of any origin may load the script. It is safe for any
// number of goroutines.
func Client() http.Handler {
	l := ClientLibrary()
	mux := http.NewServeMux()
	const script, types = "text/javascript; charset=utf-8", "application/typescript; charset=utf-8"
	for path, immutable := range map[string]bool{"/roost/roost": false, strings.TrimSuffix(l.Path, ".js"): true} {
		mux.Handle("GET "+path+".js", clientFile{script, l.Integrity, l.Script, l.Gzipped, immutable})
		mux.Handle("GET "+path+".d.ts", clientFile{types, l.Version, clientTypes, nil, immutable})
	}
	info, err := json.MarshalIndent(map[string]any{
		"version": l.Version, "path": l.Path, "types": l.Types, "integrity": l.Integrity, "snippet": l.Snippet,
		"bytes": len(l.Script), "gzipped": len(l.Gzipped),
	}, "", "  ")
	if err != nil {
		panic("web: a map of strings and numbers is not JSON: " + err.Error())
	}
	mux.Handle("GET /roost/client.json", clientFile{"application/json", l.Version, info, nil, false})
	mux.Handle("GET /roost/{$}", clientFile{"text/html; charset=utf-8", l.Version, []byte(l.page()), nil, false})
	return mux
}

// page shows what to copy.
func (l *Library) page() string {
	example := `<script type="module">
import { Roost } from '` + l.Path + `';
const roost = new Roost(location.origin);
roost.subscribe('news', (m) => console.log(m.data));
</script>`
	return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Roost's browser client</title>
<link rel="icon" href="data:,">
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem } pre { overflow: auto; padding: 1rem; border: 1px solid } </style>
<h1>Roost's browser client</h1>
<p>Version ` + html.EscapeString(l.Version) + `, ` + fmt.Sprintf("%.1f", float64(len(l.Gzipped))/1024) + ` KiB on the wire. A page begins with:</p>
<pre>` + html.EscapeString(example) + `</pre>
<p>To pin the script to its content, load it first:</p>
<pre>` + html.EscapeString(l.Snippet) + `</pre>
<p><a href="` + l.Types + `">TypeScript declarations</a>, <a href="client.json">the same as JSON</a>.</p>
</html>
`
}

// A clientFile is one file of the client. Its tag names its content.
type clientFile struct {
	kind, tag     string
	body, gzipped []byte
	immutable     bool
}

// ServeHTTP responds to GET and HEAD.
func (f clientFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*") // a module of another origin is fetched with CORS
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-cache")
	if f.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body, tag := f.body, f.tag
	if f.gzipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			body, tag = f.gzipped, tag+"-gzip"
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// acceptsGzip reports whether an Accept-Encoding names gzip and does not refuse it.
func acceptsGzip(header string) bool {
	for coding := range strings.SplitSeq(header, ",") {
		name, quality, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";q=")
		if strings.EqualFold(name, "gzip") {
			return strings.Trim(quality, "0.") != "" || quality == ""
		}
	}
	return false
}
