package pusher

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// askMax bounds the channels, or connections, of one question.
const askMax = 20_000

// wanted is what a question asks about channels.
type wanted struct{ users, subscriptions bool }

// wantedInfo reads a list of words. names are the channels that it is about.
func wantedInfo(list string, names ...string) (w wanted, err error) {
	for word := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(word) {
		case "user_count":
			w.users = true
		case "subscription_count":
			w.subscriptions = true
		}
	}
	for _, name := range names {
		if w.users && len(names) == 1 && !isPresence(name) {
			return w, errNoChannel
		}
	}
	return w, nil
}

// info returns what is wanted of a channel.
func (c *call) info(name string, w wanted, occupied bool) (i info, err error) {
	if !w.users && !w.subscriptions && !occupied {
		return i, nil
	}
	limit := 0
	if w.users && isPresence(name) {
		limit = askMax
	}
	found, err := c.p.server.Presence(c.ctx, c.p.hubName(c.app, name), "", limit)
	if err != nil {
		return i, err
	}
	if occupied {
		yes := found.Clients > 0
		i.Occupied = &yes
	}
	if w.subscriptions {
		i.SubscriptionCount = &found.Clients
	}
	if limit > 0 {
		n := len(usersOf(found.Members))
		i.UserCount = &n
	}
	return i, nil
}

// usersOf returns each user among connections once, in the order of their IDs.
func usersOf(members []protocol.Member) (users []string) {
	seen := map[string]bool{"": true}
	for _, m := range members {
		if !seen[m.User] {
			seen[m.User] = true
			users = append(users, m.User)
		}
	}
	slices.Sort(users)
	return users
}

// channels lists the app's channels.
func (c *call) channels() (any, error) {
	prefix := c.query.Get("filter_by_prefix")
	w, _ := wantedInfo(c.query.Get("info"))
	if w.users && !isPresence(prefix) {
		return nil, problemf(http.StatusBadRequest, "user_count is for presence channels only: want filter_by_prefix=presence-")
	}
	infos := map[string]info{}
	for _, kind := range kinds {
		start := c.p.options.Namespace + kind + ":" + c.app.ID + "/"
		found, _, err := c.p.server.Channels(c.ctx, start+prefix, "", askMax)
		if err != nil {
			return nil, err
		}
		for _, ch := range found {
			i := info{}
			if name := ch.Name[len(start):]; w.users {
				if i, err = c.info(name, wanted{users: true}, false); err != nil {
					return nil, err
				}
			}
			if n := ch.Clients; w.subscriptions {
				i.SubscriptionCount = &n
			}
			infos[ch.Name[len(start):]] = i
		}
	}
	return map[string]any{"channels": infos}, nil
}

// channel tells of one channel.
func (c *call) channel() (any, error) {
	name := c.path[1]
	if !validChannel(name) {
		return nil, problemf(http.StatusBadRequest, "Invalid channel name %.170q", name)
	}
	w, err := wantedInfo(c.query.Get("info"), name)
	if err != nil {
		return nil, err
	}
	return c.info(name, w, true)
}

// users lists the users in a presence channel.
func (c *call) users() (any, error) {
	name := c.path[1]
	if !validChannel(name) || !isPresence(name) {
		return nil, problemf(http.StatusBadRequest, "Users can only be retrieved for presence channels")
	}
	found, err := c.p.server.Presence(c.ctx, c.p.hubName(c.app, name), "", askMax)
	if err != nil {
		return nil, err
	}
	type user struct {
		ID string `json:"id"`
	}
	users := []user{}
	for _, id := range usersOf(found.Members) {
		users = append(users, user{id})
	}
	return map[string]any{"users": users}, nil
}

// disconnect ends the connections of a user, by its name on the server.
func (p *Server) disconnect(ctx context.Context, user string) error {
	_, err := p.server.Disconnect(ctx, server.Audience{User: user}, frame.CloseCode(codeNotAllowed), "You got disconnected by the app.")
	return err
}
