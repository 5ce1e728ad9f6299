package native

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/protocol"
)

// memberError says what is wrong with a command, as the client is told it.
type memberError struct {
	// Member names what is wrong, "subscribe.channel" for instance; empty: the
	// message as a whole.
	Member string
	// Reason says what is wrong with it.
	Reason string
}

// Error is both.
func (e *memberError) Error() string {
	if e.Member == "" {
		return e.Reason
	}
	return e.Member + " " + e.Reason
}

// A member is one that a command may have.
type member struct {
	name     string
	required bool
	set      func(c *protocol.Command, value []byte) error
}

// command is the form of one.
type command struct {
	name    string
	members []member
}

// commands by protocol.Kind, from 1.
var commands = [...]command{
	protocol.Connect - 1: {"connect", []member{
		{"token", false, setText(func(c *protocol.Command) *string { return &c.Token })},
		{"name", false, setText(func(c *protocol.Command) *string { return &c.Name })},
		{"data", false, setData},
		{"resume", false, setResume},
	}},
	protocol.Subscribe - 1: {"subscribe", []member{
		channel,
		{"token", false, setText(func(c *protocol.Command) *string { return &c.Token })},
		{"resume", false, setPosition},
	}},
	protocol.Unsubscribe - 1: {"unsubscribe", []member{channel}},
	protocol.Publish - 1: {"publish", []member{
		channel,
		{"data", true, setData},
		{"encoding", false, setEncoding},
		{"key", false, setText(func(c *protocol.Command) *string { return &c.Key })},
	}},
	protocol.Presence - 1: {"presence", []member{channel, limit}},
	protocol.History - 1: {"history", []member{
		channel, limit,
		{"since", false, setPosition},
		{"reverse", false, setReverse},
	}},
	protocol.Call - 1: {"call", []member{
		{"method", true, setText(func(c *protocol.Command) *string { return &c.Method })},
		{"data", false, setData},
	}},
	protocol.Refresh - 1: {"refresh", []member{
		{"token", true, setText(func(c *protocol.Command) *string { return &c.Token })},
		{"channel", false, setText(func(c *protocol.Command) *string { return &c.Channel })},
	}},
	protocol.Ack - 1: {"ack", []member{
		channel,
		{"epoch", true, setText(func(c *protocol.Command) *string { return &c.Position.Epoch })},
		{"offset", true, setOffset},
	}},
}

var (
	channel = member{"channel", true, setChannel}
	limit   = member{"limit", false, setLimit}
)

// decode reads one message of a client, valid UTF-8. The error is an Ending or a
// *memberError; with the latter c.ID is set if the message had a valid one.
// Unknown members are ignored, and null is the same as no member, except as data.
// An object without members is a heartbeat: Kind stays 0.
func decode(p []byte, c *protocol.Command) error {
	*c = protocol.Command{Limit: -1}
	if !jsonx.IsObject(p) {
		return protocol.EndMalformed
	}
	var failed error
	fail := func(member, reason string) {
		if failed == nil {
			failed = &memberError{member, reason}
		}
	}
	var body []byte
	empty := true
	for w := jsonx.Walk(p); w.More(); empty = false {
		name, value := w.Member()
		label, _ := jsonx.Text(name)
		if jsonx.IsNull(value) {
			continue
		}
		if string(label) == "id" {
			if c.ID != 0 {
				fail("id", "is there twice")
			} else if id, err := jsonx.Integer(value, 1); err != nil {
				fail("id", err.Error())
			} else {
				c.ID = id
			}
			continue
		}
		kind := kindNamed(label)
		switch {
		case kind == 0:
		case c.Kind != 0:
			fail("", fmt.Sprintf("one message holds two commands, %s and %s: want one", c.Kind, kind))
		default:
			c.Kind, body = kind, value
		}
	}
	switch {
	case empty: // a heartbeat, with white space
	case failed != nil:
	case c.Kind == 0:
		fail("", "unknown command: want one of connect, subscribe, unsubscribe, publish, presence, history, call, refresh, ack")
	case body[0] != '{':
		fail(c.Kind.String(), fmt.Sprintf("is %s: want an object", jsonx.Kind(body)))
	default:
		failed = decodeBody(&commands[c.Kind-1], body, c)
	}
	if failed == nil && c.Base64 && !isBase64(c.Data) {
		fail("publish.data", "is not a string in base64 with padding (RFC 4648, section 4)")
	}
	return failed
}

// isBase64 reports whether a value is a string in base64, without line breaks.
func isBase64(value []byte) bool {
	text, err := jsonx.Text(value)
	if err != nil || bytes.ContainsAny(text, "\r\n") {
		return false
	}
	_, err = base64.StdEncoding.AppendDecode(nil, text)
	return err == nil
}

func kindNamed(name []byte) protocol.Kind {
	for i := range commands {
		if commands[i].name == string(name) {
			return protocol.Kind(i + 1)
		}
	}
	return 0
}

// decodeBody reads the members of one command.
func decodeBody(form *command, body []byte, c *protocol.Command) error {
	seen, null := 0, 0
	for w := jsonx.Walk(body); w.More(); {
		name, value := w.Member()
		label, _ := jsonx.Text(name) // nothing if it could be none of ours
		for i := range form.members {
			m := &form.members[i]
			if m.name != string(label) {
				continue
			}
			if seen&(1<<i) != 0 {
				return &memberError{form.name + "." + m.name, "is there twice"}
			}
			seen |= 1 << i
			if jsonx.IsNull(value) && m.name != "data" {
				null |= 1 << i
				break
			}
			if err := m.set(c, value); err != nil {
				var inner *memberError
				if errors.As(err, &inner) {
					return &memberError{form.name + "." + m.name + "." + inner.Member, inner.Reason}
				}
				return &memberError{form.name + "." + m.name, err.Error()}
			}
			break
		}
	}
	for i := range form.members {
		if m := &form.members[i]; m.required && (seen&^null)&(1<<i) == 0 {
			return &memberError{form.name + "." + m.name, "is missing"}
		}
	}
	return nil
}

// text returns the text that a value is.
func text(value []byte) (string, error) {
	b, err := jsonx.Text(value)
	return string(b), err
}

func setText(field func(*protocol.Command) *string) func(*protocol.Command, []byte) error {
	return func(c *protocol.Command, value []byte) (err error) {
		*field(c), err = text(value)
		return err
	}
}

func setChannel(c *protocol.Command, value []byte) (err error) {
	if c.Channel, err = text(value); err == nil && c.Channel == "" {
		return errors.New("is empty")
	}
	return err
}

func setData(c *protocol.Command, value []byte) error {
	c.Data = value
	return nil
}

func setEncoding(c *protocol.Command, value []byte) error {
	if name, err := text(value); err != nil || name != jsonx.Base64 {
		return fmt.Errorf("is %.24s: want \"base64\", or leave it out for JSON", value)
	}
	c.Base64 = true
	return nil
}

func setOffset(c *protocol.Command, value []byte) (err error) {
	c.HasPosition = true
	c.Position.Offset, err = jsonx.Integer(value, 0)
	return err
}

func setLimit(c *protocol.Command, value []byte) error {
	n, err := jsonx.Integer(value, 0)
	c.Limit = int(min(n, 1<<31-1)) // what is answered is bounded anyway
	return err
}

func setReverse(c *protocol.Command, value []byte) error {
	if jsonx.Kind(value) != "a boolean" {
		return fmt.Errorf("is %s: want true or false", jsonx.Kind(value))
	}
	c.Reverse = value[0] == 't'
	return nil
}

func setPosition(c *protocol.Command, value []byte) (err error) {
	c.HasPosition = true
	c.Position, err = position(value)
	return err
}

// position reads {"epoch":…,"offset":…}.
func position(value []byte) (history.Position, error) {
	var at protocol.Command
	if value[0] != '{' {
		return history.Position{}, fmt.Errorf("is %s: want an object with epoch and offset", jsonx.Kind(value))
	}
	err := decodeBody(&positionForm, value, &at)
	var inner *memberError
	if errors.As(err, &inner) {
		inner.Member = inner.Member[1:] // the form has no name
	}
	return at.Position, err
}

var positionForm = command{"", []member{
	{"epoch", true, setText(func(c *protocol.Command) *string { return &c.Position.Epoch })},
	{"offset", true, setOffset},
}}

// setResume reads positions by channel.
func setResume(c *protocol.Command, value []byte) error {
	if value[0] != '{' {
		return fmt.Errorf("is %s: want an object with a position for each channel", jsonx.Kind(value))
	}
	c.Resume = map[string]history.Position{}
	for w := jsonx.Walk(value); w.More(); {
		name, value := w.Member()
		label, err := text(name)
		if err != nil {
			return fmt.Errorf("has a channel whose name %w", err)
		}
		if jsonx.IsNull(value) {
			continue
		}
		if _, twice := c.Resume[label]; twice {
			return fmt.Errorf("has the channel %.64q twice", label)
		}
		at, err := position(value)
		if err != nil {
			var inner *memberError
			if errors.As(err, &inner) {
				return &memberError{fmt.Sprintf("%.64q.%s", label, inner.Member), inner.Reason}
			}
			return &memberError{fmt.Sprintf("%.64q", label), err.Error()}
		}
		c.Resume[label] = at
	}
	return nil
}
