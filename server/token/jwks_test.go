package token

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/server/protocol"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// jwk is a public key as RFC 7517 and RFC 8037 write it.
func jwk(kid string, k crypto.Signer) map[string]any {
	b64 := base64.RawURLEncoding.EncodeToString
	m := map[string]any{"kid": kid, "use": "sig"}
	switch k := k.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["alg"], m["n"], m["e"] = "RSA", "RS256", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point := must(k.Bytes())
		size := (len(point) - 1) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", k.Curve.Params().Name, b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k)
	}
	return m
}

func with(m map[string]any, name string, value any) map[string]any {
	m[name] = value
	return m
}

func set(keys ...map[string]any) string {
	if keys == nil {
		keys = []map[string]any{}
	}
	return must2(json.Marshal(map[string]any{"keys": keys}))
}

// endpoint is an identity provider whose answer a test changes.
type endpoint struct {
	*httptest.Server
	requests atomic.Int64

	// Guarded by mu.
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request)
}

func newEndpoint(t *testing.T, answer string) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.answerText(http.StatusOK, answer)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.requests.Add(1)
		e.mu.Lock()
		answer := e.answer
		e.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) answerWith(f func(w http.ResponseWriter, r *http.Request)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = f
}

func (e *endpoint) answerText(status int, text string) {
	e.answerWith(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	})
}

func signedAs(t *testing.T, kid string, key any) string {
	t.Helper()
	text, err := Sign(Claims{Subject: "42"}, key, kid)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func wantTaken(t *testing.T, v *Verifier, token string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if c, err := v.Verify(ctx, token); err != nil || c.Subject != "42" {
		t.Errorf("%+v, %v; want user 42", c, err)
	}
}

func verifyErr(t *testing.T, v *Verifier, token string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := v.Verify(ctx, token)
	return err
}

func TestKeySet(t *testing.T) {
	e := newEndpoint(t, set(jwk("r", rsaKey()), jwk("e", ecdsaKey()), jwk("d", edKey())))
	v := newVerifier(t, Config{JWKSURL: e.URL})
	for kid, key := range map[string]any{"r": rsaKey(), "e": ecdsaKey(), "d": edKey()} {
		wantTaken(t, v, signedAs(t, kid, key))
		wantTaken(t, v, signedAs(t, "", key)) // all of the algorithm are tried
	}
	// A known kid with another key is a forgery, and no reason to fetch.
	forger := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	wantRefused(t, verifyErr(t, v, signedAs(t, "e", forger)), protocol.CodeUnauthorized, "fits no key")
	// A kid is a hint: what fits the algorithm is tried, unless the set has one of that name.
	wantTaken(t, v, signedAs(t, "r", ecdsaKey()))
	wantTaken(t, v, signedAs(t, "unheard-of", rsaKey()))
	// A public key of the set is no secret.
	forged := handmade(`{"alg":"HS256","kid":"r"}`, `{"sub":"42"}`, hmacWith(publicPEM(rsaKey())))
	wantRefused(t, verifyErr(t, v, forged), protocol.CodeUnauthorized, `"HS256"`)
	if st := v.Stats(); st.JWKSFetches != 1 || st.JWKSFailures != 0 || st.JWKSKeys != 3 || st.JWKSFetched.IsZero() {
		t.Errorf("counted %+v, want 1 fetch of 3 keys", st)
	}
	if n := e.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestKeySetBesideOthers(t *testing.T) {
	e := newEndpoint(t, set(jwk("e", ecdsaKey())))
	v := newVerifier(t, Config{JWKSURL: e.URL, Secrets: [][]byte{secret}, Keys: [][]byte{publicPEM(edKey())}})
	wantTaken(t, v, signedAs(t, "e", ecdsaKey()))
	wantTaken(t, v, signedAs(t, "any", secret))
	wantTaken(t, v, signedAs(t, "any", edKey()))
	if n := v.Stats().JWKSFetches; n != 1 {
		t.Errorf("%d fetches: tokens of keys that are here need none", n)
	}
}

// A set whose keys have no kid takes tokens that have one, and is not fetched for
// each of them.
func TestKeysWithoutKid(t *testing.T) {
	unnamed := jwk("", ecdsaKey())
	delete(unnamed, "kid")
	e := newEndpoint(t, set(unnamed))
	v := newVerifier(t, Config{JWKSURL: e.URL, JWKSRetryInterval: time.Nanosecond})
	for i := range 20 {
		wantTaken(t, v, signedAs(t, fmt.Sprint("kid-", i), ecdsaKey()))
	}
	if n := e.requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// A key that is published right after a fetch is known after the next: a token of
// it is told to come back then, however often strangers make the set be fetched.
func TestNewKeyRightAfterAFetch(t *testing.T) {
	second := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	e := newEndpoint(t, set(jwk("1", ecdsaKey())))
	const retry = time.Minute
	v := newVerifier(t, Config{JWKSURL: e.URL, JWKSInterval: time.Hour, JWKSRetryInterval: retry})
	wantTaken(t, v, signedAs(t, "1", ecdsaKey()))
	e.answerText(http.StatusOK, set(jwk("1", ecdsaKey()), jwk("2", second)))
	err := verifyErr(t, v, signedAs(t, "2", second))
	wantRefused(t, err, protocol.CodeBusy, "is not known")
	if left := err.(*protocol.Error).RetryAfter; left <= 0 || left > retry {
		t.Errorf("it is to come back after %v, want what is left of %v", left, retry)
	}
	passed := func() { // the time that the client was told to wait
		v.set.mu.Lock()
		defer v.set.mu.Unlock()
		v.set.ended = v.set.ended.Add(-retry)
	}
	passed()
	// A made-up token is first, and has the set fetched.
	wantRefused(t, verifyErr(t, v, signedAs(t, "made-up", edKey())), protocol.CodeUnauthorized, `"made-up"`)
	wantTaken(t, v, signedAs(t, "2", second))
	if n := e.requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestKeySetRotates(t *testing.T) {
	second := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	e := newEndpoint(t, set(jwk("1", ecdsaKey())))
	v := newVerifier(t, Config{JWKSURL: e.URL, JWKSInterval: time.Hour, JWKSRetryInterval: time.Millisecond})
	wantTaken(t, v, signedAs(t, "1", ecdsaKey()))
	e.answerText(http.StatusOK, set(jwk("1", ecdsaKey()), jwk("2", second)))
	time.Sleep(2 * time.Millisecond) // the retry interval
	wantTaken(t, v, signedAs(t, "2", second))
	wantTaken(t, v, signedAs(t, "1", ecdsaKey()))
	// The old key is withdrawn: it goes as soon as the set is fetched again.
	e.answerText(http.StatusOK, set(jwk("2", second)))
	time.Sleep(2 * time.Millisecond)
	wantRefused(t, verifyErr(t, v, signedAs(t, "3", edKey())), protocol.CodeUnauthorized, `"3"`)
	time.Sleep(2 * time.Millisecond)
	wantRefused(t, verifyErr(t, v, signedAs(t, "1", ecdsaKey())), protocol.CodeUnauthorized, "fits no key")
	// All are withdrawn.
	e.answerText(http.StatusOK, set())
	time.Sleep(2 * time.Millisecond)
	wantRefused(t, verifyErr(t, v, signedAs(t, "3", edKey())), protocol.CodeUnauthorized)
	time.Sleep(2 * time.Millisecond)
	wantRefused(t, verifyErr(t, v, signedAs(t, "2", second)), protocol.CodeUnauthorized, `"2"`)
}

func TestKeySetIsFetchedInTheBackground(t *testing.T) {
	second := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	e := newEndpoint(t, set(jwk("1", ecdsaKey())))
	v := newVerifier(t, Config{JWKSURL: e.URL, JWKSInterval: 10 * time.Millisecond, JWKSRetryInterval: time.Hour})
	wantTaken(t, v, signedAs(t, "1", ecdsaKey()))
	e.answerText(http.StatusOK, set(jwk("2", second)))
	eventually(t, "the new key is known without anybody's asking", func() bool { return verifyErr(t, v, signedAs(t, "2", second)) == nil })
}

// A stranger with made-up tokens cannot make the server ask without end.
func TestUnknownKeysAreRateLimited(t *testing.T) {
	e := newEndpoint(t, set(jwk("1", ecdsaKey())))
	v := newVerifier(t, Config{JWKSURL: e.URL, JWKSRetryInterval: time.Hour})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				if err := verifyErr(t, v, signedAs(t, fmt.Sprint(i, "-", j), edKey())); err == nil {
					t.Error("a forged token is taken")
				}
			}
		})
	}
	wg.Wait()
	if n := e.requests.Load(); n != 1 {
		t.Errorf("%d requests for 400 unknown keys, want the first alone", n)
	}
}

func TestKeySetThatFails(t *testing.T) {
	huge := `{"keys":[` + strings.Repeat(" ", setMaxBytes) + `]}`
	released := make(chan struct{})
	for name, fail := range map[string]func(http.ResponseWriter, *http.Request){
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"404":     func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"garbage": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Sorry</html>") },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "500")
			fmt.Fprint(w, `{"keys":[`)
		},
		"another object": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"error":"down"}`) },
		"null":           func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `null`) },
		"keys a word":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":"soon"}`) },
		"too large":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, huge) },
		"redirect":       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
		"hangs":          func(_ http.ResponseWriter, r *http.Request) { hang(r, released) },
		"hangs half-way": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			hang(r, released)
		},
		"drops": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			var log syncBuffer
			e := newEndpoint(t, set(jwk("1", ecdsaKey())))
			v := newVerifier(t, Config{JWKSURL: e.URL + "/?code=hidden", JWKSInterval: time.Hour, JWKSRetryInterval: 5 * time.Millisecond,
				JWKSTimeout: 300 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			wantTaken(t, v, signedAs(t, "1", ecdsaKey()))

			// It fails: what is known stays in force, what is not is told to come back.
			e.answerWith(fail)
			time.Sleep(6 * time.Millisecond)
			err := verifyErr(t, v, signedAs(t, "2", edKey()))
			wantRefused(t, err, protocol.CodeBusy, "cannot be fetched")
			if p := err.(*protocol.Error); p.RetryAfter <= 0 {
				t.Error("nothing says when to come back")
			}
			wantTaken(t, v, signedAs(t, "1", ecdsaKey()))
			eventually(t, "it is tried again by itself", func() bool { return v.Stats().JWKSFailures >= 3 })
			wantTaken(t, v, signedAs(t, "1", ecdsaKey()))

			// It works again.
			e.answerText(http.StatusOK, set(jwk("2", edKey())))
			eventually(t, "the new key is known", func() bool { return verifyErr(t, v, signedAs(t, "2", edKey())) == nil })
			v.Close()
			if text := log.String(); strings.Count(text, "level=WARN") != 1 || strings.Count(text, "was fetched") != 2 || strings.Contains(text, "hidden") {
				t.Errorf("want one warning, and twice that it was fetched, and no query:\n%s", text)
			}
		})
	}
	close(released)
}

// hang lasts until the client goes, or the tests end.
func hang(r *http.Request, released <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-released:
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// The server starts while the identity provider is down.
func TestKeySetUnreachableAtStart(t *testing.T) {
	e := newEndpoint(t, "")
	url := e.URL
	e.Close()
	v := newVerifier(t, Config{JWKSURL: url, Secrets: [][]byte{secret}})
	wantRefused(t, verifyErr(t, v, signedAs(t, "1", ecdsaKey())), protocol.CodeBusy)
	wantTaken(t, v, signedAs(t, "", secret))
	if st := v.Stats(); st.JWKSFailures != 1 || st.JWKSKeys != 0 || !st.JWKSFetched.IsZero() {
		t.Errorf("counted %+v, want one failure", st)
	}
}

// Who waits for a provider that hangs waits no longer than the context, and
// Close does not wait for requests that hang.
func TestKeySetThatHangsHoldsNobody(t *testing.T) {
	released := make(chan struct{})
	e := newEndpoint(t, "")
	e.answerWith(func(_ http.ResponseWriter, r *http.Request) { hang(r, released) })
	v := newVerifier(t, Config{JWKSURL: e.URL, JWKSTimeout: time.Hour})
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := v.Verify(ctx, signedAs(t, "1", ecdsaKey()))
	wantRefused(t, err, protocol.CodeBusy)
	waiting := make(chan error, 1)
	go func() {
		_, err := v.Verify(context.Background(), signedAs(t, "1", ecdsaKey()))
		waiting <- err
	}()
	v.Close()
	v.Close()
	wantRefused(t, <-waiting, protocol.CodeBusy)
	if took := time.Since(begun); took > patience {
		t.Errorf("it took %v", took)
	}
	close(released)
}

func TestKeysOfASet(t *testing.T) {
	public := publicPEM(rsaKey())
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	for _, tc := range []struct {
		name string
		key  any
		want string // in the reason; empty: it is taken
	}{
		{"RSA", jwk("1", rsaKey()), ""},
		{"without use and alg", map[string]any{"kty": "OKP", "crv": "Ed25519", "x": jwk("", edKey())["x"]}, ""},
		{"to verify", with(jwk("1", ecdsaKey()), "key_ops", []string{"verify"}), ""},
		{"with members of its own", with(jwk("1", ecdsaKey()), "issuer", "https://example.com"), ""},
		{"a secret", map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(secret)}, "no place for one"},
		{"a secret with the public key", map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(public), "alg": "HS256"}, "no place for one"},
		{"to encrypt", with(jwk("1", rsaKey()), "use", "enc"), `use is "enc"`},
		{"to sign", with(jwk("1", ecdsaKey()), "key_ops", []string{"sign"}), "operations"},
		{"RS512", with(jwk("1", rsaKey()), "alg", "RS512"), ""},
		{"PS256", with(jwk("1", rsaKey()), "alg", "PS256"), ""},
		{"PS512", with(jwk("1", rsaKey()), "alg", "PS512"), "for PS512"},
		{"P-384", with(jwk("1", p384Key()), "alg", "ES384"), ""},
		{"ES256 on P-384", with(jwk("1", p384Key()), "alg", "ES256"), "for ES256"},
		{"HS256 on an RSA key", with(jwk("1", rsaKey()), "alg", "HS256"), "for HS256"},
		{"weak", jwk("1", weak), "1024 bits"},
		{"P-521", jwk("1", p521), "P-521"},
		{"Ed448", map[string]any{"kty": "OKP", "crv": "Ed448", "x": "AAAA"}, "Ed448"},
		{"X25519", map[string]any{"kty": "OKP", "crv": "X25519", "x": base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32))}, "want RSA"},
		{"off the curve", with(jwk("1", ecdsaKey()), "y", base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))), "not on the"},
		{"half a key", map[string]any{"kty": "EC", "crv": "P-256", "x": "AAAA"}, "requires"},
		{"unknown kind", map[string]any{"kty": "PQ"}, "PQ"},
		{"an exponent of 1", with(jwk("1", rsaKey()), "e", "AQ"), "out of range"},
		{"kid a number", map[string]any{"kty": "RSA", "kid": 5}, "kid"},
		{"a word", "hello", "string"},
		{"null", nil, ""},
	} {
		if tc.name == "null" {
			tc.want = "unsupported"
		}
		t.Run(tc.name, func(t *testing.T) {
			body := must(json.Marshal(map[string]any{"keys": []any{tc.key, jwk("good", edKey())}}))
			keys, skipped, err := parseSet(body)
			if err != nil {
				t.Fatalf("one key spoils the set: %v", err)
			}
			if last := keys[len(keys)-1]; last.kid != "good" || !slices.Equal(last.algorithms, forEd25519) {
				t.Errorf("the good key became %+v", last)
			}
			switch {
			case tc.want == "" && (len(keys) != 2 || len(skipped) != 0):
				t.Errorf("%d keys, left out %q; want both", len(keys), skipped)
			case tc.want != "" && (len(keys) != 1 || len(skipped) != 1 || !strings.Contains(skipped[0], tc.want) || !strings.Contains(skipped[0], "number 1")):
				t.Errorf("%d keys, left out %q; want number 1 left out because of %q", len(keys), skipped, tc.want)
			}
		})
	}
	many := make([]map[string]any, 200)
	for i := range many {
		many[i] = jwk(fmt.Sprint(i), edKey())
	}
	if keys, skipped, err := parseSet([]byte(set(many...))); err != nil || len(keys) != setMaxKeys || len(skipped) != 1 {
		t.Errorf("200 keys: %d are used, left out %q, %v", len(keys), skipped, err)
	}
}

func TestRedirectsStaySecure(t *testing.T) {
	request := func(url string) *http.Request { return must(http.NewRequest(http.MethodGet, url, nil)) }
	first := []*http.Request{request("https://a/")}
	if err := checkRedirect(request("http://a/"), first); err == nil {
		t.Error("https may lead to http")
	}
	if err := checkRedirect(request("https://b/"), first); err != nil {
		t.Error(err)
	}
	if err := checkRedirect(request("http://a/"), []*http.Request{request("http://b/")}); err != nil {
		t.Error(err)
	}
}
