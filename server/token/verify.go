package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roostws/roost/server/protocol"
)

// Verify returns the claims of a good token. Otherwise the error is a
// *protocol.Error that says what is wrong with it: CodeTokenExpired if it
// has expired and nothing else is wrong; CodeBusy, with RetryAfter, if it may be
// good then, because its key may be in a newer key set or because it becomes valid
// within minutes; CodeUnauthorized in all other cases. If no key fits, Verify
// fetches the key set and waits for it until ctx is done.
func (v *Verifier) Verify(ctx context.Context, text string) (Claims, error) {
	c, err := v.verify(ctx, text)
	if err == nil {
		v.accepted.Add(1)
		return c, nil
	}
	if refused := (*protocol.Error)(nil); errors.As(err, &refused) && refused.Code == protocol.CodeTokenExpired {
		v.expired.Add(1)
	} else {
		v.refused.Add(1)
	}
	return c, err
}

func (v *Verifier) verify(ctx context.Context, text string) (Claims, error) {
	if len(text) > MaxBytes {
		return Claims{}, unauthorized("the token has %d bytes: at most %d are taken", len(text), MaxBytes)
	}
	m := v.material.Load()
	set := v.set.current()
	c, t, err := v.parse(m, text, set)
	if err == nil || !v.unknownKey(m, t, err, set) {
		return c, v.explain(m, t, c, err)
	}
	left, setErr := v.set.refresh(ctx)
	if now := v.set.current(); now != set { // an attempt may have ended before refresh, too
		set = now
		c, t, err = v.parse(m, text, set)
	}
	if err == nil || !v.unknownKey(m, t, err, set) {
		return c, v.explain(m, t, c, err)
	}
	busy := &protocol.Error{Code: protocol.CodeBusy, RetryAfter: left}
	switch {
	case setErr != nil:
		// Why is in the log: it is not for strangers.
		busy.Message = "the token's key is not known, and the key set cannot be fetched at the moment"
		if left == 0 {
			busy.RetryAfter = v.set.retry
		}
	case left > 0:
		// The key may have been published since the last fetch.
		busy.Message = "the token's key is not known, and the key set was fetched a moment ago"
	default:
		return c, v.explain(m, t, c, err)
	}
	return Claims{}, busy
}

// parse checks a token with the keys at hand, and those of set.
func (v *Verifier) parse(m *material, text string, set *[]key) (Claims, *jwt.Token, error) {
	claims := standard{form: v.form}
	t, err := m.parser.ParseWithClaims(text, &claims, func(t *jwt.Token) (any, error) { return m.keys(t, set) })
	return claims.Claims, t, err
}

var (
	errNoKey    = errors.New("no key")
	errCritical = errors.New("critical extension")
)

// keys returns the keys that may have signed a token: all of its algorithm. If the
// set has some of its kid, only these of the set are tried; otherwise all are,
// since a kid is a hint (RFC 7517, section 4.5) and a key may have none.
func (m *material) keys(t *jwt.Token, set *[]key) (any, error) {
	// RFC 7515, section 4.1.11: what must be understood, and is not, makes the
	// token invalid. No extension is known here.
	if _, ok := t.Header["crit"]; ok {
		return nil, errCritical
	}
	var fitting jwt.VerificationKeySet
	for _, k := range m.static {
		if slices.Contains(k.algorithms, t.Method.Alg()) {
			fitting.Keys = append(fitting.Keys, k.key)
		}
	}
	named := hasKey(*set, t)
	for _, k := range *set {
		if slices.Contains(k.algorithms, t.Method.Alg()) && (!named || k.kid == keyID(t)) {
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

// hasKey reports whether set has a key of the token's kid and algorithm.
func hasKey(set []key, t *jwt.Token) bool {
	kid := keyID(t)
	return kid != "" && slices.ContainsFunc(set, func(k key) bool { return k.kid == kid && slices.Contains(k.algorithms, t.Method.Alg()) })
}

// unknownKey reports whether t failed because its key is not in set, but may be in
// a newer one.
func (v *Verifier) unknownKey(m *material, t *jwt.Token, err error, set *[]key) bool {
	if v.set == nil || t == nil || t.Method == nil || strings.HasPrefix(t.Method.Alg(), "HS") || !slices.Contains(m.algorithms, t.Method.Alg()) {
		return false
	}
	if !errors.Is(err, errNoKey) && !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return false
	}
	return !hasKey(*set, t)
}

func unauthorized(format string, args ...any) error {
	return &protocol.Error{Code: protocol.CodeUnauthorized, Message: fmt.Sprintf(format, args...)}
}

// explain turns err into the error that the client sees.
func (v *Verifier) explain(m *material, t *jwt.Token, c Claims, err error) error {
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
	case !slices.Contains(m.algorithms, algorithm):
		return unauthorized("the token's algorithm is %.20q: want %s", algorithm, strings.Join(m.algorithms, ", "))
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

// explainClaims says everything that is wrong at once: a client that sees
// "expired" comes back with a new token, which must then be good.
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
	code, retry := protocol.CodeUnauthorized, time.Duration(0)
	if wait := c.NotBefore.Add(-v.leeway).Sub(now); len(wrong) == 1 && errors.Is(err, jwt.ErrTokenNotValidYet) &&
		!errors.Is(err, jwt.ErrTokenExpired) && wait <= notBeforeMax {
		code, retry = protocol.CodeBusy, max(wait, time.Millisecond)
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		if len(wrong) == 0 {
			code = protocol.CodeTokenExpired
		}
		wrong = append(wrong, fmt.Sprintf("the token expired at %s, and here it is %s", stamp(c.ExpiresAt), stamp(now)))
	}
	if len(wrong) == 0 {
		wrong = []string{"the token is not valid"}
	}
	return &protocol.Error{Code: code, Message: strings.Join(wrong, "; "), RetryAfter: retry}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// logRefused logs why a token was refused, with what a search for the client would
// begin with. The user is the one that the token names, which nothing proves.
func (v *Verifier) logRefused(ctx context.Context, hook, client, text string, err error, about func() []slog.Attr) {
	if err == nil || !v.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	held, ok := v.refusals.Pass()
	if !ok {
		return
	}
	attrs := append(about(), slog.String("hook", hook), slog.String("conn_id", client), slog.Any("err", err))
	if _, claims, err := Decode(text); err == nil {
		var named Claims
		_ = named.read(claims, v.form[:1])
		attrs = append(attrs, slog.String("claimed_user", fmt.Sprintf("%.255s", named.Subject)))
	}
	if held > 0 {
		attrs = append(attrs, slog.Uint64("lines_held", held))
	}
	v.log.LogAttrs(ctx, slog.LevelInfo, "a token was refused", attrs...)
}

func aboutConnect(r *protocol.ConnectRequest) (attrs []slog.Attr) {
	if r.RemoteAddr.IsValid() {
		attrs = append(attrs, slog.String("remote_addr", r.RemoteAddr.String()))
	}
	if r.Name != "" {
		attrs = append(attrs, slog.String("client_name", fmt.Sprintf("%.100s", r.Name)))
	}
	return attrs
}

// Connect is protocol.Application's hook of this name. A client whose identity is known
// already (from a cookie, say) needs no token; one that it shows must name the
// same user.
func (v *Verifier) Connect(ctx context.Context, r *protocol.ConnectRequest) error {
	err := v.connect(ctx, r)
	v.logRefused(ctx, "connect", r.Client, r.Token, err, func() []slog.Attr { return aboutConnect(r) })
	return err
}

func (v *Verifier) connect(ctx context.Context, r *protocol.ConnectRequest) error {
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
		return v.errOtherUser()
	}
	r.User, r.Channels, r.Info = c.Subject, c.Channels, c.Info
	v.grant(r, &c)
	return nil
}

// Refresh is protocol.Application's hook of this name. It takes a new token for an open
// connection, of the same user.
func (v *Verifier) Refresh(ctx context.Context, r *protocol.ConnectRequest) error {
	err := v.refresh(ctx, r)
	v.logRefused(ctx, "refresh", r.Client, r.Token, err, func() []slog.Attr { return aboutConnect(r) })
	return err
}

func (v *Verifier) refresh(ctx context.Context, r *protocol.ConnectRequest) error {
	if r.Token == "" {
		return unauthorized("refresh needs a token")
	}
	c, err := v.identity(ctx, r.Token)
	if err != nil {
		return err
	}
	if c.Subject != r.User {
		return v.errOtherUser()
	}
	v.grant(r, &c)
	return nil
}

// Subscribe is protocol.Application's hook of this name. The token is for one channel and
// one user; one that names no user is for clients without an identity.
func (v *Verifier) Subscribe(ctx context.Context, r *protocol.SubscribeRequest) error {
	err := v.subscribe(ctx, r)
	v.logRefused(ctx, "subscribe", r.Client, r.Token, err, func() []slog.Attr { return []slog.Attr{slog.String("channel", r.Channel)} })
	return err
}

func (v *Verifier) subscribe(ctx context.Context, r *protocol.SubscribeRequest) error {
	if r.Token == "" {
		return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "this channel needs a token for it"}
	}
	c, err := v.Verify(ctx, r.Token)
	switch {
	case err != nil:
		return err
	case c.Channel == "":
		return unauthorized(`the token has no claim %q: one for a connection does not open a channel`, v.names.Prefix+"channel")
	case c.Channel != r.Channel:
		return unauthorized("the token is for channel %.255q", c.Channel)
	case c.Subject != r.User:
		return v.errOtherUser()
	}
	r.Expires = v.expires(&c)
	return nil
}

func (v *Verifier) errOtherUser() error {
	return unauthorized(`the token's user (claim %q) is not the connection's`, v.names.user())
}

// identity checks a token that says who a connection is.
func (v *Verifier) identity(ctx context.Context, text string) (Claims, error) {
	c, err := v.Verify(ctx, text)
	switch {
	case err != nil:
		return c, err
	case c.Channel != "":
		return c, unauthorized(`the token is for channel %.255q alone (claim %q), not for a connection`, c.Channel, v.names.Prefix+"channel")
	case c.Subject == "" && !v.anonymous:
		return c, unauthorized(`the token names no user (claim %q)`, v.names.user())
	}
	return c, nil
}

func (v *Verifier) grant(r *protocol.ConnectRequest, c *Claims) {
	r.Expires, r.Allow, r.MessageRate = v.expires(c), c.Allow, c.MessageRate
}

// expires returns when a connection or subscription ends: at exp or, where the
// token was accepted because of the leeway, at the end of that.
func (v *Verifier) expires(c *Claims) time.Time {
	if c.ExpiresAt.IsZero() || time.Now().Before(c.ExpiresAt) {
		return c.ExpiresAt
	}
	return c.ExpiresAt.Add(v.leeway)
}
