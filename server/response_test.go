package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func wantBody(t *testing.T, r *http.Response, want string) {
	t.Helper()
	got, _ := io.ReadAll(r.Body)
	if string(got) != want {
		t.Fatalf("the body is %.60q (%d bytes), want %.60q (%d bytes)", got, len(got), want, len(want))
	}
}

func wantBodyHas(t *testing.T, r *http.Response, part string) {
	t.Helper()
	if got, _ := io.ReadAll(r.Body); !strings.Contains(string(got), part) {
		t.Fatalf("the body is %q, want it to say %q", got, part)
	}
}

func wantHeader(t *testing.T, r *http.Response, name, want string) {
	t.Helper()
	if got := r.Header.Get(name); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}
