package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roostws/roost/server/protocol"
)

var (
	secret = []byte("a secret of at least thirty-two bytes")

	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecdsaKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	p384Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, 32)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func publicPEM(k crypto.Signer) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(k.Public()))})
}

func newVerifier(t testing.TB, c Config) *Verifier {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func signed(t testing.TB, c Claims, key any) string {
	t.Helper()
	text, err := Sign(c, key, "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// handmade is a token whose header and claims are as given.
func handmade(header, claims string, sign func(text string) []byte) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func hmacWith(key []byte) func(string) []byte {
	return func(text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
}

func unsigned(string) []byte { return nil }

// wantRefused checks code and text of an error, and that it shows no secret.
func wantRefused(t *testing.T, err error, code protocol.Code, texts ...string) {
	t.Helper()
	var refused *protocol.Error
	if !errors.As(err, &refused) {
		t.Fatalf("the error is %v, want a ProtocolError with code %d", err, code)
	}
	if refused.Code != code {
		t.Errorf("%q has code %d, want %d", refused.Message, refused.Code, code)
	}
	for _, text := range texts {
		if !strings.Contains(refused.Message, text) {
			t.Errorf("%q lacks %q", refused.Message, text)
		}
	}
	if strings.Contains(refused.Message, string(secret)) || len(refused.Message) > 1000 {
		t.Errorf("the message tells too much: %q", refused.Message)
	}
}

func TestEveryAlgorithm(t *testing.T) {
	ctx := t.Context()
	keys := map[string]any{hs256: secret, rs256: rsaKey(), es256: ecdsaKey(), es384: p384Key(), eddsa: edKey()}
	all := Config{Secrets: [][]byte{secret}, Keys: [][]byte{append(publicPEM(rsaKey()), publicPEM(ecdsaKey())...), publicPEM(edKey()), publicPEM(p384Key())}}
	for algorithm := range keys {
		one := Config{}
		if k, ok := keys[algorithm].(crypto.Signer); ok {
			one.Keys = [][]byte{publicPEM(k)}
		} else {
			one.Secrets = [][]byte{secret}
		}
		text := signed(t, Claims{Subject: "42"}, keys[algorithm])
		header, _, err := Decode(text)
		if err != nil || !strings.Contains(string(header), `"`+algorithm+`"`) {
			t.Errorf("%s: the header is %s, %v", algorithm, header, err)
		}
		for name, c := range map[string]Config{"alone": one, "among others": all} {
			v := newVerifier(t, c)
			got, err := v.Verify(ctx, text)
			if err != nil || got.Subject != "42" {
				t.Errorf("%s, %s: %+v, %v", algorithm, name, got, err)
			}
			// Each bit of each part counts.
			for i, part := range strings.Split(text, ".") {
				parts := strings.Split(text, ".")
				b := must(base64.RawURLEncoding.DecodeString(part))
				b[len(b)/2] ^= 1
				parts[i] = base64.RawURLEncoding.EncodeToString(b)
				if got, err := v.Verify(ctx, strings.Join(parts, ".")); err == nil {
					t.Errorf("%s, %s: with part %d changed it is taken: %+v", algorithm, name, i, got)
				}
			}
			if st := v.Stats(); st.Accepted != 1 || st.Refused != 3 {
				t.Errorf("%s: counted %+v, want 1 accepted and 3 refused", algorithm, st)
			}
		}
		// No other key takes it.
		for other, k := range keys {
			if signer, ok := k.(crypto.Signer); ok && other != algorithm {
				_, err := newVerifier(t, Config{Keys: [][]byte{publicPEM(signer)}}).Verify(ctx, text)
				wantRefused(t, err, protocol.CodeUnauthorized, "algorithm is \""+algorithm+"\"", "want "+other)
			}
		}
	}
}

// Back ends choose among the algorithms of their key.
func TestAlgorithmsOfAKey(t *testing.T) {
	long := []byte(strings.Repeat("a secret of sixty-four bytes ", 3))
	signedBy := func(algorithm string, key any) string {
		text := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), jwt.MapClaims{"sub": "42"})
		return must(text.SignedString(key))
	}
	all := Config{Secrets: [][]byte{long}, Keys: [][]byte{publicPEM(rsaKey()), publicPEM(p384Key())}}
	for _, algorithm := range known {
		var key any
		switch algorithm {
		case hs256, hs384, hs512:
			key = long
		case rs256, rs384, rs512, ps256:
			key = rsaKey()
		case es384:
			key = p384Key()
		default:
			continue // TestEveryAlgorithm has them
		}
		text := signedBy(algorithm, key)
		for name, c := range map[string]Config{"all": all, "this one": {Secrets: all.Secrets, Keys: all.Keys, Algorithms: append([]string{algorithm}, hs256, rs384, es384)}} {
			if got, err := newVerifier(t, c).Verify(t.Context(), text); err != nil || got.Subject != "42" {
				t.Errorf("%s, %s allowed: %+v, %v", algorithm, name, got, err)
			}
		}
	}
	// A secret that is shorter than the hash is not for it.
	for algorithm, length := range map[string]int{hs384: 48, hs512: 64} {
		for n, code := range map[int]protocol.Code{length: 0, length - 1: protocol.CodeUnauthorized} {
			_, err := newVerifier(t, Config{Secrets: [][]byte{long[:n]}}).Verify(t.Context(), signedBy(algorithm, long[:n]))
			if code == 0 && err != nil {
				t.Errorf("%s with %d bytes: %v", algorithm, n, err)
			} else if code != 0 {
				wantRefused(t, err, code, algorithm)
			}
		}
	}
	_, err := newVerifier(t, Config{Keys: all.Keys, Algorithms: []string{rs512, es384}}).Verify(t.Context(), signedBy(rs256, rsaKey()))
	wantRefused(t, err, protocol.CodeUnauthorized, "want RS512, ES384")
}

// Identity providers have the user elsewhere, and demand a prefix for claims that
// are not theirs.
func TestClaimNames(t *testing.T) {
	v := newVerifier(t, Config{Secrets: [][]byte{secret}, UserClaim: "email", ClaimPrefix: "https://push.example/"})
	good := `{"sub":"auth0|1","email":"ann@example.com","channel":"C0FFEE","rate":"fast","https://push.example/channels":["news"],` +
		`"https://push.example/rate":5.0,"https://push.example/allow":{"publish":["chat:*"]},"https://push.example/info":{"n":1}}`
	r := protocol.ConnectRequest{Token: handmade(`{"alg":"HS256"}`, good, hmacWith(secret))}
	if err := v.Connect(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	r.Token = ""
	want := protocol.ConnectRequest{User: "ann@example.com", Channels: []string{"news"}, MessageRate: 5,
		Allow: protocol.Permissions{Publish: []string{"chat:*"}}, Info: json.RawMessage(`{"n":1}`)}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("it means %+v, want %+v", r, want)
	}
	for claims, want := range map[string]string{
		`{"sub":"42"}`:                       `names no user (claim "email")`,
		`{"email":42}`:                       `"email" is not a string`,
		`{"https://push.example/rate":-1.0}`: `"https://push.example/rate" is -1`,
		`{"email":"a","https://push.example/channel":"news"}`: `(claim "https://push.example/channel")`,
	} {
		err := v.Connect(t.Context(), &protocol.ConnectRequest{Token: handmade(`{"alg":"HS256"}`, claims, hmacWith(secret))})
		wantRefused(t, err, protocol.CodeUnauthorized, want)
	}
}

// What is signed under some names is read under the same names, and under no others.
func TestSignUnderOtherNames(t *testing.T) {
	names := ClaimNames{User: "email", Prefix: "https://push.example/"}
	claims := Claims{Subject: "ann@example.com", Channels: []string{"news"}, MessageRate: 5, Info: json.RawMessage(`{"n":1}`),
		Allow: protocol.Permissions{Publish: []string{"chat:*"}, Subscribe: []string{"a"}}}
	text := must(names.Sign(claims, secret, ""))
	got, err := newVerifier(t, Config{Secrets: [][]byte{secret}, UserClaim: names.User, ClaimPrefix: names.Prefix}).Verify(t.Context(), text)
	if err != nil || !reflect.DeepEqual(got, claims) {
		t.Errorf("it means %+v, %v; want %+v", got, err, claims)
	}
	if got, err := newVerifier(t, Config{Secrets: [][]byte{secret}, Anonymous: true}).Verify(t.Context(), text); err != nil || !reflect.DeepEqual(got, Claims{}) {
		t.Errorf("under the default names it means %+v, %v; want nothing", got, err)
	}
	claims = Claims{Subject: "42", Channel: "chat:1"}
	request := protocol.SubscribeRequest{Token: must(names.Sign(claims, secret, "")), User: "42", Channel: "chat:1"}
	if err := newVerifier(t, Config{Secrets: [][]byte{secret}, UserClaim: names.User, ClaimPrefix: names.Prefix}).Subscribe(t.Context(), &request); err != nil {
		t.Errorf("subscribing: %v", err)
	}
	for _, taken := range []string{"exp", "https://push.example/info"} {
		names.User = taken
		if _, err := names.Sign(claims, secret, ""); err == nil || !strings.Contains(err.Error(), taken) {
			t.Errorf("the user in the claim %s: %v, want an error", taken, err)
		}
	}
}

// A whole number may be written in any way that JSON has for it.
func TestNumbersOfClaims(t *testing.T) {
	v := newVerifier(t, Config{Secrets: [][]byte{secret}})
	exp := time.Now().Add(time.Hour).Unix()
	for text, rate := range map[string]int{"5": 5, "5.0": 5, "1e1": 10, "65535.0": 65535, "0.0": 0} {
		claims := fmt.Sprintf(`{"sub":"42","rate":%s,"exp":%d.0,"nbf":1e9,"iat":1.5e9}`, text, exp)
		got, err := v.Verify(t.Context(), handmade(`{"alg":"HS256"}`, claims, hmacWith(secret)))
		if err != nil || got.MessageRate != rate || got.ExpiresAt.Unix() != exp {
			t.Errorf("%s: %+v, %v", claims, got, err)
		}
	}
}

// A refused token answers why a user can't connect; a flood of them does not fill
// the disk.
func TestRefusedTokensAreLogged(t *testing.T) {
	var log syncBuffer
	v := newVerifier(t, Config{Secrets: [][]byte{secret}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	expired := signed(t, Claims{Subject: "42", ExpiresAt: time.Unix(5, 0)}, secret)
	r := protocol.ConnectRequest{Client: "1-2-3", Name: "app/7", RemoteAddr: netip.MustParseAddrPort("192.0.2.1:5000"), Token: expired}
	if v.Connect(t.Context(), &r) == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{"level=INFO", "hook=connect", "conn_id=1-2-3", "client_name=app/7", "remote_addr=192.0.2.1:5000", "claimed_user=42", "expired at"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the line lacks %q:\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), expired) {
		t.Error("the token is in the log")
	}
	for range 5 * refusedLines {
		_ = v.Subscribe(t.Context(), &protocol.SubscribeRequest{User: "42", Channel: "chat:1", Token: "x"})
	}
	if n := strings.Count(log.String(), "\n"); n != refusedLines {
		t.Errorf("%d lines, want %d", n, refusedLines)
	}
	if !strings.Contains(log.String(), "hook=subscribe") || !strings.Contains(log.String(), "channel=chat:1") {
		t.Errorf("a channel's token is not told:\n%s", log.String())
	}
}

// An attacker knows the public key, and claims that it is a secret.
func TestPublicKeyIsNoSecret(t *testing.T) {
	public := publicPEM(rsaKey())
	mixed := Config{Secrets: [][]byte{secret}, Keys: [][]byte{public}}
	der, _ := pem.Decode(public)
	for name, key := range map[string][]byte{
		"PEM": public, "trimmed PEM": []byte(strings.TrimSpace(string(public))), "DER": der.Bytes,
		"modulus": rsaKey().N.Bytes(), "PKCS 1": x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey),
	} {
		text := handmade(`{"alg":"HS256","typ":"JWT"}`, `{"sub":"root"}`, hmacWith(key))
		_, err := newVerifier(t, Config{Keys: [][]byte{public}}).Verify(t.Context(), text)
		wantRefused(t, err, protocol.CodeUnauthorized, `"HS256"`, "want RS256")
		_, err = newVerifier(t, mixed).Verify(t.Context(), text)
		wantRefused(t, err, protocol.CodeUnauthorized, "fits no key")
		t.Log(name)
	}
}

func TestRefusals(t *testing.T) {
	now := time.Now()
	hour := now.Add(time.Hour)
	sign := func(claims string) string { return handmade(`{"alg":"HS256"}`, claims, hmacWith(secret)) }
	good := signed(t, Claims{Subject: "42"}, secret)
	for _, tc := range []struct {
		name  string
		token string
		code  protocol.Code
		want  []string
	}{
		{"alg none", handmade(`{"alg":"none"}`, `{"sub":"root"}`, unsigned), protocol.CodeUnauthorized, []string{`algorithm is "none"`, "want HS256"}},
		{"alg None", handmade(`{"alg":"None"}`, `{"sub":"root"}`, unsigned), protocol.CodeUnauthorized, []string{`algorithm is "None"`}},
		{"alg none, signed", handmade(`{"alg":"none"}`, `{"sub":"root"}`, hmacWith(secret)), protocol.CodeUnauthorized, []string{`"none"`}},
		{"alg missing", handmade(`{}`, `{"sub":"root"}`, hmacWith(secret)), protocol.CodeUnauthorized, []string{`algorithm is ""`}},
		{"alg a number", handmade(`{"alg":1}`, `{"sub":"root"}`, hmacWith(secret)), protocol.CodeUnauthorized, []string{`algorithm is ""`}},
		{"alg HS512", handmade(`{"alg":"HS512"}`, `{"sub":"root"}`, hmacWith(secret)), protocol.CodeUnauthorized, []string{`"HS512"`}},
		{"alg PS256", handmade(`{"alg":"PS256"}`, `{"sub":"root"}`, hmacWith(secret)), protocol.CodeUnauthorized, []string{`"PS256"`}},
		{"alg endless", handmade(`{"alg":"`+strings.Repeat("x", 5000)+`"}`, `{}`, unsigned), protocol.CodeUnauthorized, []string{`"xxxx`}},
		{"other secret", handmade(`{"alg":"HS256"}`, `{"sub":"root"}`, hmacWith([]byte("another secret of thirty-two bytes!!"))), protocol.CodeUnauthorized, []string{"signature fits no key"}},
		{"empty secret", handmade(`{"alg":"HS256"}`, `{"sub":"root"}`, hmacWith(nil)), protocol.CodeUnauthorized, []string{"signature fits no key"}},
		{"no signature", handmade(`{"alg":"HS256"}`, `{"sub":"root"}`, unsigned), protocol.CodeUnauthorized, []string{"signature fits no key"}},
		{"critical extension", handmade(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"sub":"root"}`, hmacWith(secret)), protocol.CodeUnauthorized, []string{"critical"}},
		{"empty", "", protocol.CodeUnauthorized, []string{"no JWT"}},
		{"one word", "garbage", protocol.CodeUnauthorized, []string{"no JWT"}},
		{"two dots", "..", protocol.CodeUnauthorized, []string{"no JWT"}},
		{"four parts", good + ".x", protocol.CodeUnauthorized, []string{"no JWT"}},
		{"bytes", "\x00\xff.\x00.\x00", protocol.CodeUnauthorized, []string{"no JWT"}},
		{"padding", strings.Replace(good, ".", "=.", 1), protocol.CodeUnauthorized, []string{"no JWT"}},
		{"Bearer", "Bearer " + good, protocol.CodeUnauthorized, []string{"no JWT"}},
		{"header a list", handmade(`[]`, `{}`, unsigned), protocol.CodeUnauthorized, []string{"no JWT"}},
		{"claims broken", sign(`{"sub":`), protocol.CodeUnauthorized, []string{"no JWT"}},
		{"claims a list", sign(`[]`), protocol.CodeUnauthorized, []string{"no JSON object"}},
		{"1 MB", strings.Repeat("A", 1<<20), protocol.CodeUnauthorized, []string{"1048576 bytes", "16384"}},
		{"1 MB of dots", strings.Repeat(".", 1<<20), protocol.CodeUnauthorized, []string{"1048576 bytes"}},
		{"deep", sign(strings.Repeat("[", 8000)), protocol.CodeUnauthorized, []string{"no JWT"}},
		{"sub a number", sign(`{"sub":42}`), protocol.CodeUnauthorized, []string{`"sub" is not a string`}},
		{"exp a word", sign(`{"sub":"42","exp":"tomorrow"}`), protocol.CodeUnauthorized, []string{`"exp" is not a number`}},
		{"exp beyond time", sign(`{"sub":"42","exp":1e300}`), protocol.CodeUnauthorized, []string{`"exp" is not a number`}},
		{"exp beyond numbers", sign(`{"sub":"42","exp":1e999}`), protocol.CodeUnauthorized, []string{`"exp" is not a number`}},
		{"nbf before time", sign(`{"sub":"42","nbf":-1e300}`), protocol.CodeUnauthorized, []string{`"nbf" is not a number`}},
		{"exp in milliseconds", sign(`{"sub":"42","exp":1700000000000000}`), protocol.CodeUnauthorized, []string{`"exp" is not a number of seconds`}},
		{"channels a string", sign(`{"sub":"42","channels":"news"}`), protocol.CodeUnauthorized, []string{`"channels" is not a list`}},
		{"allow a list", sign(`{"sub":"42","allow":["news"]}`), protocol.CodeUnauthorized, []string{`"allow" is not {"subscribe"`}},
		{"allow.publish a string", sign(`{"sub":"42","allow":{"publish":"news"}}`), protocol.CodeUnauthorized, []string{`"allow" is not {"subscribe"`}},
		{"sub half a surrogate pair", sign(`{"sub":"\ud800"}`), protocol.CodeUnauthorized, []string{`"sub" is not a string`}},
		{"channels with null", sign(`{"sub":"42","channels":["a",null]}`), protocol.CodeUnauthorized, []string{`"channels" is not a list`}},
		{"allow without lists", sign(`{"sub":"42","allow":{"publish":"a"}}`), protocol.CodeUnauthorized, []string{`"allow" is not {`}},
		{"rate negative", sign(`{"sub":"42","rate":-1}`), protocol.CodeUnauthorized, []string{`"rate" is -1`}},
		{"rate a fraction", sign(`{"sub":"42","rate":0.5}`), protocol.CodeUnauthorized, []string{`"rate" is not a whole number`}},
		{"rate too large", sign(`{"sub":"42","rate":65536}`), protocol.CodeUnauthorized, []string{`"rate" is 65536`}},

		{"expired", signed(t, Claims{Subject: "42", Issuer: "app", Audience: []string{"roost"}, ExpiresAt: now.Add(-time.Minute)}, secret),
			protocol.CodeTokenExpired, []string{"expired at"}},
		{"expired long ago", signed(t, Claims{Subject: "42", Issuer: "app", Audience: []string{"roost"}, ExpiresAt: time.Unix(1, 0)}, secret),
			protocol.CodeTokenExpired, []string{"1970-01-01T00:00:01Z"}},
		{"expired in year 0 of its era", sign(`{"sub":"42","iss":"app","aud":"roost","exp":0}`),
			protocol.CodeTokenExpired, []string{"1970-01-01T00:00:00Z"}},
		{"not valid yet", signed(t, Claims{Subject: "42", Issuer: "app", Audience: []string{"roost"}, NotBefore: hour}, secret),
			protocol.CodeUnauthorized, []string{"not valid before " + stamp(hour)}},
		{"wrong issuer", signed(t, Claims{Subject: "42", Issuer: "other", Audience: []string{"roost"}}, secret),
			protocol.CodeUnauthorized, []string{`"iss" is "other"`, `"app"`}},
		{"no issuer", signed(t, Claims{Subject: "42", Audience: []string{"roost"}}, secret),
			protocol.CodeUnauthorized, []string{`"iss" is ""`}},
		{"wrong audience", signed(t, Claims{Subject: "42", Issuer: "app", Audience: []string{"shop", "mail"}}, secret),
			protocol.CodeUnauthorized, []string{`"aud" has none of ["roost" "push"]`}},
		{"no audience", signed(t, Claims{Subject: "42", Issuer: "app"}, secret),
			protocol.CodeUnauthorized, []string{`"aud" has none of`}},
		{"expired, and from elsewhere", signed(t, Claims{Subject: "42", Issuer: "other", Audience: []string{"shop"}, ExpiresAt: now.Add(-time.Minute)}, secret),
			protocol.CodeUnauthorized, []string{"expired", "iss", "aud"}},
		{"claims are told apart by case", sign(`{"sub":"42","iss":"app","AUD":"roost"}`),
			protocol.CodeUnauthorized, []string{`"aud" has none of`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, Config{Secrets: [][]byte{secret}, Issuer: "app", Audience: []string{"roost", "push"}})
			_, err := v.Verify(t.Context(), tc.token)
			wantRefused(t, err, tc.code, tc.want...)
			if st := v.Stats(); st.Accepted != 0 || st.Refused+st.Expired != 1 || (st.Expired == 1) != (tc.code == protocol.CodeTokenExpired) {
				t.Errorf("counted %+v", st)
			}
		})
	}
	v := newVerifier(t, Config{Secrets: [][]byte{secret}, Issuer: "app", Audience: []string{"roost", "push"}})
	if _, err := v.Verify(t.Context(), sign(`{"sub":"42","iss":"app","aud":"push","exp":`+stampNumber(hour)+`,"Sub":"root","unknown":[1]}`)); err != nil {
		t.Errorf("a good one is refused: %v", err)
	}
}

func stampNumber(t time.Time) string { return must2(json.Marshal(t.Unix())) }

func must2(b []byte, err error) string { return string(must(b, err)) }

func TestLeeway(t *testing.T) {
	v := newVerifier(t, Config{Secrets: [][]byte{secret}, Leeway: 10 * time.Minute})
	now := time.Now().Truncate(time.Second)
	c := Claims{Subject: "42", NotBefore: now.Add(5 * time.Minute), ExpiresAt: now.Add(-5 * time.Minute)}
	r := protocol.ConnectRequest{Token: signed(t, c, secret)}
	if err := v.Connect(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if want := c.ExpiresAt.Add(10 * time.Minute); !r.Expires.Equal(want) {
		t.Errorf("the connection ends at %v, want %v", r.Expires, want)
	}
	c.ExpiresAt = now.Add(-15 * time.Minute)
	_, err := v.Verify(t.Context(), signed(t, c, secret))
	wantRefused(t, err, protocol.CodeTokenExpired)
}

// Clocks of two machines differ by seconds: that must not keep a client out for good.
func TestClocksThatDiffer(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		leeway          time.Duration
		nbf, iat, exp   time.Duration // from now; 0: not there
		code            protocol.Code
		soonest, latest time.Duration // of RetryAfter
	}{
		{nbf: 5 * time.Second, iat: 5 * time.Second},
		{iat: time.Minute}, // says nothing about validity (RFC 7519, section 4.1.6)
		{exp: -5 * time.Second},
		{exp: -20 * time.Second, code: protocol.CodeTokenExpired},
		{leeway: -1, exp: -2 * time.Second, code: protocol.CodeTokenExpired},
		// It will be valid soon: waiting helps, a new token does not.
		{nbf: 60 * time.Second, code: protocol.CodeBusy, soonest: 40 * time.Second, latest: 51 * time.Second},
		{leeway: -1, nbf: 60 * time.Second, code: protocol.CodeBusy, soonest: 50 * time.Second, latest: 61 * time.Second},
		{nbf: time.Hour, code: protocol.CodeUnauthorized},
		{nbf: 60 * time.Second, exp: -60 * time.Second, code: protocol.CodeUnauthorized},
	} {
		v := newVerifier(t, Config{Secrets: [][]byte{secret}, Leeway: tc.leeway})
		at := func(d time.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return now.Add(d)
		}
		_, err := v.Verify(t.Context(), signed(t, Claims{Subject: "42", NotBefore: at(tc.nbf), IssuedAt: at(tc.iat), ExpiresAt: at(tc.exp)}, secret))
		if tc.code == 0 {
			if err != nil {
				t.Errorf("%+v: %v", tc, err)
			}
			continue
		}
		wantRefused(t, err, tc.code)
		if retry := err.(*protocol.Error).RetryAfter; retry < tc.soonest || retry > tc.latest {
			t.Errorf("%+v: retry after %v", tc, retry)
		}
	}
}

func TestSecretsRotate(t *testing.T) {
	older := []byte("an older secret, which has 32 bytes too")
	v := newVerifier(t, Config{Secrets: [][]byte{secret, older}})
	for _, key := range [][]byte{secret, older} {
		if _, err := v.Verify(t.Context(), signed(t, Claims{Subject: "42"}, key)); err != nil {
			t.Error(err)
		}
	}
}

func TestConnect(t *testing.T) {
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	full := Claims{Subject: "42", ExpiresAt: expires, Channels: []string{"news", "team:7"},
		Allow:       protocol.Permissions{Subscribe: []string{"chat:*"}, Publish: []string{"chat:1"}},
		MessageRate: 20, Info: json.RawMessage(`{"name":"Ann"}`)}
	granted := protocol.ConnectRequest{User: "42", Expires: expires, Channels: full.Channels, Allow: full.Allow, MessageRate: 20, Info: full.Info}
	nobody := Claims{ExpiresAt: expires}
	for _, tc := range []struct {
		name      string
		anonymous bool
		before    protocol.ConnectRequest
		claims    *Claims
		want      protocol.ConnectRequest
		refused   string
	}{
		{name: "all claims", claims: &full, want: granted},
		{name: "known already", before: protocol.ConnectRequest{User: "42"}, claims: &full, want: granted},
		{name: "known as somebody else", before: protocol.ConnectRequest{User: "43"}, claims: &full, refused: "is not the connection's"},
		{name: "never expires", claims: &Claims{Subject: "42"}, want: protocol.ConnectRequest{User: "42"}},
		{name: "no token", refused: "needs a token"},
		{name: "no token, anonymous", anonymous: true},
		{name: "no token, known already", before: protocol.ConnectRequest{User: "42"}, want: protocol.ConnectRequest{User: "42"}},
		{name: "nobody", claims: &nobody, refused: `names no user (claim "sub")`},
		{name: "nobody, anonymous", anonymous: true, claims: &nobody, want: protocol.ConnectRequest{Expires: expires}},
		{name: "nobody, known already", anonymous: true, before: protocol.ConnectRequest{User: "42"}, claims: &nobody, refused: "is not the connection's"},
		{name: "for a channel", claims: &Claims{Subject: "42", Channel: "news"}, refused: `channel "news" alone`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, Config{Secrets: [][]byte{secret}, Anonymous: tc.anonymous})
			r := tc.before
			if tc.claims != nil {
				r.Token = signed(t, *tc.claims, secret)
			}
			err := v.Connect(t.Context(), &r)
			r.Token = ""
			if tc.refused != "" {
				wantRefused(t, err, protocol.CodeUnauthorized, tc.refused)
				if !reflect.DeepEqual(r, tc.before) {
					t.Errorf("refused, but the answer became %+v", r)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !r.Expires.Equal(tc.want.Expires) {
				t.Errorf("expires %v, want %v", r.Expires, tc.want.Expires)
			}
			r.Expires = tc.want.Expires
			if !reflect.DeepEqual(r, tc.want) {
				t.Errorf("the answer is %+v, want %+v", r, tc.want)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	v := newVerifier(t, Config{Secrets: [][]byte{secret}, Anonymous: true})
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	next := Claims{Subject: "42", ExpiresAt: expires, MessageRate: 5, Channels: []string{"more"}}
	r := protocol.ConnectRequest{User: "42", Token: signed(t, next, secret), Channels: []string{"news"}}
	if err := v.Refresh(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if !r.Expires.Equal(expires) || r.MessageRate != 5 || !reflect.DeepEqual(r.Channels, []string{"news"}) {
		t.Errorf("refreshed to %+v", r)
	}
	for _, tc := range []struct {
		name, user string
		claims     Claims
		code       protocol.Code
		want       string
	}{
		{"another user", "43", next, protocol.CodeUnauthorized, "is not the connection's"},
		{"an anonymous connection gets a user", "", next, protocol.CodeUnauthorized, "is not the connection's"},
		{"a user becomes anonymous", "42", Claims{}, protocol.CodeUnauthorized, "is not the connection's"},
		{"a channel's token", "42", Claims{Subject: "42", Channel: "news"}, protocol.CodeUnauthorized, `"news" alone`},
		{"expired", "42", Claims{Subject: "42", ExpiresAt: time.Unix(5, 0)}, protocol.CodeTokenExpired, "expired"},
	} {
		err := v.Refresh(t.Context(), &protocol.ConnectRequest{User: tc.user, Token: signed(t, tc.claims, secret)})
		wantRefused(t, err, tc.code, tc.want)
	}
	wantRefused(t, v.Refresh(t.Context(), &protocol.ConnectRequest{User: "42"}), protocol.CodeUnauthorized, "needs a token")
	if err := v.Refresh(t.Context(), &protocol.ConnectRequest{Token: signed(t, Claims{}, secret)}); err != nil {
		t.Errorf("an anonymous connection stays anonymous: %v", err)
	}
}

func TestSubscribe(t *testing.T) {
	v := newVerifier(t, Config{Secrets: [][]byte{secret}})
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	ask := func(user, channel string, c Claims) (protocol.SubscribeRequest, error) {
		r := protocol.SubscribeRequest{User: user, Channel: channel, Token: signed(t, c, secret)}
		return r, v.Subscribe(t.Context(), &r)
	}
	mine := Claims{Subject: "42", Channel: "chat:1", ExpiresAt: expires}
	if r, err := ask("42", "chat:1", mine); err != nil || !r.Expires.Equal(expires) {
		t.Errorf("subscribed until %v, %v; want %v", r.Expires, err, expires)
	}
	if r, err := ask("", "chat:1", Claims{Channel: "chat:1"}); err != nil || !r.Expires.IsZero() {
		t.Errorf("anonymous: until %v, %v", r.Expires, err)
	}
	for _, tc := range []struct {
		name, user, channel string
		claims              Claims
		code                protocol.Code
		want                string
	}{
		{"wrong channel", "42", "chat:2", mine, protocol.CodeUnauthorized, `is for channel "chat:1"`},
		{"longer channel", "42", "chat:11", mine, protocol.CodeUnauthorized, `is for channel "chat:1"`},
		{"other case", "42", "Chat:1", mine, protocol.CodeUnauthorized, `is for channel "chat:1"`},
		{"a pattern is a name", "42", "chat:1", Claims{Subject: "42", Channel: "chat:*"}, protocol.CodeUnauthorized, "is for channel"},
		{"wrong user", "43", "chat:1", mine, protocol.CodeUnauthorized, "is not the connection's"},
		{"anonymous with a user's token", "", "chat:1", mine, protocol.CodeUnauthorized, "is not the connection's"},
		{"a user with an anonymous token", "42", "chat:1", Claims{Channel: "chat:1"}, protocol.CodeUnauthorized, "is not the connection's"},
		{"a connection's token", "42", "chat:1", Claims{Subject: "42", Channels: []string{"chat:1"}}, protocol.CodeUnauthorized, `no claim "channel"`},
		{"expired", "42", "chat:1", Claims{Subject: "42", Channel: "chat:1", ExpiresAt: time.Unix(5, 0)}, protocol.CodeTokenExpired, "expired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ask(tc.user, tc.channel, tc.claims)
			wantRefused(t, err, tc.code, tc.want)
		})
	}
	err := v.Subscribe(t.Context(), &protocol.SubscribeRequest{User: "42", Channel: "chat:1"})
	wantRefused(t, err, protocol.CodePermissionDenied, "needs a token")
}

func TestClaimsRoundTrip(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	want := Claims{Subject: "42", Issuer: "app", Audience: []string{"a", "b"}, IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(time.Hour),
		Channel: "x", Channels: []string{"y"}, Allow: protocol.Permissions{Subscribe: []string{"s*"}, Publish: []string{"p"}}, MessageRate: 7, Info: json.RawMessage(`{"n":1}`)}
	v := newVerifier(t, Config{Secrets: [][]byte{secret}})
	got, err := v.Verify(t.Context(), signed(t, want, secret))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v became %+v", want, got)
	}
	if b, err := json.Marshal(Claims{}); err != nil || string(b) != "{}" {
		t.Errorf("no claims are %s, %v", b, err)
	}
	// null is as good as absent.
	got, err = v.Verify(t.Context(), handmade(`{"alg":"HS256"}`, `{"sub":"42","exp":null,"channels":null,"allow":{"publish":null},"info":null}`, hmacWith(secret)))
	if err != nil || !reflect.DeepEqual(got, Claims{Subject: "42"}) {
		t.Errorf("nulls are %+v, %v", got, err)
	}
}

func TestBadConfig(t *testing.T) {
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	private := block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey())))
	public := publicPEM(edKey())
	for _, tc := range []struct {
		name string
		c    Config
		want []string
	}{
		{"nothing", Config{}, []string{"no Secrets, no Keys and no JWKSURL"}},
		{"empty secret", Config{Secrets: [][]byte{{}}, AllowShortSecret: true}, []string{"Config.Secrets", "number 1", "empty"}},
		{"short secret", Config{Secrets: [][]byte{secret, []byte("short")}}, []string{"Config.Secrets", "number 2", "5 bytes", "32"}},
		{"a key as a secret", Config{Secrets: [][]byte{public}}, []string{"Config.Secrets", "belongs in Keys"}},
		{"no PEM", Config{Keys: [][]byte{[]byte("hello")}}, []string{"Config.Keys", "number 1", "BEGIN PUBLIC KEY"}},
		{"broken PEM", Config{Keys: [][]byte{public[:len(public)/2]}}, []string{"Config.Keys", "BEGIN PUBLIC KEY"}},
		{"broken after good", Config{Keys: [][]byte{append(publicPEM(edKey()), public[:40]...)}}, []string{"Config.Keys", "after 1 good"}},
		{"garbage in PEM", Config{Keys: [][]byte{block("PUBLIC KEY", []byte("hello"))}}, []string{"a PUBLIC KEY that cannot be read"}},
		{"private key", Config{Keys: [][]byte{private}}, []string{"private key", "-pubout"}},
		{"something else in PEM", Config{Keys: [][]byte{block("CERTIFICATE REQUEST", nil)}}, []string{`"CERTIFICATE REQUEST"`}},
		{"weak RSA", Config{Keys: [][]byte{publicPEM(weak)}}, []string{"1024 bits", "2048"}},
		{"other curve", Config{Keys: [][]byte{publicPEM(p521)}}, []string{"P-521", "P-256", "P-384"}},
		{"algorithm none", Config{Secrets: [][]byte{secret}, Algorithms: []string{"none"}}, []string{"Config.Algorithms", `"none"`, "EdDSA"}},
		{"algorithm without key", Config{Secrets: [][]byte{secret}, Algorithms: []string{"HS256", "RS256"}}, []string{"Config.Algorithms", "no key for RS256"}},
		{"key without algorithm", Config{Secrets: [][]byte{secret}, Keys: [][]byte{public}, Algorithms: []string{"EdDSA"}}, []string{"Config.Algorithms", "for HS256"}},
		{"secrets do not come by URL", Config{JWKSURL: "https://x/", Algorithms: []string{"HS256"}}, []string{"no key for HS256"}},
		{"leeway", Config{Secrets: [][]byte{secret}, Leeway: 61 * time.Minute}, []string{"Config.Leeway", "1h1m"}},
		{"interval", Config{Secrets: [][]byte{secret}, JWKSInterval: -1}, []string{"Config.JWKSInterval"}},
		{"URL", Config{JWKSURL: "example.com/keys"}, []string{"Config.JWKSURL", "https://"}},
		{"URL of a file", Config{JWKSURL: "file:///keys"}, []string{"Config.JWKSURL"}},
		{"two at once", Config{Leeway: 2 * time.Hour, JWKSURL: "x"}, []string{"Config.Leeway", "Config.JWKSURL"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, err := New(tc.c)
			if err == nil {
				v.Close()
				t.Fatal("it was taken")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), string(secret)) {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
	newVerifier(t, Config{Secrets: [][]byte{[]byte("short")}, AllowShortSecret: true})
}

func TestCertificateIsAKey(t *testing.T) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokens"}}
	der := must(x509.CreateCertificate(rand.Reader, template, template, ecdsaKey().Public(), ecdsaKey()))
	v := newVerifier(t, Config{Keys: [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}})
	if _, err := v.Verify(t.Context(), signed(t, Claims{Subject: "42"}, ecdsaKey())); err != nil {
		t.Error(err)
	}
}

func TestParsePrivateKey(t *testing.T) {
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	sec1 := must(x509.MarshalECPrivateKey(ecdsaKey()))
	for name, text := range map[string][]byte{
		"PKCS 8":          block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))),
		"PKCS 1":          block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())),
		"SEC 1":           block("EC PRIVATE KEY", sec1),
		"with parameters": append(block("EC PARAMETERS", []byte{6, 0}), block("EC PRIVATE KEY", sec1)...),
		"Ed25519":         block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey()))),
	} {
		k, err := ParsePrivateKey(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v := newVerifier(t, Config{Keys: [][]byte{publicPEM(k)}})
		if _, err := v.Verify(context.Background(), signed(t, Claims{Subject: "42"}, k)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, text := range map[string][]byte{
		"no private key": publicPEM(edKey()),
		"passphrase":     block("ENCRYPTED PRIVATE KEY", nil),
		"cannot be read": block("PRIVATE KEY", []byte("x")),
		"P-521":          block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))))),
	} {
		if _, err := ParsePrivateKey(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	for name, sign := range map[string]func() (string, error){
		"no key":        func() (string, error) { return Sign(Claims{}, nil, "") },
		"empty secret":  func() (string, error) { return Sign(Claims{}, []byte{}, "") },
		"a key's text":  func() (string, error) { return Sign(Claims{}, publicPEM(edKey()), "") },
		"a public key":  func() (string, error) { return Sign(Claims{}, edKey().Public(), "") },
		"info not JSON": func() (string, error) { return Sign(Claims{Info: json.RawMessage("{")}, secret, "") },
		"a string":      func() (string, error) { return Sign(Claims{}, string(secret), "") },
		"a key on P-521": func() (string, error) {
			return Sign(Claims{}, must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), "")
		},
	} {
		if text, err := sign(); err == nil {
			t.Errorf("%s: made %q", name, text)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(signed(f, Claims{Subject: "42"}, secret))
	f.Add(handmade(`{"alg":"none"}`, `{}`, unsigned))
	f.Add("..")
	v := newVerifier(f, Config{Secrets: [][]byte{secret}, Keys: [][]byte{publicPEM(edKey())}})
	f.Fuzz(func(t *testing.T, text string) {
		header, claims, decodeErr := Decode(text)
		_, err := v.Verify(t.Context(), text)
		var refused *protocol.Error
		if err != nil && !errors.As(err, &refused) {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && (decodeErr != nil || !json.Valid(header) || !json.Valid(claims)) {
			t.Errorf("%q is taken, and cannot be decoded: %v", text, decodeErr)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	claims := Claims{Subject: "42", ExpiresAt: time.Now().Add(time.Hour), Channels: []string{"news"}, Allow: protocol.Permissions{Subscribe: []string{"chat:*"}}}
	for _, bm := range []struct {
		algorithm string
		key       any
	}{{hs256, secret}, {rs256, rsaKey()}, {es256, ecdsaKey()}, {eddsa, edKey()}} {
		b.Run(bm.algorithm, func(b *testing.B) {
			c := Config{Secrets: [][]byte{secret}}
			if k, ok := bm.key.(crypto.Signer); ok {
				c = Config{Keys: [][]byte{publicPEM(k)}}
			}
			v := newVerifier(b, c)
			text := signed(b, claims, bm.key)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Of a claim that is there twice the last counts, and null is the same as none.
func TestClaimsTwice(t *testing.T) {
	for text, want := range map[string]Claims{
		`{"sub":"1","sub":"2"}`:                       {Subject: "2"},
		`{"sub":"1","sub":null,"exp":null}`:           {},
		`{"exp":"x","exp":"60","aud":["a"]}`:          {ExpiresAt: time.Unix(60, 0), Audience: []string{"a"}},
		`{"s\u0075b":"1","Sub":"2","":"3","aud":"a"}`: {Subject: "1", Audience: []string{"a"}},
		`{"allow":{"publish":["a"],"publish":null}}`:  {},
	} {
		got := Claims{Issuer: "before"}
		if err := got.UnmarshalJSON([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "null", "[]", `"x"`, `{"sub":"1"`, `{"sub":"1"}}`} {
		if err := new(Claims).UnmarshalJSON([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
