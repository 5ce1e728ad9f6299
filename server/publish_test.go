package server_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
)

// notifier is a server with history in "news:" whose clients are named by their path and
// join what their query says.
func notifier(t *testing.T, engine netpoll.Driver, adjust func(c *server.Config)) *server.Server {
	cfg := server.Config{
		Engine:     server.Engine{Driver: engine, Loops: 2},
		Namespaces: []server.Namespace{{Name: "news", HistoryMessages: 10}, {Name: "user", HistoryMessages: 5}},
		Handler: server.Handler{Upgrade: func(r *server.UpgradeRequest) error {
			r.User = strings.TrimPrefix(r.Path(), "/")
			if r.RawQuery() != "" {
				r.Channels = strings.Split(r.RawQuery(), ",")
			}
			return nil
		}},
	}
	if adjust != nil {
		adjust(&cfg)
	}
	return start(t, cfg)
}

// as connects a client of a user, in channels.
func as(t *testing.T, s *server.Server, user string, channels ...string) *client {
	c := connect(t, s)
	c.Put(strings.Replace(wstest.Upgrade(), "/ws?a=b", "/"+user+"?"+strings.Join(channels, ","), 1))
	c.WantStatus(101)
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestReceipts(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := notifier(t, engine, nil)
		var clients []*client
		for i := range 6 {
			clients = append(clients, as(t, s, fmt.Sprintf("u%d", i%3), "news:1", "room"))
		}
		for i, c := range []struct {
			p       server.Publication
			matched int
			offset  uint64
			each    []*client
		}{
			{server.Publication{Channel: "news:1"}, 6, 1, clients},
			{server.Publication{Channel: "news:1"}, 6, 2, clients},
			{server.Publication{Channel: "room"}, 6, 0, clients},
			{server.Publication{All: true}, 6, 0, clients},
			{server.Publication{User: "u1"}, 2, 1, []*client{clients[1], clients[4]}},
			{server.Publication{Channel: "user:u1"}, 2, 2, []*client{clients[1], clients[4]}},
			{server.Publication{User: "nobody"}, 0, 1, nil},
			{server.Publication{Channel: "empty"}, 0, 0, nil},
			{server.Publication{Channel: "room", Spread: time.Millisecond}, 6, 0, clients},
		} {
			text := fmt.Sprintf("message %d", i)
			c.p.Payload = []byte(text)
			r, err := s.PublishMessage(within(t), c.p)
			if err != nil || !r.Complete || r.Matched != c.matched || r.Written != c.matched || r.Offset != c.offset || (r.Epoch != "") != (c.offset > 0) {
				t.Errorf("publication %d: %+v, %v, want %d matched and written, offset %d", i, r, err, c.matched, c.offset)
			}
			for _, c := range c.each {
				c.Want(text)
			}
		}
	})
}

func TestIdempotency(t *testing.T) {
	s := notifier(t, nil, func(c *server.Config) { c.Limits.IdempotencyAge = time.Second })
	c := as(t, s, "ann", "news:1")
	p := server.Publication{Channel: "news:1", Payload: []byte("once"), IdempotencyKey: "k1"}
	first, err := s.PublishMessage(within(t), p)
	if err != nil || first.Duplicate {
		t.Fatal(first, err)
	}
	again, err := s.PublishMessage(within(t), p)
	if err != nil || !again.Duplicate || again.Position != first.Position || again.Matched != 1 {
		t.Errorf("the repetition answered %+v, %v", again, err)
	}
	p.Channel = "news:2" // the same key elsewhere is another message
	if r, err := s.PublishMessage(within(t), p); err != nil || r.Duplicate {
		t.Errorf("in another channel: %+v, %v", r, err)
	}
	p.Channel = "news:1"
	eventually(t, "the key is forgotten", func() bool {
		r, err := s.PublishMessage(within(t), p)
		return err == nil && !r.Duplicate && r.Offset == 2
	})
	c.Want("once")
	c.Want("once")
}

func TestPublicationsThatAreRefused(t *testing.T) {
	s := notifier(t, nil, nil)
	for name, p := range map[string]server.Publication{
		"no target":       {},
		"two targets":     {Channel: "a", All: true},
		"long channel":    {Channel: strings.Repeat("x", 256)},
		"not UTF-8":       {Channel: "\xff"},
		"nameless user":   {Channel: "user:"},
		"long key":        {Channel: "a", Key: strings.Repeat("x", 256)},
		"long idem key":   {Channel: "a", IdempotencyKey: strings.Repeat("x", 256)},
		"negative spread": {Channel: "a", Spread: -1},
		"long spread":     {Channel: "a", Spread: 24 * time.Hour},
	} {
		if r, err := s.PublishMessage(within(t), p); !errors.Is(err, server.ErrBadName) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := s.PublishMessage(within(t), server.Publication{Channel: "a", Payload: make([]byte, 65<<20)}); !errors.Is(err, server.ErrMessageTooBig) {
		t.Errorf("65 MiB: %v", err)
	}
}

func TestHistory(t *testing.T) {
	s := notifier(t, nil, nil)
	for i := 1; i <= 15; i++ {
		if _, err := s.PublishMessage(within(t), server.Publication{Channel: "news:1", Payload: fmt.Appendf(nil, "%d", i), Key: "k", From: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.History("news:1", history.Query{Limit: 3})
	if err != nil || len(page.Messages) != 3 || page.Offset != 15 || !page.More || page.Gap {
		t.Fatalf("%+v, %v", page, err)
	}
	if m := page.Messages[0]; m.Offset != 6 || string(m.Payload) != "6" || m.Key != "k" || m.From != "ann" || m.Type != server.Text || time.Since(m.Time) > time.Hour {
		t.Errorf("%+v", m)
	}
	if page, err := s.History("room", history.Query{Limit: 3}); err != nil || page.Epoch != "" || page.Messages != nil {
		t.Errorf("without history: %+v, %v", page, err)
	}
	if _, err := s.History("", history.Query{}); !errors.Is(err, server.ErrBadName) {
		t.Errorf("without a name: %v", err)
	}
}

func TestQueries(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := notifier(t, engine, nil)
		ann, bob := as(t, s, "ann", "news:1", "room"), as(t, s, "bob", "room")
		second := as(t, s, "ann")
		infos, more, err := s.Channels(within(t), "", "", 10)
		if fmt.Sprint(infos, more, err) != "[{news:1 1} {room 2}] false <nil>" {
			t.Error(infos, more, err)
		}
		infos, more, err = s.Channels(within(t), "", "", 1)
		if fmt.Sprint(infos, more, err) != "[{news:1 1}] true <nil>" {
			t.Error(infos, more, err)
		}
		infos, more, err = s.Channels(within(t), "ro", "", 10)
		if fmt.Sprint(infos, more, err) != "[{room 2}] false <nil>" {
			t.Error(infos, more, err)
		}
		infos, more, err = s.LargestChannels(within(t), "", 1)
		if fmt.Sprint(infos, more, err) != "[{room 2}] true <nil>" {
			t.Error(infos, more, err)
		}
		p, err := s.Presence(within(t), "room", "", 10)
		if err != nil || p.Clients != 2 || len(p.Members) != 2 || p.Truncated || p.Members[0].User == p.Members[1].User {
			t.Errorf("%+v, %v", p, err)
		}
		if p, err = s.Presence(within(t), "room", "", 1); err != nil || p.Clients != 2 || len(p.Members) != 1 || !p.Truncated {
			t.Errorf("%+v, %v", p, err)
		}
		if p, err = s.Presence(within(t), "user:ann", "", 1); err != nil || p.Clients != 2 || len(p.Members) != 1 || !p.Truncated {
			t.Errorf("%+v, %v", p, err)
		}
		conns, more, err := s.Connections(within(t), "ann", "", 10)
		if err != nil || more || len(conns) != 2 {
			t.Fatalf("%+v, %v, %v", conns, more, err)
		}
		if len(conns[0].Channels) == 0 {
			conns[0], conns[1] = conns[1], conns[0]
		}
		if c := conns[0]; fmt.Sprint(c.Channels) != "[news:1 room]" || c.User != "ann" || !c.RemoteAddr.IsValid() || c.LagMessages != 0 || c.PendingBytes != 0 {
			t.Errorf("%+v", c)
		}
		if _, more, err = s.Connections(within(t), "ann", "", 1); err != nil || !more {
			t.Error(more, err)
		}
		// Subscriptions from the server's side.
		if err := errors.Join(subscribe(s, server.Audience{User: "ann"}, "late"), unsubscribe(s, server.Audience{User: "ann"}, "room")); err != nil {
			t.Fatal(err)
		}
		if r, err := s.PublishMessage(within(t), server.Publication{Channel: "late", Payload: []byte("late")}); err != nil || r.Matched != 2 {
			t.Errorf("%+v, %v", r, err)
		}
		ann.Want("late")
		second.Want("late")
		if r, err := s.PublishMessage(within(t), server.Publication{Channel: "room", Payload: []byte("room")}); err != nil || r.Matched != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		bob.Want("room")
		// Goodbye.
		if err := disconnect(s, server.Audience{Client: conns[0].Client}, 4403, "one"); err != nil {
			t.Error(err)
		}
		ann.WantClose(4403, "one")
		if err := disconnect(s, server.Audience{Channel: "room"}, 4403, "channel"); err != nil {
			t.Error(err)
		}
		bob.WantClose(4403, "channel")
		if err := disconnect(s, server.Audience{Channel: "user:ann"}, 4403, "user"); err != nil {
			t.Error(err)
		}
		second.WantClose(4403, "user")
		for _, err := range []error{disconnect(s, server.Audience{Client: "nonsense"}, 4403, ""), disconnect(s, server.Audience{User: ""}, 4403, ""), subscribe(s, server.Audience{User: "ann"}, "user:bob"), disconnect(s, server.Audience{Client: "0-1-0"}, 4403, "")} {
			if !errors.Is(err, server.ErrBadName) {
				t.Error(err)
			}
		}
		if err := disconnect(s, server.Audience{User: "ann"}, 1005, ""); err == nil {
			t.Error("1005 was taken")
		}
	})
}

// A connection whose closing handshake is under way is in its channel until the
// handshake ends, but no audience has it any more.
func TestClosingConnectionsAreInNoAudience(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Handler: server.Handler{Upgrade: func(r *server.UpgradeRequest) error {
			r.User, r.Channels = "ann", []string{"room"}
			return nil
		}}})
		silent := upgraded(t, s)
		for i, a := range []server.Audience{{Channel: "room"}, {Channel: "room"}, {User: "ann"}} {
			n, err := s.Disconnect(within(t), a, 4403, "enough")
			if want := max(1-i, 0); err != nil || n != want {
				t.Errorf("disconnecting %+v, time %d: %d, %v; want %d", a, i+1, n, err, want)
			}
			if i == 0 {
				silent.WantClose(4403, "enough") // without a response
			}
		}
		if n, err := s.Subscribe(within(t), server.Audience{User: "ann"}, "other"); err != nil || n != 0 {
			t.Errorf("subscribing ann: %d, %v; want 0", n, err)
		}
	})
}

// A message to one connection, also from a callback, which must not wait.
func TestPublishToAConnection(t *testing.T) {
	var s *server.Server
	s = notifier(t, nil, func(c *server.Config) {
		c.Handler.Message = func(m *server.Message) {
			one := server.Publication{Client: m.Conn().String(), Payload: []byte("from a callback")}
			if r, err := s.PublishMessage(server.NoWait, one); err != nil || r.Complete {
				m.Reply(server.Text, fmt.Appendf(nil, "%+v, %v", r, err))
			}
			n, err := s.Disconnect(server.NoWait, server.Audience{Client: one.Client}, 4403, "enough")
			if n != 0 || err != nil {
				m.Reply(server.Text, fmt.Appendf(nil, "%d, %v", n, err))
			}
		}
	})
	c := as(t, s, "ann")
	conns, _, err := s.Connections(within(t), "ann", "", 1)
	if err != nil || len(conns) != 1 {
		t.Fatal(conns, err)
	}
	name := conns[0].Client
	r, err := s.PublishMessage(within(t), server.Publication{Client: name, Payload: []byte("to ann")})
	if err != nil || r.Matched != 1 || r.Written != 1 || !r.Complete {
		t.Errorf("%+v, %v", r, err)
	}
	c.Want("to ann")
	for _, p := range []server.Publication{
		{Client: name, Key: "k"}, {Client: name, From: "bob"}, {Client: name, IdempotencyKey: "k"}, {Client: name, Spread: time.Second},
		{Client: name, User: "ann"}, {Client: "nonsense"},
	} {
		if _, err := s.PublishMessage(within(t), p); !errors.Is(err, server.ErrBadName) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	c.Send("go")
	c.Want("from a callback")
	c.WantClose(4403, "enough")
	if r, err := s.PublishMessage(within(t), server.Publication{Client: name}); err != nil || r.Matched != 0 || !r.Complete {
		t.Errorf("after the end: %+v, %v", r, err)
	}
}

func TestNobodyJoinsTheChannelOfAUser(t *testing.T) {
	s := notifier(t, nil, func(c *server.Config) {
		c.Handler.Message = func(m *server.Message) {
			if err := m.Conn().Join("user:ann"); !errors.Is(err, server.ErrBadName) {
				m.Reply(server.Text, fmt.Appendf(nil, "joined: %v", err))
				return
			}
			m.Reply(server.Text, []byte("refused"))
		}
	})
	c := as(t, s, "bob")
	c.Send("join")
	c.Want("refused")
}

func TestNamespacesThatAreRefused(t *testing.T) {
	for want, list := range map[string][]server.Namespace{
		`Config.Namespaces["a:b"].Name`:          {{Name: "a:b"}},
		`Config.Namespaces["a"].HistoryMessages`: {{Name: "a", HistoryMessages: -1}},
		`Config.Namespaces["a"].HistoryAge`:      {{Name: "a", HistoryAge: time.Millisecond}},
		`"latest": want a history`:               {{Name: "a", SlowConsumer: server.SlowLatest}},
		`Config.Namespaces["a"].Subscribe`:       {{Name: "a", Subscribe: "friends"}},
		`Config.Namespaces["a"].Publish`:         {{Name: "a", Publish: "friends"}},
		`Name is "a": want each name once`:       {{Name: "a"}, {Name: "a"}},
	} {
		if _, err := server.New(server.Config{Namespaces: list}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", list, err, want)
		}
	}
}
