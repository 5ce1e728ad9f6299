package protocol

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/jsonx"
)

// publish publishes on behalf of the client.
func (t *task) publish() {
	ns, err := t.namespace()
	if err != nil {
		t.fail(err)
		return
	}
	v := t.may(ns.Publish, func(p *Permissions) []string { return p.Publish })
	check := t.x.rules.Application.Publish
	switch {
	case v == granted:
		t.publishNow(t.cmd.Data, t.cmd.Base64)
	case v == denied || check == nil:
		t.fail(errDenied)
	default:
		r := &PublishRequest{Client: t.x.name(t.s, t.id), User: t.user(), Channel: t.cmd.Channel, Data: bytes.Clone(t.cmd.Data), Base64: t.cmd.Base64}
		t.ask("Application.Publish", func(ctx context.Context) error { return check(ctx, r) }, func(t *task, err error) {
			if err == nil {
				err = t.x.rules.checkJSON("Publish", "Data", r.Data)
			}
			if err != nil {
				t.fail(t.refusal("publish", err))
				return
			}
			t.publishNow(r.Data, r.Base64)
		})
	}
}

// publishNow publishes data, which is JSON; with inBase64, a JSON string that holds
// binary data.
func (t *task) publishNow(data []byte, inBase64 bool) {
	payload, opcode := data, frame.OpText
	if inBase64 {
		var err error
		if payload, err = decodeBase64(data); err != nil {
			t.fail(t.refusal("publish", fmt.Errorf("server: Application.Publish has set Data to %.40q: %w", data, err)))
			return
		}
		opcode = frame.OpBinary
	}
	host := t.x.rules.Host
	if host.Remote() {
		payload = bytes.Clone(payload)
		var at history.Position
		finish := t.later(func(t *task, err error) { t.published(at, err, payload, inBase64) })
		deadline := time.AfterFunc(t.x.rules.Timeout, func() { finish(context.DeadlineExceeded) })
		t.underWay()
		host.PublishLater(t.cmd.Channel, t.user(), t.cmd.Key, opcode, payload, func(placed history.Position, err error) {
			if deadline.Stop() {
				at = placed
				finish(err)
			}
		})
		return
	}
	at, err := host.Publish(t.cmd.Channel, t.user(), t.cmd.Key, opcode, payload)
	t.published(at, err, payload, inBase64)
}

// published is what follows a publication.
func (t *task) published(at history.Position, err error, payload []byte, inBase64 bool) {
	t.s.HoldPublisher(t.id)
	if err != nil {
		t.fail(err)
		return
	}
	if t.x.rules.Events != nil {
		t.x.event(t.s, t.id, Event{Type: EventMessage, Channel: t.cmd.Channel, Position: at, Data: bytes.Clone(payload), Binary: inBase64})
	}
	t.reply(&Result{Position: at})
}

// errNotBase64: binary data that is no JSON string in base64.
var errNotBase64 = errors.New("not a JSON string in base64")

func decodeBase64(value []byte) ([]byte, error) {
	text, err := jsonx.Text(bytes.TrimSpace(value))
	if err == nil {
		if payload, err := base64.StdEncoding.AppendDecode(nil, text); err == nil {
			return payload, nil
		}
	}
	return nil, errNotBase64
}

// Limits of what a client may ask for at once.
const (
	defaultLimit   = 100
	maxLimit       = 1000
	resultMaxBytes = 256 << 10
)

// limit returns how many the client wants.
func (t *task) limit() int {
	if t.cmd.Limit < 0 {
		return defaultLimit
	}
	return min(t.cmd.Limit, maxLimit)
}

// presence replies which connections are in the channel. All loops are asked.
func (t *task) presence() {
	ns, err := t.namespace()
	switch {
	case err != nil:
	case !ns.Presence:
		err = &Error{Code: CodeNotAvailable, Message: "this channel has no presence"}
	case !t.inside():
		err = errNotSubscribed
	}
	if err != nil {
		t.fail(err)
		return
	}
	var found ChannelMembers
	channel, limit, host := t.cmd.Channel, t.limit(), t.x.rules.Host
	t.ask("Presence", func(ctx context.Context) (err error) {
		found, err = host.Presence(ctx, channel, limit)
		return err
	}, func(t *task, err error) {
		if err != nil {
			t.fail(err)
			return
		}
		found.cut(resultMaxBytes)
		t.reply(&Result{Members: found})
	})
}

// history replies with a part of the channel's history.
func (t *task) history() {
	ns, err := t.namespace()
	switch {
	case err != nil:
	case !ns.History:
		err = &Error{Code: CodeNotAvailable, Message: "this channel has no history"}
	case !t.inside():
		err = errNotSubscribed
	}
	var page history.Page
	if err == nil {
		page, err = t.x.rules.Host.History(t.cmd.Channel, history.Query{Since: t.cmd.since(), Limit: t.limit(), Reverse: t.cmd.Reverse})
	}
	if err != nil {
		t.fail(err)
		return
	}
	bytes := 0
	for i := range page.Messages {
		if bytes += len(page.Messages[i].Payload); i > 0 && bytes > resultMaxBytes {
			page.Messages, page.More = page.Messages[:i], true
			break
		}
	}
	t.reply(&Result{Page: page})
}

// call passes a request to the application.
func (t *task) call() {
	call := t.x.rules.Application.Call
	if call == nil {
		t.fail(errNoMethod(t.cmd.Method))
		return
	}
	r := &CallRequest{Client: t.x.name(t.s, t.id), User: t.user(), Method: t.cmd.Method, Data: bytes.Clone(t.cmd.Data)}
	t.ask("Application.Call", func(ctx context.Context) error { return call(ctx, r) }, func(t *task, err error) {
		if err == nil {
			err = errors.Join(t.x.rules.checkJSON("Call", "Reply", r.Reply), t.x.rules.checkNames("Call", slices.Concat(r.Join, r.Leave)))
		}
		if err != nil {
			t.fail(t.refusal("call", err))
			return
		}
		for _, name := range r.Join {
			t.x.SubscribeByServer(t.s, t.id, name)
		}
		for _, name := range r.Leave {
			t.x.UnsubscribeByServer(t.s, t.id, name)
		}
		t.reply(&Result{Data: r.Reply})
	})
}

func errNoMethod(method string) *Error {
	return &Error{Code: CodeUnknownMethod, Message: fmt.Sprintf("there is no method %.100q", method)}
}

// ack tells the application how far the client is.
func (t *task) ack() {
	ns, err := t.namespace()
	switch {
	case err != nil:
	case !t.inside():
		err = errNotSubscribed
	case !ns.History:
		err = &Error{Code: CodeNotAvailable, Message: "this channel has no history, and so no positions"}
	default:
		err = t.checkPosition()
	}
	if err != nil {
		t.fail(err)
		return
	}
	t.x.event(t.s, t.id, Event{Type: EventAcknowledged, Channel: t.cmd.Channel, Position: t.cmd.Position})
	t.reply(&Result{})
}

// checkPosition refuses a position that no message of the channel has had.
func (t *task) checkPosition() error {
	now, err := t.x.rules.Host.History(t.cmd.Channel, history.Query{})
	if err == nil && (t.cmd.Position.Epoch != now.Epoch || t.cmd.Position.Offset > now.Offset) {
		err = &Error{Code: CodeBadRequest, Message: "the channel was never at this position"}
	}
	return err
}
