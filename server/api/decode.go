package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/jsonx"
)

// object refuses a body that is not one JSON object in UTF-8. encoding/json checks
// the syntax; what walks the members may rely on it.
func object(b []byte) error {
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	switch {
	case len(trimmed) == 0:
		return problem(http.StatusBadRequest, CodeBadJSON, "The body is empty. Send a JSON object.")
	case !utf8.Valid(b):
		return problem(http.StatusBadRequest, CodeBadJSON, "The body is not valid UTF-8. Encode it as UTF-8, and bytes that are no text in base64.")
	case !json.Valid(b):
		var any json.RawMessage
		err := json.Unmarshal(b, &any) // only to learn where it is wrong
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return problem(http.StatusBadRequest, CodeBadJSON, "The body is not JSON: %s, at byte %d. Send one JSON object.", syntax.Error(), syntax.Offset)
		}
		return problem(http.StatusBadRequest, CodeBadJSON, "The body is not JSON: %v. Send one JSON object.", err)
	case trimmed[0] != '{':
		return problem(http.StatusBadRequest, CodeBadJSON, "The body is JSON, but no object. Send one JSON object.")
	}
	return nil
}

// unquote returns the text of a JSON string; a plain one is not copied.
func unquote(quoted []byte) ([]byte, bool) {
	text, err := jsonx.Text(quoted)
	return text, err == nil
}

// Bits of the members that were seen.
const (
	memberChannel = 1 << iota
	memberUser
	memberAll
	memberChannels
	memberUsers
	memberData
	memberText
	memberBase64
	memberKey
	memberFrom
	memberIdempotencyKey
	memberSpread
	memberWait
	memberClient
	memberExcept

	membersOfAny    = memberData | memberText | memberBase64 | memberKey | memberFrom | memberIdempotencyKey | memberSpread | memberWait
	membersOfOne    = membersOfAny | memberChannel | memberUser | memberAll | memberClient | memberExcept
	membersOfMany   = membersOfAny | memberChannels | memberUsers
	membersOfTarget = memberChannel | memberUser | memberAll | memberClient | memberChannels | memberUsers
	membersOfClient = memberClient | memberData | memberText | memberBase64 | memberWait
	membersOfBody   = memberData | memberText | memberBase64
)

// memberBit returns the bit of a member, 0 for an unknown name.
func memberBit(name []byte) int {
	switch string(name) {
	case "channel":
		return memberChannel
	case "user":
		return memberUser
	case "all":
		return memberAll
	case "channels":
		return memberChannels
	case "users":
		return memberUsers
	case "data":
		return memberData
	case "text":
		return memberText
	case "base64":
		return memberBase64
	case "key":
		return memberKey
	case "from":
		return memberFrom
	case "idempotency_key":
		return memberIdempotencyKey
	case "spread":
		return memberSpread
	case "wait":
		return memberWait
	case "client":
		return memberClient
	case "except":
		return memberExcept
	}
	return 0
}

// publication is a request to publish.
type publication struct {
	server.Publication
	wait     time.Duration
	channels []string // of a publication to many
	users    []string
}

// parse reads a publication out of an object, with the members that are allowed.
// Its payload is a part of body where that is possible.
func (p *publication) parse(body []byte, allowed int, wait time.Duration) error {
	*p = publication{wait: wait}
	seen := 0
	var unknown []string
	for w := jsonx.Walk(body); w.More(); {
		quoted, value := w.Member()
		name, _ := unquote(quoted)
		bit := memberBit(name) & allowed
		if bit == 0 {
			unknown = append(unknown, string(name))
			continue
		}
		if seen&bit != 0 {
			return problem(http.StatusBadRequest, CodeBadValue, "The member %q stands there twice. Send it once.", name).about(string(name))
		}
		if jsonx.IsNull(value) && bit != memberData {
			continue // as good as absent
		}
		if err := p.set(bit, string(name), value); err != nil {
			return err
		}
		if bit != memberAll || p.All {
			seen |= bit
		}
	}
	if len(unknown) > 0 {
		return unknownMembers(unknown, "this takes "+memberNames(allowed))
	}
	return p.check(seen, allowed)
}

func unknownMembers(unknown []string, takes string) error {
	return problem(http.StatusBadRequest, CodeUnknownMember, "There is no member %s here: %s. Check the spelling.", quoteAll(unknown), takes).about(unknown...)
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(quoted, ", ")
}

func memberNames(allowed int) string {
	var names []string
	for _, name := range []string{"channel", "user", "all", "client", "channels", "users", "data", "text", "base64", "key", "from", "except", "idempotency_key", "spread", "wait"} {
		if allowed&memberBit([]byte(name)) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// set stores the value of one member.
func (p *publication) set(bit int, name string, value []byte) error {
	switch bit {
	case memberData:
		p.Type, p.Payload = server.Text, value
		return nil
	case memberAll:
		p.All = string(value) == "true"
		if !p.All && string(value) != "false" {
			return badValue(name, "true, or leave it out")
		}
		return nil
	case memberChannels, memberUsers, memberExcept:
		names, err := textList(name, value)
		switch bit {
		case memberChannels:
			p.channels = names
		case memberUsers:
			p.users = names
		default:
			p.Except = names
		}
		return err
	}
	text, ok := unquote(value)
	if !ok {
		return badValue(name, "a string, without an escape that is half of a surrogate pair")
	}
	switch bit {
	case memberText:
		p.Type, p.Payload = server.Text, text
	case memberBase64:
		p.Type, p.Payload = server.Binary, make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Decode(p.Payload, text)
		if err != nil {
			return badValue(name, "base64 of the standard alphabet, with padding (RFC 4648, section 4)")
		}
		p.Payload = p.Payload[:n]
	case memberSpread, memberWait:
		return p.setDuration(bit, name, string(text))
	case memberChannel:
		p.Channel = string(text)
	case memberUser:
		p.User = string(text)
	case memberClient:
		p.Client = string(text)
	case memberKey:
		p.Key = string(text)
	case memberFrom:
		p.From = string(text)
	case memberIdempotencyKey:
		p.IdempotencyKey = string(text)
		return checkIdempotencyKey(name, p.IdempotencyKey)
	}
	return nil
}

func (p *publication) setDuration(bit int, name, text string) error {
	longest, into := WaitMax, &p.wait
	if bit == memberSpread {
		longest, into = SpreadMax, &p.Spread
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > longest {
		return badValue(name, fmt.Sprintf(`a duration with its unit, "0s" to %q`, longest))
	}
	*into = d
	return nil
}

// check checks the members together.
func (p *publication) check(seen, allowed int) error {
	targets, bodies := seen&membersOfTarget, seen&membersOfBody
	many := allowed&memberChannels != 0
	switch {
	case targets == 0 && many:
		return problem(http.StatusBadRequest, CodeMissingMember, "The message has no receivers. Send channels, users, or both.").about("channels", "users")
	case targets == 0:
		return problem(http.StatusBadRequest, CodeMissingMember, `The message has no receiver. Send one of channel, user, client, and "all": true.`).about("channel", "user", "client", "all")
	case !many && targets&(targets-1) != 0:
		return problem(http.StatusBadRequest, CodeBadValue, "Of %s only one may be there: one publication has one audience. Publish twice, or use /v1/publish/many.", memberNames(targets)).about(strings.Split(memberNames(targets), ", ")...)
	case bodies == 0:
		return problem(http.StatusBadRequest, CodeMissingMember, "There is no message. Send one of data (any JSON), text and base64.").about("data", "text", "base64")
	case bodies&(bodies-1) != 0:
		return problem(http.StatusBadRequest, CodeBadValue, "Of %s only one may be there: it is the message.", memberNames(bodies)).about(strings.Split(memberNames(bodies), ", ")...)
	case seen&memberChannel != 0 && p.Channel == "":
		return badValue("channel", "a name that is not empty")
	case seen&memberClient != 0 && p.Client == "":
		return badValue("client", "the name of a connection")
	case seen&memberClient != 0 && seen&^membersOfClient != 0:
		names := strings.Split(memberNames(seen&^membersOfClient), ", ")
		return problem(http.StatusBadRequest, CodeBadValue, "A message to one connection is kept nowhere and has no %s. Leave it out.", strings.Join(names, ", ")).about(names...)
	case len(p.Except) > 0 && seen&memberChannel == 0:
		return badValue("except", "of a message to a channel: leave it out")
	case len(p.Except) > 0 && seen&(memberFrom|memberSpread) != 0:
		return badValue("except", "without from and spread, which a message to a part of a channel has not")
	case seen&memberUser != 0 && p.User == "":
		return badValue("user", "an ID that is not empty")
	}
	return nil
}

func badValue(name, want string) error {
	return problem(http.StatusBadRequest, CodeBadValue, "%s must be %s.", name, want).about(name)
}

// checkIdempotencyKey bounds the size of a key, since keys are kept.
func checkIdempotencyKey(name, key string) error {
	if key == "" || len(key) > IdempotencyKeyMaxBytes {
		return badValue(name, fmt.Sprintf("a text of 1 to %d bytes that no other publication has", IdempotencyKeyMaxBytes))
	}
	return nil
}

// textList reads an array of strings.
func textList(name string, value []byte) ([]string, error) {
	if value[0] != '[' {
		return nil, badValue(name, "an array of strings")
	}
	var list []string
	for w := jsonx.Walk(value); w.More(); {
		text, ok := unquote(w.Element())
		if !ok {
			return nil, badValue(name, "an array of strings")
		}
		if len(text) == 0 {
			return nil, badValue(name, "an array of strings that are not empty")
		}
		list = append(list, string(text))
	}
	return list, nil
}
