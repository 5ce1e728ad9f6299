package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/socketio"
)

// application is one that knows the tokens ann, bob and short, which is good for a second.
func application() *protocol.Application {
	return &protocol.Application{
		Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
			switch r.Token {
			case "ann", "bob":
				r.User = r.Token
			case "short":
				r.User, r.Expires = r.Token, time.Now().Add(time.Second)
			case "broken":
				return errors.New("a look-up failed")
			default:
				return &protocol.Error{Code: protocol.CodeUnauthorized, Message: "the token is not known"}
			}
			r.Rooms = []string{"staff"}
			return nil
		},
		Call: func(ctx context.Context, r *protocol.CallRequest) error {
			switch r.Method {
			case "echo":
				r.Reply = r.Data
			case "who":
				r.Reply, _ = json.Marshal([]string{r.User, r.Protocol, r.Namespace})
			case "one":
				r.Reply = json.RawMessage(`{"n":1}`)
			case "enter":
				r.Join = []string{"kitchen"}
			case "go":
				r.Leave = []string{"kitchen"}
			case "no":
				return &protocol.Error{Code: 1234, Message: "not today", RetryAfter: time.Second}
			case "slow":
				<-ctx.Done()
			case "nonsense":
				r.Reply = json.RawMessage(`[1`)
			default:
				return &protocol.Error{Code: protocol.CodeUnknownMethod, Message: "no such event"}
			}
			return nil
		},
	}
}

func startApplication(t *testing.T, options socketio.Options, change func(cfg *server.Config)) *rig {
	if options.Namespaces == nil {
		options.Namespaces = []string{"/", "/chat"}
	}
	return startWith(t, options, func(cfg *server.Config, _ *socketio.Server) {
		cfg.Application = application()
		if change != nil {
			change(cfg)
		}
	})
}

// connect connects with a token, and returns the socket's ID.
func connect(c *wstest.Client, token string) (id string) {
	c.Text() // open
	c.Send(`40{"token":"` + token + `"}`)
	var told struct{ SID string }
	_ = json.Unmarshal([]byte(strings.TrimPrefix(c.Text(), "40")), &told)
	return told.SID
}

// The application answers events: with arguments, with what the client is to join and leave,
// and with errors, which are those of the native protocol.
func TestApplicationAnswersEvents(t *testing.T) {
	r := startApplication(t, socketio.Options{}, func(cfg *server.Config) { cfg.Timeouts.HandshakeTimeout = 500 * time.Millisecond })
	c := r.dial("")
	connect(c, "ann")
	for event, ack := range map[string]string{
		`["echo",1,{"a":"b"}]`:  `[1,{"a":"b"}]`,
		`["who"]`:               `["ann","socketio","/"]`,
		`["one"]`:               `[{"n":1}]`,
		`["enter"]`:             `[]`,
		`["no"]`:                `[{"error":{"code":1234,"message":"not today","retry":1000}}]`,
		`["slow"]`:              `[{"error":{"code":112,"message":"it took too long"}}]`,
		`["nonsense"]`:          `[{"error":{"code":100,"message":"something went wrong in the server"}}]`,
		`["nobody knows this"]`: `[{"error":{"code":109,"message":"no such event"}}]`,
	} {
		c.Send("427" + event)
		c.Want("437" + ack)
	}
	// Binary data is an object with $binary for the application, in both directions.
	c.Send(`451-8["echo",{"_placeholder":true,"num":0}]`)
	c.SendBinary("\x01\x02")
	c.Want(`461-8[{"_placeholder":true,"num":0}]`)
	c.WantBinary("\x01\x02")

	for room, matched := range map[string]int{"staff": 1, "kitchen": 1, "garden": 0} {
		receipt, err := r.srv.PublishMessage(t.Context(), server.Publication{Channel: "io:/#" + room, Payload: []byte(`["said",{"in":"` + room + `"}]`)})
		if err != nil || receipt.Matched != matched {
			t.Errorf("room %s: %+v, %v", room, receipt, err)
		}
		if matched > 0 {
			c.Want(`42["said",{"in":"` + room + `"}]`)
		}
	}
	c.Send(`421["go"]`)
	c.Want("431[]")
	if receipt, err := r.srv.PublishMessage(t.Context(), server.Publication{Channel: "io:/#kitchen", Payload: []byte(`1`)}); err != nil || receipt.Matched != 0 {
		t.Errorf("after leaving: %+v, %v", receipt, err)
	}
}

// Where nobody has to be asked, a client may send events right behind its connect.
func TestApplicationAdmitsAtOnce(t *testing.T) {
	r := startApplication(t, socketio.Options{}, func(cfg *server.Config) {
		cfg.Application.Anonymous = true
		cfg.Namespaces = []server.Namespace{{Name: socketio.ChannelNamespace}}
	})
	c := r.dial("")
	c.Text()
	c.Put(wstest.Masked(ws.OpText, "40") + wstest.Masked(ws.OpText, `421["join","room"]`))
	c.Text()
	c.Want("431[]")
}

// Tokens are checked as those of the native protocol, and CONNECT_ERROR says what is wrong.
func TestApplicationAdmits(t *testing.T) {
	r := startApplication(t, socketio.Options{}, nil)
	c := r.dial("&token=ann") // in the address
	c.Text()
	c.Send("40")
	if got := c.Text(); !strings.HasPrefix(got, `40{"sid"`) {
		t.Fatal(got)
	}
	c.Send(`40/chat,{"token":"bob"}`)
	c.Want(`44/chat,{"message":"the connection is that of user \"ann\", the token of user \"bob\"","data":{"code":101}}`)
	c.Send(`40/chat,{"token":"ann"}`)
	if got := c.Text(); !strings.HasPrefix(got, `40/chat,{"sid"`) {
		t.Fatal(got)
	}
	c.Send(`40/other,{"token":"ann"}`)
	c.Want(`44/other,{"message":"Invalid namespace"}`)

	c = r.dial("")
	c.Text()
	c.Send(`40`)
	c.Want(`44{"message":"the token is not known","data":{"code":101}}`)
	c.Send(`40{"token":"broken"}`)
	c.Want(`44{"message":"permission denied","data":{"code":103}}`)
	c.Send(`40{"token":"wrong"}`)
	c.Want(`44{"message":"the token is not known","data":{"code":101}}`)
	c.WantClose(4401, "unauthorized")

	c = r.dial("")
	if connect(c, "short") == "" {
		t.Fatal("not connected")
	}
	c.WantClose(4401, "token expired: come back with a new one")
	for end := time.Now().Add(patience); r.srv.Stats().Get("tokens_expired") != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d tokens have expired", r.srv.Stats().Get("tokens_expired"))
		}
	}
}

// The application reaches one socket by its ID, in its own namespace, a user's sockets in all,
// and ends them so that they do not come back by themselves, unless it says when.
func TestApplicationReachesSockets(t *testing.T) {
	r := startApplication(t, socketio.Options{}, nil)
	c := r.dial("")
	id := connect(c, "ann")
	c.Send(`40/chat,{"token":"ann"}`)
	chat := c.Text()
	chat = chat[len(`40/chat,{"sid":"`) : len(chat)-2]
	publish := func(p server.Publication, matched int) {
		t.Helper()
		if receipt, err := r.srv.PublishMessage(t.Context(), p); err != nil || receipt.Matched != matched {
			t.Errorf("%+v: %+v, %v", p, receipt, err)
		}
	}
	publish(server.Publication{Channel: "io:/#" + id, Payload: []byte(`["own",{"$binary":"AQI="}]`)}, 1)
	c.Want(`451-["own",{"_placeholder":true,"num":0}]`)
	c.WantBinary("\x01\x02")
	publish(server.Publication{Channel: "io:/chat#" + chat, Payload: []byte(`["own"]`)}, 1)
	c.Want(`42/chat,["own"]`)
	publish(server.Publication{Channel: "io:/#" + chat, Payload: []byte(`["not there"]`)}, 0)
	publish(server.Publication{User: "ann", Payload: []byte(`["both"]`)}, 1)
	c.Want(`42["both"]`)
	c.Want(`42/chat,["both"]`)

	if n, err := r.srv.Disconnect(t.Context(), server.Audience{Channel: "io:/chat#" + chat}, 4403, "out"); n != 1 || err != nil {
		t.Errorf("disconnected are %d, %v", n, err)
	}
	for _, want := range []string{"41/chat,", "41"} {
		c.Want(want)
	}
	c.WantClose(4403, "out")

	c = r.dial("")
	connect(c, "bob")
	if n, err := r.srv.Disconnect(t.Context(), server.Audience{User: "bob"}, 4403, "later; retry=5"); n != 1 || err != nil {
		t.Errorf("disconnected are %d, %v", n, err)
	}
	c.WantClose(4403, "later; retry=5")
}

// The application is told of clients, with their protocol, and of events that want no reply.
func TestApplicationIsTold(t *testing.T) {
	var told collector
	r := startApplication(t, socketio.Options{}, func(cfg *server.Config) {
		cfg.Events = func(e *protocol.Event) {
			switch e.Type {
			case protocol.EventConnected, protocol.EventDisconnected, protocol.EventCalled:
				text := strings.Join([]string{string(e.Type), e.User, e.Protocol, e.Namespace, e.Method, string(e.Data), e.Reason}, " ")
				if e.Socket == "" || e.Client == "" {
					text += " without a name"
				}
				told.add(strings.TrimSpace(text))
			}
		}
	})
	c := r.dial("")
	connect(c, "ann")
	c.Send(`42["said",1,"two"]`)
	c.Send(`451-["blob",{"_placeholder":true,"num":0}]`)
	c.SendBinary("\xff")
	c.Send(`40/chat,{"token":"ann"}`)
	c.Text()
	c.Send(`41/chat,`)
	c.Send("41")
	told.wait(t, "connected ann socketio /", `called ann socketio / said [1,"two"]`, `called ann socketio / blob [{"$binary":"/w=="}]`, "connected ann socketio /chat",
		"disconnected ann socketio /chat   client namespace disconnect", "disconnected ann socketio /   client namespace disconnect")
}

// Where the settings of the channels' namespace let them, clients join rooms by themselves.
func TestClientsJoin(t *testing.T) {
	for access, want := range map[protocol.Access]string{
		protocol.AccessNobody:  `431[{"error":{"code":109,"message":"no such event"}}]`,
		protocol.AccessAnyone:  `431[]`,
		protocol.AccessUsers:   `431[]`,
		protocol.AccessGranted: `431[{"error":{"code":103,"message":"permission denied"}}]`,
	} {
		t.Run(string(access), func(t *testing.T) {
			r := startApplication(t, socketio.Options{}, func(cfg *server.Config) {
				cfg.Namespaces = []server.Namespace{{Name: socketio.ChannelNamespace, Subscribe: access}}
				connect := cfg.Application.Connect
				cfg.Application.Connect = func(ctx context.Context, r *protocol.ConnectRequest) error {
					r.Allow.Subscribe = []string{"io:/", "io:/#mine"}
					return connect(ctx, r)
				}
			})
			c := r.dial("")
			connect(c, "ann")
			c.Send(`421["join","kitchen"]`)
			c.Want(want)
			if access == protocol.AccessGranted {
				c.Send(`422["join","mine"]`)
				c.Want("432[]")
				c.Send(`40/chat,{"token":"ann"}`)
				c.Want(`44/chat,{"message":"permission denied","data":{"code":103}}`)
			}
		})
	}
}

// A client that asks much is read no faster than the application answers, and one with a rate is
// told when it may go on.
func TestApplicationIsNotOverrun(t *testing.T) {
	var mu sync.Mutex
	var most, now int
	gate := make(chan struct{})
	r := startApplication(t, socketio.Options{}, func(cfg *server.Config) {
		cfg.Application.Call = func(context.Context, *protocol.CallRequest) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-gate
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		connect := cfg.Application.Connect
		cfg.Application.Connect = func(ctx context.Context, r *protocol.ConnectRequest) error {
			if r.Token == "bob" {
				r.MessageRate = 1
			}
			return connect(ctx, r)
		}
	})
	c := r.dial("")
	connect(c, "ann")
	const events = 200
	for range events {
		c.Send(`421["x"]`)
	}
	close(gate)
	for range events {
		c.Want("431[]")
	}
	mu.Lock()
	if most > 16 {
		t.Errorf("%d events were under way", most)
	}
	mu.Unlock()
	c = r.dial("")
	connect(c, "bob")
	limited := false
	for range 10 {
		c.Send(`421["x"]`)
		limited = limited || strings.Contains(c.Text(), `"code":108`)
	}
	if !limited {
		t.Error("bob was not told to wait")
	}
}

// The room that is a socket's ID is that socket's alone: another client, of whatever protocol,
// cannot join it and read what is sent to the socket, whatever the settings let clients join.
func TestClientsDoNotJoinSockets(t *testing.T) {
	for _, access := range []protocol.Access{protocol.AccessAnyone, protocol.AccessUsers, protocol.AccessGranted} {
		t.Run(string(access), func(t *testing.T) {
			r := startApplication(t, socketio.Options{}, func(cfg *server.Config) {
				cfg.Namespaces = []server.Namespace{{Name: socketio.ChannelNamespace, Subscribe: access}}
				connect := cfg.Application.Connect
				cfg.Application.Connect = func(ctx context.Context, r *protocol.ConnectRequest) error {
					r.Allow.Subscribe = []string{"io:/*"}
					return connect(ctx, r)
				}
			})
			c, other := r.dial(""), r.dial("")
			id := connect(c, "ann")
			connect(other, "bob")
			const why = `"code":103,"message":"the channel may be that of a single client: no other one can subscribe to it"`
			other.Send(`421["join","` + id + `"]`)
			other.Want(`431[{"error":{` + why + `}}]`)

			native := wstest.DialWith(t, ws.Dialer{Protocols: []string{"roost.v1.json"}}, "ws://"+r.srv.Addrs()[0].String()+"/ws")
			native.Send(`{"id":1,"connect":{"token":"bob"}}`)
			native.Text()
			native.Send(`{"id":2,"subscribe":{"channel":"io:/#` + id + `"}}`)
			native.Want(`{"id":2,"error":{` + why + `}}`)

			receipt, err := r.srv.PublishMessage(t.Context(), server.Publication{Channel: "io:/#" + id, Payload: []byte(`["own"]`)})
			if err != nil || receipt.Matched != 1 {
				t.Errorf("%+v, %v", receipt, err)
			}
			c.Want(`42["own"]`)
		})
	}
}
