package pusher

import (
	"strings"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// userMaxBytes bounds the data of a user who signs in.
const userMaxBytes = 10 << 10

// userName returns the server's name of a user of an app.
func userName(a *app, user string) string { return a.ID + "/" + user }

// signin gives a connection its user.
func (p *Server) signin(s *shard.Shard, id netpoll.ID, a *app, k *packet) {
	r, ok := k.request()
	text := string(appendSocketID(nil, p.rules.Host.Node(), id)) + "::user::" + r.userData
	data, user := []byte(r.userData), ""
	if ok && len(data) <= userMaxBytes && a.authorized(text, r.auth) && jsonx.IsObject(data) {
		user, _, _ = textOf(data, "id")
	}
	if !validChannel(user) || strings.HasPrefix(user, userPrefix) {
		p.end(s, id, codeNotAllowed, "Connection not authorized: want user_data with an id, and its signature")
		return
	}
	done := func(err *protocol.Error) {
		if err != nil {
			p.fail(s, id, codeNotAllowed, err.Message)
			return
		}
		answer := append(jsonx.AppendText([]byte(`{"user_data":`), r.userData), '}')
		p.send(s, id, "pusher:signin_success", "", inText(answer))
	}
	switch s.User(id) {
	case userName(a, user):
		done(nil)
	case "":
		p.loop(s).sessions.Identify(s, id, userName(a, user), done)
	default:
		p.end(s, id, codeNotAllowed, "The connection has signed in as another user")
	}
}
