package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed request (Standard Webhooks 1.0.0, "Webhook headers").
const (
	// HeaderID names the request. It is the same each time that it is tried.
	HeaderID = "Webhook-Id"
	// HeaderTimestamp is when it was tried, in Unix seconds.
	HeaderTimestamp = "Webhook-Timestamp"
	// HeaderSignature holds a signature for each secret, separated by spaces.
	HeaderSignature = "Webhook-Signature"
)

// DefaultTolerance is how far a request's time may be from now, for Verify.
const DefaultTolerance = 5 * time.Minute

// Why Verify refuses a request.
var (
	// ErrSignature: no signature is there, or none fits secret, headers and body.
	ErrSignature = errors.New("webhook: the signature does not fit")
	// ErrTimestamp: the request is too old, or comes from the future: it was
	// recorded and sent again, or a clock is wrong.
	ErrTimestamp = errors.New("webhook: the timestamp is too far from now")
)

const (
	secretPrefix     = "whsec_"
	signatureVersion = "v1,"

	// The length of a key (Standard Webhooks 1.0.0, "Signature scheme").
	keyMinBytes = 24
	keyMaxBytes = 64
)

// Verify checks a request that a Sender or an Asker has sent: that it was signed
// with secret ("whsec_" and base64) and that its time is within tolerance of
// now. If tolerance is zero, DefaultTolerance. The body is what came, byte for
// byte. The error is ErrSignature, ErrTimestamp, or one about the secret.
//
// Events may come twice, with the same HeaderID: keep those of the last
// minutes if that matters.
func Verify(secret string, header http.Header, body []byte, tolerance time.Duration) error {
	key, err := parseSecret(secret)
	if err != nil {
		return fmt.Errorf("webhook: the secret: %w", err)
	}
	id, timestamp := header.Get(HeaderID), header.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return ErrSignature
	}
	want := []byte(sign(key, id, timestamp, body))
	fits := false
	for got := range strings.FieldsSeq(header.Get(HeaderSignature)) {
		if hmac.Equal([]byte(got), want) {
			fits = true
		}
	}
	if !fits {
		return ErrSignature
	}
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	if time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return ErrTimestamp
	}
	return nil
}

// sign returns one signature, with its version.
func sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return signatureVersion + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// signAll sets the headers of a request that is sent now: a signature of each key.
func signAll(header http.Header, keys [][]byte, id string, body []byte) {
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	signatures := make([]string, len(keys))
	for i, key := range keys {
		signatures[i] = sign(key, id, timestamp, body)
	}
	header.Set(HeaderID, id)
	header.Set(HeaderTimestamp, timestamp)
	header.Set(HeaderSignature, strings.Join(signatures, " "))
}

// newID returns a name for a request. It has no full stop, which would make the
// signed text ambiguous.
func newID() string { return "msg_" + rand.Text() }

// parseSecret returns the key of a secret. The error does not show it.
func parseSecret(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, errors.New(`it does not begin with "whsec_": make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New(`what follows "whsec_" is not base64: make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	if len(key) < keyMinBytes || len(key) > keyMaxBytes {
		return nil, fmt.Errorf(`it stands for %d bytes: want %d to %d: make one with: echo "whsec_$(openssl rand -base64 32)"`, len(key), keyMinBytes, keyMaxBytes)
	}
	return key, nil
}
