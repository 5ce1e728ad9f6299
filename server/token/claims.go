package token

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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

// A claim is one that this package reads: its name, what its value must be, and what
// puts the value into a field.
type claim struct {
	name, want string
	read       func(c *Claims, value []byte) error
}

// A form is all claims under the names that a verifier uses, the user's first.
type form []claim

const claimCount = 11

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

// form returns the claims under these names.
func (n ClaimNames) form() form {
	return form{
		{n.user(), "a string", func(c *Claims, v []byte) error { return readText(&c.Subject, v) }},
		{"iss", "a string", func(c *Claims, v []byte) error { return readText(&c.Issuer, v) }},
		{"aud", "a string or a list of strings", func(c *Claims, v []byte) error { return readAudience(&c.Audience, v) }},
		{"iat", dateWanted, func(c *Claims, v []byte) error { return readDate(&c.IssuedAt, v) }},
		{"nbf", dateWanted, func(c *Claims, v []byte) error { return readDate(&c.NotBefore, v) }},
		{"exp", dateWanted, func(c *Claims, v []byte) error { return readDate(&c.ExpiresAt, v) }},
		{n.Prefix + "channel", "a string", func(c *Claims, v []byte) error { return readText(&c.Channel, v) }},
		{n.Prefix + "channels", "a list of strings", func(c *Claims, v []byte) error { return readList(&c.Channels, v) }},
		{n.Prefix + "allow", `{"subscribe": [patterns], "publish": [patterns]}`, readPermissions},
		{n.Prefix + "rate", fmt.Sprintf("a whole number, 0 to %d", MessageRateMax), func(c *Claims, v []byte) error { return readRate(&c.MessageRate, n.Prefix+"rate", v) }},
		{n.Prefix + "info", "JSON", func(c *Claims, v []byte) error { c.Info = bytes.Clone(v); return nil }},
	}
}

var defaultForm = ClaimNames{}.form()

// UnmarshalJSON reads the claims of a token; claims that are not in Claims are
// ignored.
func (c *Claims) UnmarshalJSON(b []byte) error { return c.read(b, defaultForm) }

// read reads an object. Names are compared letter by letter: to encoding/json "Sub"
// and "sub" are one field, and a back end may let its users choose further claims. Of
// a name that is there twice, the last counts.
func (c *Claims) read(object []byte, f form) error {
	*c = Claims{}
	if !jsonx.IsObject(object) {
		return &claimError{"the claims are no JSON object"}
	}
	var values [claimCount][]byte
	for w := jsonx.Walk(object); w.More(); {
		name, value := w.Member()
		label, _ := jsonx.Text(name) // nothing if it could be none of ours
		for i := range f {
			if f[i].name == string(label) {
				values[i] = value
				break
			}
		}
	}
	for i, value := range values {
		if len(value) == 0 || jsonx.IsNull(value) {
			continue
		}
		switch err := f[i].read(c, value).(type) {
		case nil:
		case *claimError:
			return err
		default:
			return &claimError{fmt.Sprintf("claim %q is not %s", f[i].name, f[i].want)}
		}
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

// A claimError says which claim is malformed. Clients see its text.
type claimError struct{ text string }

func (e *claimError) Error() string { return e.text }

var errClaim = errors.New("token: not what the claim must be")

func readText(into *string, value []byte) error {
	text, err := jsonx.Text(value)
	*into = string(text)
	return err
}

func readList(into *[]string, value []byte) error {
	if value[0] != '[' {
		return errClaim
	}
	for w := jsonx.Walk(value); w.More(); {
		text, err := jsonx.Text(w.Element())
		if err != nil {
			return err
		}
		*into = append(*into, string(text))
	}
	return nil
}

func readAudience(into *[]string, value []byte) error {
	if value[0] == '[' {
		return readList(into, value)
	}
	*into = []string{""}
	return readText(&(*into)[0], value)
}

func readPermissions(c *Claims, value []byte) error {
	if value[0] != '{' {
		return errClaim
	}
	for w := jsonx.Walk(value); w.More(); {
		name, value := w.Member()
		label, _ := jsonx.Text(name)
		var into *[]string
		switch string(label) {
		case "subscribe":
			into = &c.Allow.Subscribe
		case "publish":
			into = &c.Allow.Publish
		default:
			continue
		}
		if *into = nil; jsonx.IsNull(value) {
			continue
		}
		if err := readList(into, value); err != nil {
			return err
		}
	}
	return nil
}

func readRate(into *int, name string, value []byte) error {
	err := (*jsonx.Int)(into).UnmarshalJSON(value)
	if err == nil && (*into < 0 || *into > MessageRateMax) {
		return &claimError{fmt.Sprintf("claim %q is %d: want 0 to %d", name, *into, MessageRateMax)}
	}
	return err
}

const dateWanted = "a number of seconds since 1970"

// readDate reads a NumericDate (RFC 7519, section 2) from 1970 to the year 9999: any
// other is a mistake, milliseconds for instance.
func readDate(into *time.Time, value []byte) error {
	seconds, err := strconv.ParseFloat(string(value), 64)
	if value[0] == '"' { // some issuers write it as a text
		var n json.Number
		if err = json.Unmarshal(value, &n); err == nil {
			seconds, err = n.Float64()
		}
	}
	if err != nil || !(seconds >= 0 && seconds < 253402300800) { // 10000-01-01
		return errClaim
	}
	*into = time.Unix(int64(seconds), 0)
	return nil
}

// standard gives golang-jwt the claims that it checks.
type standard struct {
	Claims
	names ClaimNames
	form  form
}

// UnmarshalJSON reads the claims under the names of the verifier.
func (s *standard) UnmarshalJSON(b []byte) error { return s.read(b, s.form) }

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
