package token

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// Sign returns a token that says c. key is a secret ([]byte, for HS256) or a
// private key: *rsa.PrivateKey (RS256), *ecdsa.PrivateKey on P-256 (ES256) or
// P-384 (ES384), or ed25519.PrivateKey (EdDSA). kid names it in a key set; if
// empty, the token names no key.
func Sign(c Claims, key any, kid string) (string, error) { return ClaimNames{}.Sign(c, key, kid) }

// Sign is the function Sign with other names for the claims.
func (n ClaimNames) Sign(c Claims, key any, kid string) (string, error) {
	algorithm := hs256
	switch k := key.(type) {
	case []byte:
		if err := checkSecret(k, true); err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
	case crypto.Signer:
		public, err := newKey(k.Public())
		if err != nil {
			return "", fmt.Errorf("token: %w", err)
		}
		algorithm = public.algorithms[0]
	default:
		return "", fmt.Errorf("token: a key of type %T cannot sign", key)
	}
	if len(c.Info) > 0 && !json.Valid(c.Info) {
		return "", errors.New("token: Claims.Info is not JSON")
	}
	if slices.ContainsFunc(n.form()[1:], func(other claim) bool { return other.name == n.user() }) {
		return "", fmt.Errorf("token: the user's ID cannot be in the claim %q, which has a meaning of its own", n.user())
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(algorithm), &standard{Claims: c, names: n})
	if kid != "" {
		t.Header["kid"] = kid
	}
	signed, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return signed, nil
}

// Decode returns header and claims of a token as JSON. Nothing is checked: they
// are for display only.
func Decode(text string) (header, claims json.RawMessage, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(text) > MaxBytes {
		return nil, nil, errNotJWT
	}
	for i, into := range []*json.RawMessage{&header, &claims} {
		if *into, err = base64.RawURLEncoding.DecodeString(parts[i]); err != nil || !json.Valid(*into) {
			return nil, nil, errNotJWT
		}
	}
	return header, claims, nil
}

var errNotJWT = errors.New("token: no JWT, which is three texts in base64url with dots between, up to 16 KiB")
