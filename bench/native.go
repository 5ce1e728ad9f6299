package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// native completes the options of clients that speak Roost's native protocol
// (docs/protocol.md): they offer its subprotocol, connect, and subscribe. It
// returns how many replies each connection must get.
func (o *Options) native() (replies int) {
	if o.Native == "" {
		return 0
	}
	if o.transport.fallback() {
		return 2 // the request's query has the commands
	}
	connect := `{"id":1,"connect":{}}`
	if o.TokenSecretFile != "" {
		connect = `{"id":1,"connect":{"token":"{{.Token}}"}}`
	}
	// Inside a JSON text, {{.N}} stays as it is.
	subscribe := `{"id":2,"subscribe":{"channel":` + jsonText(o.Native) + `}}`
	o.Headers = append([]string{"Sec-WebSocket-Protocol: roost.v1.json"}, o.Headers...)
	o.Subscribe = append([]string{connect, subscribe}, o.Subscribe...)
	return 2
}

// jsonText returns s as a JSON string.
func jsonText(s string) string {
	p, _ := json.Marshal(s) // a string can be encoded
	return string(p)
}

// tokens are what the generators sign for each connection.
type tokens struct {
	// Secret is the key of HS256; without one, there are no tokens.
	Secret     []byte        `json:"secret,omitempty"`
	UserPrefix string        `json:"user_prefix,omitempty"`
	Lifetime   time.Duration `json:"lifetime_ns,omitempty"`
}

// tokens reads what the options name: the first line of the secret file signs.
func (o *Options) tokens() (tokens, error) {
	t := tokens{UserPrefix: o.TokenUserPrefix, Lifetime: o.TokenLifetime}
	if o.TokenSecretFile == "" {
		if o.TokenUserPrefix != "" || o.TokenLifetime != 0 {
			return t, errors.New("tokens need a secret: add --token-secret-file")
		}
		return t, nil
	}
	setDefault(&t.UserPrefix, "user-")
	setDefault(&t.Lifetime, time.Hour)
	text, err := os.ReadFile(o.TokenSecretFile)
	if err != nil {
		return t, fmt.Errorf("token secret: %w", err)
	}
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	if t.Secret = bytes.TrimSpace(line); len(t.Secret) == 0 {
		return t, fmt.Errorf("token secret file %s is empty: roost token --new-secret makes a secret", o.TokenSecretFile)
	}
	return t, nil
}

// sign returns connection n's token: a user and an expiry of its own.
func (t tokens) sign(n int) (string, error) {
	if len(t.Secret) == 0 {
		return "", errors.New("a token without --token-secret-file")
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   t.UserPrefix + strconv.Itoa(n),
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(t.Lifetime + time.Duration(n%1800)*time.Second)),
	}).SignedString(t.Secret)
}

var (
	nativeReply     = []byte(`{"id":`)
	nativeError     = []byte(`"error":`)
	nativeHeartbeat = []byte("{}")
)
