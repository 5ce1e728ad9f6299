package pusher_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker/memory"
	"github.com/roostws/roost/server/protocol/pusher"
)

// person is the channel_data of a user.
func person(id string) string { return fmt.Sprintf(`{"user_id":%q,"user_info":{"name":%q}}`, id, id) }

// wantMembers subscribes to presence-x, where these users have to be.
func (c *client) wantMembers(id string, want ...string) {
	c.t.Helper()
	var got struct {
		Presence struct {
			IDs   []string
			Hash  map[string]struct{ Name string }
			Count int
		}
	}
	text := c.subscribe("presence-x", person(id))
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		c.t.Fatal(err)
	}
	p := got.Presence
	if fmt.Sprint(p.IDs) != fmt.Sprint(want) || p.Count != len(want) || len(p.Hash) != len(want) {
		c.t.Fatalf("%s finds %s, want %v", id, text, want)
	}
	for _, user := range want {
		if p.Hash[user].Name != user {
			c.t.Errorf("%s finds %s: no user_info of %s", id, text, user)
		}
	}
}

func (c *client) wantMember(event, data string) {
	c.t.Helper()
	if got := c.want("pusher_internal:"+event, "presence-x").text(); got != data {
		c.t.Fatalf("%s has %s, want %s", event, got, data)
	}
}

// Users join with their first connection and leave with the last one; nobody is told of
// themselves.
func TestPresence(t *testing.T) {
	r := start(t, nil)
	ann, bob, again := r.connect(first), r.connect(first), r.connect(first)
	ann.wantMembers("ann", "ann")
	bob.wantMembers("bob", "ann", "bob")
	ann.wantMember("member_added", `{"user_id":"bob","user_info":{"name":"bob"}}`)
	again.wantMembers("bob", "ann", "bob")
	again.send(`{"event":"client-x","channel":"presence-x","data":1}`)
	for _, c := range []*client{ann, bob} {
		if p := c.want("client-x", "presence-x"); p.UserID != "bob" {
			t.Errorf("the client event is from %q, want bob", p.UserID)
		}
	}
	bob.send(`{"event":"pusher:unsubscribe","data":{"channel":"presence-x"}}`)
	bob.nothing()
	ann.nothing()
	again.close()
	ann.wantMember("member_removed", `{"user_id":"bob"}`)
	r.wantAPI(first, "GET", "/channels/presence-x/users", "", "", 200, `{"users":[{"id":"ann"}]}`)
	for _, data := range []string{"", "{}", `{"user_id":{}}`, `{"user_id":""}`, "[]", "{"} {
		bob.ask("presence-x", bob.auth("presence-x", data), data)
		bob.want("pusher:subscription_error", "presence-x")
	}
	bob.ask("presence-x", bob.auth("presence-x", `{"user_id":7}`), `{"user_id":7}`)
	bob.want("pusher_internal:subscription_succeeded", "presence-x")
	ann.wantMember("member_added", `{"user_id":"7"}`)
}

// A presence channel takes so many users, of however many connections, and so much of each.
func TestPresenceLimits(t *testing.T) {
	r := start(t, func(_ *server.Config, o *pusher.Options) {
		o.Apps[0].PresenceMaxMembers, o.Apps[0].PresenceMaxBytes = 2, 60
	})
	ann, bob, again, cid := r.connect(first), r.connect(first), r.connect(first), r.connect(first)
	ann.wantMembers("ann", "ann")
	bob.wantMembers("bob", "ann", "bob")
	again.wantMembers("ann", "ann", "bob")
	cid.ask("presence-x", cid.auth("presence-x", person("cid")), person("cid"))
	if p := cid.want("pusher:subscription_error", "presence-x"); !contains(p.text(), "LimitReached", "4004") {
		t.Errorf("the third user gets %s", p.Data)
	}
	long := person(fmt.Sprintf("%050d", 1))
	cid.ask("presence-y", cid.auth("presence-y", long), long)
	if p := cid.want("pusher:subscription_error", "presence-y"); !contains(p.text(), "LimitReached") {
		t.Errorf("long channel_data gets %s", p.Data)
	}
	bob.close()
	ann.wantMember("member_added", `{"user_id":"bob","user_info":{"name":"bob"}}`)
	ann.wantMember("member_removed", `{"user_id":"bob"}`)
	cid.wantMembers("cid", "ann", "cid")
}

// Over two servers a user joins and leaves once, whatever server has its connections.
func TestPresenceOverServers(t *testing.T) {
	hub := memory.New()
	with := func(cfg *server.Config, _ *pusher.Options) { cfg.Broker = hub.Node() }
	one, two := start(t, with), start(t, with)
	for len(one.srv.Nodes()) < 2 || len(two.srv.Nodes()) < 2 {
		time.Sleep(time.Millisecond)
	}
	ann := one.connect(first)
	ann.wantMembers("ann", "ann")
	bob, again := two.connect(first), one.connect(first)
	bob.wantMembers("bob", "ann", "bob")
	ann.wantMember("member_added", `{"user_id":"bob","user_info":{"name":"bob"}}`)
	again.wantMembers("bob", "ann", "bob")
	bob.send(`{"event":"client-x","channel":"presence-x","data":1}`)
	ann.want("client-x", "presence-x")
	one.wantAPI(first, "GET", "/channels/presence-x", "info=user_count,subscription_count", "", 200, `{"occupied":true,"user_count":2,"subscription_count":3}`)
	bob.close()
	for {
		_, got := one.api(first, "GET", "/channels/presence-x", "info=subscription_count", "")
		if contains(got, `"subscription_count":2`) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	again.close()
	ann.wantMember("member_removed", `{"user_id":"bob"}`)
	// An exception is a connection of the other server.
	cid := two.connect(first)
	cid.subscribe("news", "")
	ann.subscribe("news", "")
	two.wantAPI(first, "POST", "/events", "", fmt.Sprintf(`{"name":"but","channel":"news","data":"x","socket_id":%q}`, ann.socket), 200, "{}")
	cid.want("but", "news")
	two.trigger(first, "news", "all", "x")
	ann.want("all", "news")
	// A user is one over all servers.
	ann.signin("ann")
	two.wantAPI(first, "POST", "/users/ann/terminate_connections", "", "{}", 200, "{}")
	ann.wantError(4009, "disconnected by the app")
	ann.wantClose(4009)
}

// signin signs a user in.
func (c *client) signin(user string) {
	c.t.Helper()
	data := fmt.Sprintf(`{"id":%q}`, user)
	c.sendf(`{"event":"pusher:signin","data":{"auth":%q,"user_data":%q}}`, c.app.Key+":"+sign(c.app, c.socket+"::user::"+data), data)
	if got := c.want("pusher:signin_success", "").text(); !contains(got, "user_data") {
		c.t.Errorf("signin_success has %s", got)
	}
}

// A user who has signed in is reached by name, and can be disconnected.
func TestUsers(t *testing.T) {
	r := start(t, nil)
	ann, bob, stranger := r.connect(first), r.connect(first), r.connect(other)
	ann.signin("ann")
	bob.signin("bob")
	stranger.signin("ann")
	ann.signin("ann")
	if got := ann.subscribe("#server-to-user-ann", ""); got != "{}" {
		t.Errorf("got %s", got)
	}
	bob.ask("#server-to-user-ann", "", "")
	bob.want("pusher:subscription_error", "#server-to-user-ann")
	r.trigger(first, "#server-to-user-ann", "hello", "1")
	ann.want("hello", "#server-to-user-ann")
	r.wantAPI(first, "POST", "/users/ann/events", "", `{"name":"more","data":"2"}`, 200, "{}")
	ann.want("more", "#server-to-user-ann")
	bob.nothing()
	stranger.nothing()
	r.wantAPI(first, "POST", "/users/ann/terminate_connections", "", "", 200, "{}")
	ann.wantError(4009, "disconnected by the app")
	ann.wantClose(4009)
	bob.nothing()
	bob.send(`{"event":"pusher:signin","data":{"auth":"key1:wrong","user_data":"{\"id\":\"bob\"}"}}`)
	bob.wantError(4009, "not authorized")
	bob.wantClose(4009)
}

// A cache channel gives its last event to who comes, or says that there is none.
func TestCache(t *testing.T) {
	r := start(t, nil)
	for _, name := range []string{"cache-x", "private-cache-x", "presence-cache-x", "private-encrypted-cache-x"} {
		data := ""
		if contains(name, "presence") {
			data = person("ann")
		}
		a := r.connect(first)
		a.subscribe(name, data)
		a.want("pusher:cache_miss", name)
		r.trigger(first, name, "one", "1")
		r.trigger(first, name, "two", `{"n":2}`)
		a.want("one", name)
		a.want("two", name)
		b := r.connect(first)
		b.subscribe(name, data)
		if got := b.want("two", name).text(); got != `{"n":2}` {
			t.Errorf("%s: the last event has %s", name, got)
		}
		b.nothing()
	}
}

// Subscribers are told how many they are.
func TestSubscriptionCount(t *testing.T) {
	r := start(t, func(_ *server.Config, o *pusher.Options) { o.Apps[0].SubscriptionCounts = true })
	a, b := r.connect(first), r.connect(first)
	a.subscribe("news", "")
	b.subscribe("news", "")
	for a.want("pusher_internal:subscription_count", "news").text() != `{"subscription_count":2}` {
	}
	b.close()
	for a.want("pusher_internal:subscription_count", "news").text() != `{"subscription_count":1}` {
	}
}
