package webhook

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The value was computed with openssl, from the example of the Standard Webhooks
// libraries:
//
//	printf 'msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{"test": 2432232314}' |
//	openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw | base64 -d | od -An -v -tx1 | tr -d ' \n') -binary | base64
func TestSignatureOfTheStandardsExample(t *testing.T) {
	key, err := parseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("sign = %s, want %s", got, want)
	}
}

// signed is a request of now with these secrets.
func signed(t *testing.T, body string, secrets ...string) http.Header {
	t.Helper()
	var keys [][]byte
	for _, secret := range secrets {
		key, err := parseSecret(secret)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	header := http.Header{}
	signAll(header, keys, newID(), []byte(body))
	return header
}

func TestVerify(t *testing.T) {
	const body = `{"events":[]}`
	at := func(d time.Duration) http.Header {
		header := signed(t, body, testSecret)
		key, _ := parseSecret(testSecret) // signed has parsed it
		timestamp := strconv.FormatInt(time.Now().Add(d).Unix(), 10)
		header.Set(HeaderTimestamp, timestamp)
		header.Set(HeaderSignature, sign(key, header.Get(HeaderID), timestamp, []byte(body)))
		return header
	}
	with := func(name, value string) http.Header {
		header := signed(t, body, testSecret)
		header.Set(name, value)
		return header
	}
	for _, tc := range []struct {
		name      string
		header    http.Header
		body      string
		tolerance time.Duration
		want      error
	}{
		{"good", signed(t, body, testSecret), body, 0, nil},
		{"the second of two secrets", signed(t, body, oldSecret, testSecret), body, 0, nil},
		{"another secret", signed(t, body, oldSecret), body, 0, ErrSignature},
		{"another body", signed(t, body, testSecret), body + " ", 0, ErrSignature},
		{"another id", with(HeaderID, "msg_other"), body, 0, ErrSignature},
		{"another time", with(HeaderTimestamp, "1614265330"), body, 0, ErrSignature},
		{"no time", with(HeaderTimestamp, ""), body, 0, ErrSignature},
		{"no signature", with(HeaderSignature, ""), body, 0, ErrSignature},
		{"no headers", http.Header{}, body, 0, ErrSignature},
		{"four minutes old", at(-4 * time.Minute), body, 0, nil},
		{"six minutes old", at(-6 * time.Minute), body, 0, ErrTimestamp},
		{"six minutes early", at(6 * time.Minute), body, 0, ErrTimestamp},
		{"six minutes old, tolerated", at(-6 * time.Minute), body, 10 * time.Minute, nil},
		{"four minutes old, not tolerated", at(-4 * time.Minute), body, time.Minute, ErrTimestamp},
	} {
		if err := Verify(testSecret, tc.header, []byte(tc.body), tc.tolerance); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	header := signed(t, body, testSecret)
	header.Set(HeaderSignature, "v1a,x v2,y "+header.Get(HeaderSignature))
	if err := Verify(testSecret, header, []byte(body), 0); err != nil {
		t.Errorf("among versions that are not known: %v", err)
	}
}

func TestSecretsAreChecked(t *testing.T) {
	for secret, want := range map[string]string{
		"":                                    `does not begin with "whsec_"`,
		strings.Repeat("QUJD", 8):             `does not begin with "whsec_"`,
		"whsec_not base64 at all, no":         "not base64",
		"whsec_QUJD":                          "3 bytes: want 24 to 64",
		"whsec_" + strings.Repeat("QUJD", 22): "66 bytes: want 24 to 64",
	} {
		_, err := parseSecret(secret)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseSecret(%q): %v, want it to say %q", secret, err, want)
		} else if len(secret) > 10 && strings.Contains(err.Error(), secret[6:]) {
			t.Errorf("parseSecret(%q) shows the secret: %v", secret, err)
		}
		if err := Verify(secret, http.Header{}, nil, 0); err == nil || errors.Is(err, ErrSignature) {
			t.Errorf("Verify with the secret %q: %v", secret, err)
		}
	}
}
