package demo

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

const (
	// nameMaxChars limits a guest's name; the pages have the same limit.
	nameMaxChars = 32
	// guestRate is how many messages a guest may send in a second: a shared cursor
	// sends 20.
	guestRate = 60
)

// application makes the demo the application of the native protocol, where the flags
// name none.
func (d *Demo) application(c *server.Config) {
	app := c.Application
	if app == nil {
		app = &protocol.Application{Anonymous: true}
		c.Application = app
	}
	if app.Connect == nil {
		app.Connect, app.Refresh = d.connect, nil
	}
	if app.Publish == nil {
		app.Publish = d.publishCheck()
	}
	if app.Call == nil {
		app.Call = d.call
	}
}

// connect lets a guest in. The token is the name that the person has chosen: there is
// nothing to prove, and two people who choose one name are one user.
func (d *Demo) connect(_ context.Context, r *protocol.ConnectRequest) error {
	if !validName(r.Token) {
		return &protocol.Error{Code: protocol.CodeUnauthorized, Message: fmt.Sprintf("a name has 1 to %d printable characters", nameMaxChars)}
	}
	r.User, r.MessageRate = r.Token, guestRate
	return nil
}

// validName reports whether a guest may have the name.
func validName(name string) bool {
	return name != "" && name == strings.TrimSpace(name) && utf8.RuneCountInString(name) <= nameMaxChars &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// publishCheck returns the check of what clients publish, by the namespace's part.
func (d *Demo) publishCheck() func(context.Context, *protocol.PublishRequest) error {
	checks := map[string]func(*protocol.PublishRequest) error{}
	for _, p := range d.parts {
		for _, ns := range p.namespaces {
			checks[ns.Name] = p.publish
		}
	}
	return func(_ context.Context, r *protocol.PublishRequest) error {
		namespace, _, _ := strings.Cut(r.Channel, ":")
		check := checks[namespace]
		switch {
		case check == nil:
			return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "clients do not publish here"}
		case r.User == "":
			return &protocol.Error{Code: protocol.CodePermissionDenied, Message: "choose a name first: connect with it as the token"}
		}
		return check(r)
	}
}

// call carries a client's call out.
func (d *Demo) call(ctx context.Context, r *protocol.CallRequest) error {
	for _, p := range d.parts {
		if method := p.calls[r.Method]; method != nil {
			return method(ctx, r)
		}
	}
	return &protocol.Error{Code: protocol.CodeUnknownMethod, Message: fmt.Sprintf("there is no method %q", r.Method)}
}

// badRequest refuses what a client sends.
func badRequest(format string, args ...any) error {
	return &protocol.Error{Code: protocol.CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}
