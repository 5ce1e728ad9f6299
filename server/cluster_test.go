package server_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/memory"
)

// mute is a node's way to the broker that can be cut without the node, or the broker,
// noticing: what the node publishes is lost.
type mute struct {
	broker.Broker
	cut   atomic.Bool
	blind atomic.Bool // it is not told how many nodes got what it publishes
}

func (m *mute) Publish(p *broker.Publication, done func(broker.Placed, error)) {
	if m.cut.Load() {
		go done(broker.Placed{}, nil)
		return
	}
	m.Broker.Publish(p, func(placed broker.Placed, err error) {
		if m.blind.Load() {
			placed.Nodes = broker.NodesUnknown
		}
		done(placed, err)
	})
}

// inRoom connects a client as a user, and lets it subscribe to a channel with joins and
// leaves. It has read its own join.
func inRoom(t *testing.T, s *server.Server, user, channel string) *client {
	t.Helper()
	c := connectedAs(t, s, user)
	c.Send(fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, channel))
	c.Want(`{"id":2,"subscribe":{}}`)
	if text := c.Text(); !strings.HasPrefix(text, `{"join":{"channel":"`+channel+`","client":"`) || !strings.HasSuffix(text, `,"user":"`+user+`"}}`) {
		t.Fatalf("its own join: %s", text)
	}
	return c
}

// toldOf reads until a client is told of a join or leave, and returns whose.
func toldOf(t *testing.T, c *client, push, user string) (name string) {
	t.Helper()
	begin, end := `{"`+push+`":{"channel":"room:1","client":"`, `","user":"`+user+`"}}`
	if text := c.Text(); strings.HasPrefix(text, begin) && strings.HasSuffix(text, end) {
		return strings.TrimSuffix(strings.TrimPrefix(text, begin), end)
	} else {
		t.Fatalf("want the %s of %s, got %s", push, user, text)
	}
	return ""
}

// usersIn returns the users that Presence has.
func usersIn(t *testing.T, s *server.Server, channel, after string, limit int) (users []string, clients int, next string) {
	t.Helper()
	p, err := s.Presence(within(t), channel, after, limit)
	if err != nil || p.Incomplete {
		t.Fatalf("presence: %+v, %v", p, err)
	}
	for _, m := range p.Members {
		users = append(users, m.User)
		next = m.Client
	}
	if !p.Truncated {
		next = ""
	}
	return users, p.Clients, next
}

// together waits until each of the servers knows the others.
func together(t *testing.T, servers ...*server.Server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		known := 0
		for _, s := range servers {
			known += len(s.Nodes())
		}
		if known == len(servers)*len(servers) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d servers know of %d in all", len(servers), known)
		}
	}
}

// Presence has the members on all servers, page by page in one order, and says when a server
// does not answer.
func TestClusterPresence(t *testing.T) {
	h := memory.New()
	silent := &mute{Broker: h.Node()}
	servers := []*server.Server{nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, silent, 10, nil)}
	together(t, servers...)
	var want []string
	for i := range 7 {
		user := fmt.Sprint("u", i)
		c := connectedAs(t, servers[i%3], user)
		c.Send(`{"id":2,"subscribe":{"channel":"room:1"}}`)
		c.Want(`{"id":2,"subscribe":{}}`)
		want = append(want, user)
	}
	for i, s := range servers {
		users, clients, _ := usersIn(t, s, "room:1", "", 100)
		slices.Sort(users)
		if clients != 7 || !slices.Equal(users, want) {
			t.Errorf("server %d: %d clients, %v", i, clients, users)
		}
		var paged []string
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			var page []string
			page, clients, cursor = usersIn(t, s, "room:1", cursor, 2)
			if paged = append(paged, page...); clients != 7 || pages > 7 {
				t.Fatalf("server %d: %d clients, %d pages, %v", i, clients, pages, paged)
			}
		}
		slices.Sort(paged)
		if !slices.Equal(paged, want) {
			t.Errorf("server %d: page by page %v", i, paged)
		}
		if users, clients, _ := usersIn(t, s, "room:1", "", 0); clients != 7 || len(users) != 0 {
			t.Errorf("server %d: a limit of 0: %d, %v", i, clients, users)
		}
	}
	silent.cut.Store(true)
	p, err := servers[0].Presence(within(t), "room:1", "", 100)
	if err != nil || !p.Incomplete || p.Clients != 5 || len(p.Members) != 5 {
		t.Errorf("one does not answer: %+v, %v", p, err)
	}
	c := connectedAs(t, servers[1], "")
	c.Send(`{"id":2,"subscribe":{"channel":"room:2"}}`)
	c.Want(`{"id":2,"subscribe":{}}`)
	c.Text() // its own join
	c.Send(`{"id":3,"presence":{"channel":"room:2","limit":0}}`)
	c.Want(`{"id":3,"presence":{"clients":1,"members":[],"truncated":true,"incomplete":true}}`)
}

// A join and a leave are told on all servers, once, before what the client publishes
// afterwards, and those of a server that goes are told, too.
func TestClusterJoinLeave(t *testing.T) {
	h := memory.New()
	a, b := nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, h.Node(), 10, nil)
	together(t, a, b)
	ann := inRoom(t, a, "ann", "room:1")
	bob := inRoom(t, b, "bob", "room:1")
	seen := func(push, user string) string { return toldOf(t, ann, push, user) }
	name := seen("join", "bob")
	carl := inRoom(t, b, "carl", "room:1")
	if other := seen("join", "carl"); other == name || !strings.Contains(other, "@") {
		t.Errorf("carl is %s, bob was %s", other, name)
	}
	toldOf(t, bob, "join", "carl")
	bob.Send(`{"id":3,"unsubscribe":{"channel":"room:1"}}`)
	bob.Want(`{"id":3,"unsubscribe":{}}`)
	if left := seen("leave", "bob"); left != name {
		t.Errorf("%s has left, %s had come", left, name)
	}
	carl.Conn.Close()
	seen("leave", "carl")
	// An outage loses what happens meanwhile: it is told when it is over.
	inRoom(t, b, "dora", "room:1")
	seen("join", "dora")
	h.Interrupt()
	inRoomNow := inRoom(t, b, "emil", "room:1")
	h.Restore()
	seen("join", "emil")
	inRoomNow.Conn.Close()
	seen("leave", "emil")
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	seen("leave", "dora")
	together(t, a) // until then the list says that b does not answer
	users, clients, _ := usersIn(t, a, "room:1", "", 10)
	if clients != 1 || !slices.Equal(users, []string{"ann"}) {
		t.Errorf("at the end: %v, %d", users, clients)
	}
}

// Receipts count the connections of all servers, whoever publishes and however the message
// arrives; without somebody who waits nothing is counted.
func TestClusterReceipts(t *testing.T) {
	h := memory.New()
	silent := &mute{Broker: h.Node()}
	servers := []*server.Server{nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, silent, 10, nil)}
	together(t, servers...)
	channels := []string{"news:1", "plain:1"}
	for i, n := range []int{3, 1, 2} {
		for range n {
			c := connectedAs(t, servers[i], "ann")
			for k, channel := range channels {
				c.Send(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":%q}}`, k+2, channel))
				c.Text()
			}
		}
	}
	for i, s := range servers {
		for _, p := range []server.Publication{
			{Channel: "news:1"}, {Channel: "plain:1"}, {User: "ann"}, {All: true}, {Channel: "plain:1", Spread: 20 * time.Millisecond}, {All: true, Spread: 20 * time.Millisecond},
		} {
			p.Payload = []byte("1")
			r, err := s.PublishMessage(within(t), p)
			if err != nil || r.Matched != 6 || r.Written != 6 || !r.Complete {
				t.Errorf("server %d, to %+v: %+v, %v", i, p, r, err)
			}
		}
	}
	r, err := servers[0].PublishMessage(within(t), server.Publication{Channel: "plain:2", Payload: []byte("1")})
	if err != nil || r.Matched != 0 || !r.Complete {
		t.Errorf("to nobody: %+v, %v", r, err)
	}
	silent.blind.Store(true)
	r, err = servers[2].PublishMessage(within(t), server.Publication{Channel: "plain:1", Payload: []byte("1")})
	if err != nil || r.Matched != 6 || !r.Complete {
		t.Errorf("through a broker that does not know how many nodes there are: %+v, %v", r, err)
	}
	silent.cut.Store(true)
	r, err = servers[0].PublishMessage(within(t), server.Publication{Channel: "plain:1", Payload: []byte("1")})
	if err != nil || r.Matched != 4 || r.Complete {
		t.Errorf("one does not answer: %+v, %v", r, err)
	}
}

// While the broker is away a channel whose namespace says so goes on, on each server for
// itself; afterwards it is one again.
func TestClusterOutageLocal(t *testing.T) {
	h := memory.New()
	a, b := nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, h.Node(), 10, nil)
	together(t, a, b)
	c, d := connectedAs(t, a, "ann"), connectedAs(t, b, "bob")
	for _, one := range []*client{c, d} {
		one.Send(`{"id":2,"subscribe":{"channel":"alone:1"}}`)
		one.Want(`{"id":2,"subscribe":{}}`)
	}
	h.Interrupt()
	r, err := a.PublishMessage(within(t), server.Publication{Channel: "plain:1", Payload: []byte("0")})
	if !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("in another namespace: %+v, %v", r, err)
	}
	r, err = a.PublishMessage(within(t), server.Publication{Channel: "alone:1", Payload: []byte("1")})
	if err != nil || r.Matched != 1 || r.Written != 1 || r.Complete {
		t.Errorf("%+v, %v", r, err)
	}
	if err := a.Publish("alone:1", server.Text, []byte("2")); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"1", "2"} {
		c.Want(`{"pub":{"channel":"alone:1","data":` + text + `}}`)
	}
	if err := a.Broadcast(server.Text, []byte("3")); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("to all: %v", err)
	}
	late := connectedAs(t, a, "")
	late.Send(`{"id":2,"subscribe":{"channel":"alone:2"}}`)
	late.Want(`{"id":2,"subscribe":{}}`)
	if err := a.Publish("alone:2", server.Text, []byte("4")); err != nil {
		t.Error(err)
	}
	late.Want(`{"pub":{"channel":"alone:2","data":4}}`)
	h.Restore()
	if err := b.Publish("alone:1", server.Text, []byte("5")); err != nil {
		t.Error(err)
	}
	d.Want(`{"pub":{"channel":"alone:1","data":5}}`) // and nothing before it
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if r, err := b.PublishMessage(within(t), server.Publication{Channel: "alone:2", Payload: []byte("6")}); err == nil && r.Matched == 1 && r.Complete {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}
