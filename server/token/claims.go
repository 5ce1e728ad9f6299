package token

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/protocol"
)

// MessageRateMax is the greatest that claim rate may be.
const MessageRateMax = 1<<16 - 1

// Claims are what a token says. In JSON they have the names in brackets, unless
// Config.UserClaim or Config.ClaimPrefix say otherwise; fields that are zero are
// left out.
type Claims struct {
	// Subject is the user's ID [sub].
	Subject string
	// Issuer is who made the token [iss], Audience for whom [aud].
	Issuer   string
	Audience []string
	// IssuedAt, NotBefore and ExpiresAt have seconds [iat, nbf, exp].
	IssuedAt, NotBefore, ExpiresAt time.Time
	// Channel makes it a token for this one channel, and for nothing else [channel].
	Channel string
	// Channels are subscribed by the server when the client connects [channels].
	Channels []string
	// Allow is what the client may do beyond what namespaces give to all
	// [allow: {subscribe, publish}].
	Allow protocol.Permissions
	// MessageRate limits the messages a second of this client [rate].
	MessageRate int
	// Info is JSON that presence shows of the client [info].
	Info json.RawMessage
}

// claim ties a name to a field.
type claim struct {
	name string
	into any
	want string
}

// ClaimNames are the names of claims that differ between issuers. The zero value
// stands for those in the comments of Claims.
type ClaimNames struct {
	// User is the claim that holds the user's ID, a string. If empty, "sub".
	User string
	// Prefix stands before the claims that this package defines: channel, channels,
	// allow, rate and info.
	Prefix string
}

func (n ClaimNames) user() string { return cmp.Or(n.User, "sub") }

// fields returns all claims. Their names are compared letter by letter: to
// encoding/json "Sub" and "sub" are one field, and a back end may let its users
// choose further claims.
func (c *Claims) fields(n ClaimNames) []claim {
	return []claim{
		{n.user(), &c.Subject, "a string"},
		{"iss", &c.Issuer, "a string"},
		{"aud", (*jwt.ClaimStrings)(&c.Audience), "a string or a list of strings"},
		{"iat", (*date)(&c.IssuedAt), dateWanted},
		{"nbf", (*date)(&c.NotBefore), dateWanted},
		{"exp", (*date)(&c.ExpiresAt), dateWanted},
		{n.Prefix + "channel", &c.Channel, "a string"},
		{n.Prefix + "channels", &c.Channels, "a list of strings"},
		{n.Prefix + "allow", (*permissions)(&c.Allow), `{"subscribe": [patterns], "publish": [patterns]}`},
		{n.Prefix + "rate", (*jsonx.Int)(&c.MessageRate), fmt.Sprintf("a whole number, 0 to %d", MessageRateMax)},
		{n.Prefix + "info", &c.Info, "JSON"},
	}
}

// UnmarshalJSON reads the claims of a token; claims that are not in Claims are
// ignored.
func (c *Claims) UnmarshalJSON(b []byte) error { return c.read(b, ClaimNames{}) }

func (c *Claims) read(b []byte, n ClaimNames) error {
	*c = Claims{}
	if err := readMembers(b, c.fields(n)); err != nil {
		return err
	}
	if c.MessageRate < 0 || c.MessageRate > MessageRateMax {
		return &claimError{fmt.Sprintf(`claim %q is %d: want 0 to %d`, n.Prefix+"rate", c.MessageRate, MessageRateMax)}
	}
	return nil
}

// MarshalJSON writes the claims of a token.
func (c Claims) MarshalJSON() ([]byte, error) { return c.write(ClaimNames{}) }

func (c *Claims) write(n ClaimNames) ([]byte, error) {
	members := map[string]any{}
	text := func(name, value string) {
		if value != "" {
			members[name] = value
		}
	}
	when := func(name string, t time.Time) {
		if !t.IsZero() {
			members[name] = jwt.NewNumericDate(t)
		}
	}
	list := func(members map[string]any, name string, values []string) {
		if len(values) > 0 {
			members[name] = values
		}
	}
	text(n.user(), c.Subject)
	text("iss", c.Issuer)
	list(members, "aud", c.Audience)
	when("iat", c.IssuedAt)
	when("nbf", c.NotBefore)
	when("exp", c.ExpiresAt)
	text(n.Prefix+"channel", c.Channel)
	list(members, n.Prefix+"channels", c.Channels)
	allow := map[string]any{}
	list(allow, "subscribe", c.Allow.Subscribe)
	list(allow, "publish", c.Allow.Publish)
	if len(allow) > 0 {
		members[n.Prefix+"allow"] = allow
	}
	if c.MessageRate != 0 {
		members[n.Prefix+"rate"] = c.MessageRate
	}
	if len(c.Info) > 0 {
		members[n.Prefix+"info"] = c.Info
	}
	return json.Marshal(members)
}

// readMembers reads the wanted members of an object.
func readMembers(object []byte, wanted []claim) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return &claimError{"the claims are no JSON object"}
	}
	for _, w := range wanted {
		value, ok := members[w.name]
		if !ok || string(value) == "null" {
			continue
		}
		if err := json.Unmarshal(value, w.into); err != nil {
			return &claimError{fmt.Sprintf("claim %q is not %s", w.name, w.want)}
		}
	}
	return nil
}

// A claimError says which claim is malformed. Clients see its text.
type claimError struct{ text string }

func (e *claimError) Error() string { return e.text }

// permissions reads and checks protocol.Permissions.
type permissions protocol.Permissions

func (p *permissions) UnmarshalJSON(b []byte) error {
	return readMembers(b, []claim{{"subscribe", &p.Subscribe, ""}, {"publish", &p.Publish, ""}})
}

// date is a NumericDate (RFC 7519, section 2) from 1970 to the year 9999: any
// other is a mistake, milliseconds for instance.
type date time.Time

const dateWanted = "a number of seconds since 1970"

func (d *date) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	seconds, err := n.Float64()
	if err != nil {
		return err
	}
	if !(seconds >= 0 && seconds < 253402300800) { // 10000-01-01
		return fmt.Errorf("%v is out of range", seconds)
	}
	*d = date(time.Unix(int64(seconds), 0))
	return nil
}

// standard gives golang-jwt the claims that it checks.
type standard struct {
	Claims
	names ClaimNames
}

// UnmarshalJSON reads the claims under the names of the verifier.
func (s *standard) UnmarshalJSON(b []byte) error { return s.read(b, s.names) }

// MarshalJSON writes the claims under the names of the signer.
func (s *standard) MarshalJSON() ([]byte, error) { return s.write(s.names) }

func numericDate(t time.Time) (*jwt.NumericDate, error) {
	if t.IsZero() {
		return nil, nil
	}
	return &jwt.NumericDate{Time: t}, nil
}

func (s *standard) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(s.ExpiresAt) }
func (s *standard) GetIssuedAt() (*jwt.NumericDate, error)       { return numericDate(s.IssuedAt) }
func (s *standard) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(s.NotBefore) }
func (s *standard) GetIssuer() (string, error)                   { return s.Issuer, nil }
func (s *standard) GetSubject() (string, error)                  { return s.Subject, nil }
func (s *standard) GetAudience() (jwt.ClaimStrings, error)       { return s.Audience, nil }
