package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roostws/roost/server/protocol"
)

// Verify answers the claims of a good token. Otherwise the error is a
// *protocol.Error that says what is wrong with it: ErrorTokenExpired if
// nothing but that, ErrorBusy if its key may be in the key set that could not
// be fetched, ErrorUnauthorized in all other cases. It waits for the key set if
// the key is not known, at most as long as ctx lasts.
func (v *Verifier) Verify(ctx context.Context, text string) (Claims, error) {
	c, err := v.verify(ctx, text)
	var refused *protocol.Error
	switch {
	case err == nil:
		v.accepted.Add(1)
	case errors.As(err, &refused) && refused.Code == protocol.CodeTokenExpired:
		v.expired.Add(1)
	default:
		v.refused.Add(1)
	}
	return c, err
}

func (v *Verifier) verify(ctx context.Context, text string) (Claims, error) {
	if len(text) > MaxBytes {
		return Claims{}, unauthorized("the token has %d bytes: at most %d are taken", len(text), MaxBytes)
	}
	set := v.set.current()
	c, t, err := v.parse(text, set)
	if err == nil || !v.unknownKey(t, err, set) {
		return c, v.explain(t, c, err)
	}
	setErr := v.set.refresh(ctx)
	if now := v.set.current(); now != set { // an attempt may have ended before refresh, too
		set = now
		c, t, err = v.parse(text, set)
	}
	if setErr != nil && v.unknownKey(t, err, set) {
		// Why is in the log: it is not for strangers.
		return Claims{}, &protocol.Error{Code: protocol.CodeBusy,
			Message: "the token's key is not known, and the key set cannot be fetched at the moment", RetryAfter: v.set.retry}
	}
	return c, v.explain(t, c, err)
}

// parse checks a token with the keys at hand, and those of set.
func (v *Verifier) parse(text string, set *[]key) (Claims, *jwt.Token, error) {
	var claims standard
	t, err := v.parser.ParseWithClaims(text, &claims, func(t *jwt.Token) (any, error) { return v.keys(t, set) })
	return claims.Claims, t, err
}

var (
	errNoKey    = errors.New("no key")
	errCritical = errors.New("critical extension")
)

// keys answers those that may have signed a token: of its algorithm and, from a
// key set, of its kid.
func (v *Verifier) keys(t *jwt.Token, set *[]key) (any, error) {
	// RFC 7515, section 4.1.11: what must be understood, and is not, makes the
	// token invalid. No extension is known here.
	if _, ok := t.Header["crit"]; ok {
		return nil, errCritical
	}
	var fitting jwt.VerificationKeySet
	for _, k := range v.static {
		if k.algorithm == t.Method.Alg() {
			fitting.Keys = append(fitting.Keys, k.key)
		}
	}
	for _, k := range *set {
		if kid := keyID(t); k.algorithm == t.Method.Alg() && (kid == "" || kid == k.kid) {
			fitting.Keys = append(fitting.Keys, k.key)
		}
	}
	if len(fitting.Keys) == 0 {
		return nil, errNoKey
	}
	return fitting, nil
}

func keyID(t *jwt.Token) string {
	kid, _ := t.Header["kid"].(string)
	return kid
}

// unknownKey tells whether t failed because of a key that is not in set, and
// may be in a newer one.
func (v *Verifier) unknownKey(t *jwt.Token, err error, set *[]key) bool {
	if v.set == nil || t == nil || t.Method == nil || t.Method.Alg() == hs256 || !slices.Contains(v.algorithms, t.Method.Alg()) {
		return false
	}
	if !errors.Is(err, errNoKey) && !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return false
	}
	kid := keyID(t)
	return kid == "" || !slices.ContainsFunc(*set, func(k key) bool { return k.kid == kid && k.algorithm == t.Method.Alg() })
}

func unauthorized(format string, args ...any) error {
	return &protocol.Error{Code: protocol.CodeUnauthorized, Message: fmt.Sprintf(format, args...)}
}

// explain is err as the client is told it.
func (v *Verifier) explain(t *jwt.Token, c Claims, err error) error {
	if err == nil {
		return nil
	}
	var algorithm string
	if t != nil {
		algorithm, _ = t.Header["alg"].(string)
	}
	var wrong *claimError
	switch {
	case errors.As(err, &wrong):
		return unauthorized("%s", wrong.text)
	case errors.Is(err, jwt.ErrTokenMalformed):
		return unauthorized("the token is no JWT: want three texts in base64url with dots between")
	case !slices.Contains(v.algorithms, algorithm):
		return unauthorized("the token's algorithm is %.20q: want %s", algorithm, strings.Join(v.algorithms, ", "))
	case errors.Is(err, errCritical):
		return unauthorized(`the token has critical extensions (header "crit"), and none is known`)
	case errors.Is(err, errNoKey) && keyID(t) != "":
		return unauthorized("no key is known with the token's kid %.80q and algorithm %s", keyID(t), algorithm)
	case errors.Is(err, errNoKey):
		return unauthorized("no key is known for the token's algorithm %s", algorithm)
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return unauthorized("the token's signature fits no key")
	}
	return v.explainClaims(c, err)
}

// explainClaims says everything that is wrong at once: who is told "expired"
// comes back with a new token, and that must be all that it takes.
func (v *Verifier) explainClaims(c Claims, err error) error {
	now := time.Now()
	var wrong []string
	if errors.Is(err, jwt.ErrTokenNotValidYet) {
		wrong = append(wrong, fmt.Sprintf("the token is not valid before %s, and here it is %s", stamp(c.NotBefore), stamp(now)))
	}
	if v.issuer != "" && c.Issuer != v.issuer {
		wrong = append(wrong, fmt.Sprintf("claim \"iss\" is %.200q: want %q", c.Issuer, v.issuer))
	}
	if len(v.audience) > 0 && !slices.ContainsFunc(v.audience, func(a string) bool { return slices.Contains(c.Audience, a) }) {
		wrong = append(wrong, fmt.Sprintf("claim \"aud\" has none of %q", v.audience))
	}
	code := protocol.CodeUnauthorized
	if errors.Is(err, jwt.ErrTokenExpired) {
		if len(wrong) == 0 {
			code = protocol.CodeTokenExpired
		}
		wrong = append(wrong, fmt.Sprintf("the token expired at %s, and here it is %s", stamp(c.ExpiresAt), stamp(now)))
	}
	if len(wrong) == 0 {
		wrong = []string{"the token is not valid"}
	}
	return &protocol.Error{Code: code, Message: strings.Join(wrong, "; ")}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Connect is protocol.Application's hook of this name. A client whose identity is
// known already (from a cookie, say) may show no token, and none of another user.
func (v *Verifier) Connect(ctx context.Context, r *protocol.ConnectRequest) error {
	if r.Token == "" {
		if r.User != "" || v.anonymous {
			return nil
		}
		return unauthorized("connect needs a token")
	}
	c, err := v.identity(ctx, r.Token)
	if err != nil {
		return err
	}
	if r.User != "" && c.Subject != r.User {
		return errOtherUser
	}
	r.User, r.Channels, r.Info = c.Subject, c.Channels, c.Info
	v.grant(r, &c)
	return nil
}

// Refresh is protocol.Application's hook of this name: a new token for a connection
// that goes on, whose user stays the same.
func (v *Verifier) Refresh(ctx context.Context, r *protocol.ConnectRequest) error {
	if r.Token == "" {
		return unauthorized("refresh needs a token")
	}
	c, err := v.identity(ctx, r.Token)
	if err != nil {
		return err
	}
	if c.Subject != r.User {
		return errOtherUser
	}
	v.grant(r, &c)
	return nil
}

// Subscribe is protocol.Application's hook of this name. The token is for one channel
// and one user; without claim sub it is for clients without an identity.
func (v *Verifier) Subscribe(ctx context.Context, r *protocol.SubscribeRequest) error {
	if r.Token == "" {
		return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "this channel needs a token for it"}
	}
	c, err := v.Verify(ctx, r.Token)
	switch {
	case err != nil:
		return err
	case c.Channel == "":
		return unauthorized(`the token has no claim "channel": one for a connection does not open a channel`)
	case c.Channel != r.Channel:
		return unauthorized("the token is for channel %.255q", c.Channel)
	case c.Subject != r.User:
		return errOtherUser
	}
	r.Expires = v.expires(&c)
	return nil
}

var errOtherUser error = &protocol.Error{Code: protocol.CodeUnauthorized, Message: `the token's user (claim "sub") is not the connection's`}

// identity checks a token that says who a connection is.
func (v *Verifier) identity(ctx context.Context, text string) (Claims, error) {
	c, err := v.Verify(ctx, text)
	switch {
	case err != nil:
		return c, err
	case c.Channel != "":
		return c, unauthorized(`the token is for channel %.255q alone (claim "channel"), not for a connection`, c.Channel)
	case c.Subject == "" && !v.anonymous:
		return c, unauthorized(`the token names no user (claim "sub")`)
	}
	return c, nil
}

func (v *Verifier) grant(r *protocol.ConnectRequest, c *Claims) {
	r.Expires, r.Allow, r.MessageRate = v.expires(c), c.Allow, c.MessageRate
}

// expires is when a connection or subscription ends: as long as its token would still be taken.
func (v *Verifier) expires(c *Claims) time.Time {
	if c.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return c.ExpiresAt.Add(v.leeway)
}
