// Package web holds the pages that the binary carries: plain HTML, CSS and
// JavaScript modules, embedded as they are. Nothing is built, nothing is
// fetched from elsewhere, so a page works on a machine without a network.
package web

import (
	"embed"
	"io"
	"io/fs"
	"net/http"
)

//go:embed demo dashboard icon.svg theme.css
var files embed.FS

// HandleHealth adds what balancers ask for on the port of the clients: /healthz and
// /readyz. They say ok, since a server that stops or is full responds with 503 by
// itself.
func HandleHealth(mux *http.ServeMux) {
	for _, path := range []string{"/healthz", "/readyz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	}
}

// Demo serves the pages of `roost serve --demo`, for any number of goroutines.
func Demo() http.Handler { return page("demo") }

// DemoFiles returns the files behind Demo, a folder for each demo.
func DemoFiles() fs.FS { return folder("demo") }

// Dashboard serves the page of the admin port. It holds no secrets: what it shows
// it asks the API for. Any number of goroutines may use it.
func Dashboard() http.Handler { return page("dashboard") }

// folder returns an embedded folder.
func folder(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		panic("web: " + name + " is not embedded: " + err.Error())
	}
	return sub
}

// page serves a folder, and what all pages share: icon and colours.
func page(name string) http.Handler {
	own, shared := http.FileServerFS(folder(name)), http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this page is read with GET", http.StatusMethodNotAllowed)
			return
		}
		Protect(w.Header())
		if r.URL.Path == "/icon.svg" || r.URL.Path == "/theme.css" {
			shared.ServeHTTP(w, r)
			return
		}
		own.ServeHTTP(w, r)
	})
}

// Protect sets the headers that confine a page: it may load files and connect to
// sockets of its own origin only.
func Protect(h http.Header) {
	// 'self' covers ws: and wss: of the same host and port in today's
	// browsers; older Safari needs them named.
	h.Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
}
