package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/webhook"
)

// socketIOBackEnd is an application in another process, which knows Socket.IO by roost's
// questions, events and API alone. A token "user:NAME" is the user NAME's.
type socketIOBackEnd struct {
	t   *testing.T
	api string // of roost's admin port

	mu sync.Mutex
	// Guarded by mu.
	events []webhook.Event
}

// startSocketIO starts a back end, and roost before it.
func startSocketIO(t *testing.T, args ...string) (*process, *socketIOBackEnd) {
	t.Helper()
	b := &socketIOBackEnd{t: t}
	app := httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(app.Close)
	p := startRoost(t, loopback(append([]string{"--socketio", "--socketio-namespaces", "/,/chat", "--admin-addr", "127.0.0.1:0",
		"--ask-url", app.URL, "--webhook-url", app.URL, "--webhook-secret", webhookSecret, "--webhook-batch-max-delay", "1ms"}, args...)...)...)
	b.api = p.adminURL()
	return p, b
}

func (b *socketIOBackEnd) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = webhook.Verify(webhookSecret, r.Header, body, 0)
	}
	var said struct {
		webhook.Question
		Events []webhook.Event
	}
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil {
		b.t.Errorf("the back end got %s: %v", body, err)
		return
	}
	if said.Events != nil {
		b.take(said.Events)
		return
	}
	status, answer := b.answer(r, &said.Question)
	text, err := json.Marshal(answer)
	if err != nil {
		b.t.Error(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func (b *socketIOBackEnd) take(events []webhook.Event) {
	b.mu.Lock()
	b.events = append(b.events, events...)
	b.mu.Unlock()
	for _, e := range events {
		if e.Type == protocol.EventCalled && e.Method == "shout" {
			var text [1]string
			if err := json.Unmarshal(e.Data, &text); err != nil {
				b.t.Error(err)
			}
			b.publish(map[string]any{"channel": "io:" + e.Namespace, "data": []any{"shouted", text[0], e.User}})
		}
	}
}

// waitFor waits until the back end was told of an event.
func (b *socketIOBackEnd) waitFor(t *testing.T, what string, is func(webhook.Event) bool) {
	t.Helper()
	for deadline := time.Now().Add(testTimeout); ; time.Sleep(5 * time.Millisecond) {
		b.mu.Lock()
		found, all := slices.ContainsFunc(b.events, is), b.events
		b.mu.Unlock()
		if found {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the back end was not told of %s, but of %+v", what, all)
		}
	}
}

type answer map[string]any

func (b *socketIOBackEnd) answer(r *http.Request, q *webhook.Question) (int, answer) {
	if q.Protocol != "socketio" {
		b.t.Errorf("a question of protocol %q", q.Protocol)
	}
	if q.Type == "connect" {
		name, ok := strings.CutPrefix(q.Token, "user:")
		switch {
		case q.Token == "banned":
			return http.StatusForbidden, answer{"code": 1234, "message": "banned"}
		case !ok:
			return http.StatusUnauthorized, answer{"message": "who are you?"}
		}
		return http.StatusOK, answer{"user": name, "join": []string{"everybody"}}
	}
	var args []json.RawMessage
	if err := json.Unmarshal(q.Data, &args); err != nil {
		b.t.Error(err)
	}
	arg := func(i int) (text string) {
		_ = json.Unmarshal(args[i], &text)
		return text
	}
	room := func(name string) string { return "io:" + q.Namespace + "#" + name }
	switch q.Method {
	case "echo":
		return http.StatusOK, answer{"data": q.Data}
	case "join":
		return http.StatusOK, answer{"join": []string{arg(0)}}
	case "leave":
		return http.StatusOK, answer{"leave": []string{arg(0)}}
	case "say": // to the others in a room
		n := b.publish(map[string]any{"channel": room(arg(0)), "data": []any{"said", args[1]}, "except": []string{room(q.Socket)}})
		return http.StatusOK, answer{"data": n}
	case "tell": // one socket
		n := b.publish(map[string]any{"channel": room(arg(0)), "data": []any{"told", args[1]}})
		return http.StatusOK, answer{"data": []any{n}}
	case "mail": // a user
		n := b.publish(map[string]any{"user": arg(0), "data": []any{"mail", args[1]}})
		return http.StatusOK, answer{"data": []any{n}}
	case "kick me":
		b.call(http.MethodDelete, "/v1/connections/"+q.Client, nil)
		return http.StatusOK, answer{}
	case "later": // the transport ends, and the client comes back
		b.call(http.MethodDelete, "/v1/connections/"+q.Client+"?code=1012", nil)
		return http.StatusOK, answer{}
	case "come in":
		b.call(http.MethodPost, "/v1/connections/"+q.Client+"/subscriptions/"+url.PathEscape(room("back")), nil)
		return http.StatusOK, answer{"data": []string{"in"}}
	case "sleep":
		<-r.Context().Done()
	}
	return http.StatusNotFound, answer{"message": "no event " + q.Method}
}

// publish returns how many sockets it was for.
func (b *socketIOBackEnd) publish(message map[string]any) (matched int) {
	body, err := json.Marshal(message)
	if err != nil {
		b.t.Error(err)
	}
	var receipt struct{ Matched int }
	if err := json.Unmarshal(b.call(http.MethodPost, "/v1/publish", body), &receipt); err != nil {
		b.t.Error(err)
	}
	return receipt.Matched
}

func (b *socketIOBackEnd) call(method, path string, body []byte) []byte {
	r, err := http.NewRequest(method, b.api+path, bytes.NewReader(body))
	if err != nil {
		b.t.Error(err)
		return nil
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Error(err)
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.t.Errorf("%s %s: %s %s %v", method, path, response.Status, text, err)
	}
	return text
}

// ioClient is a client on a WebSocket.
func ioClient(t *testing.T, p *process, token string) (c *wstest.Client, id string) {
	t.Helper()
	c = wstest.Dial(t, "ws://"+p.addr+"/socket.io/?EIO=4&transport=websocket")
	c.Text() // open
	c.Send(`40{"token":"` + token + `"}`)
	var told struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(c.Text(), "40")), &told); err != nil {
		t.Fatal(err)
	}
	return c, told.SID
}

// A back end that is no Go program serves clients of Socket.IO: it lets them in, answers their
// events, puts them into rooms, emits to rooms, sockets and users, and ends them.
func TestServeSocketIO(t *testing.T) {
	t.Parallel()
	p, b := startSocketIO(t, "--ask-timeout", "300ms")
	ann, _ := ioClient(t, p, "user:ann")
	bob, bobID := ioClient(t, p, "user:bob")
	ask := func(c *wstest.Client, event, ack string) {
		t.Helper()
		c.Send("427" + event)
		c.Want("437" + ack)
	}
	ask(ann, `["echo",1,{"a":[]}]`, `[1,{"a":[]}]`)
	ask(ann, `["nonsense"]`, `[{"error":{"code":109,"message":"no event nonsense"}}]`)
	ask(ann, `["sleep"]`, `[{"error":{"code":112,"message":"the application did not answer; whether it did something is not known"}}]`)
	ask(ann, `["join","kitchen"]`, `[]`)
	ask(bob, `["join","kitchen"]`, `[]`)
	ask(ann, `["say","kitchen","tea"]`, `[1]`)
	bob.Want(`42["said","tea"]`)
	ask(ann, `["tell","`+bobID+`","psst"]`, `[1]`)
	bob.Want(`42["told","psst"]`)
	ask(ann, `["mail","bob",{"n":1}]`, `[1]`)
	bob.Want(`42["mail",{"n":1}]`)
	bob.Want(`42/chat,["mail",{"n":1}]`) // a client of both namespaces gets it in both
	ask(bob, `["leave","kitchen"]`, `[]`)
	ask(ann, `["say","kitchen","anyone?"]`, `[0]`)
	ask(ann, `["come in"]`, `["in"]`)
	b.publish(map[string]any{"channel": "io:/#back", "data": []any{"welcome", map[string]string{"$binary": "AQID"}}})
	ann.Want(`451-["welcome",{"_placeholder":true,"num":0}]`)
	ann.WantBinary("\x01\x02\x03")

	// What wants no answer is told.
	ann.Send(`42["shout","hello"]`)
	ann.Want(`42["shouted","hello","ann"]`)
	bob.Want(`42["shouted","hello","ann"]`)

	ann.Send(`40/chat,{"token":"banned"}`)
	ann.Want(`44/chat,{"message":"banned","data":{"code":1234}}`)

	var list struct {
		Connections []struct{ User, Protocol string }
	}
	if err := json.Unmarshal(b.call(http.MethodGet, "/v1/connections", nil), &list); err != nil || len(list.Connections) != 2 || list.Connections[0].Protocol != "socketio" {
		t.Errorf("the connections are %+v, %v", list, err)
	}
	ann.Send(`42["kick me"]`) // told, and not asked: without the wish for an answer
	ask(bob, `["echo"]`, `[]`)
	bob.Send(`427["kick me"]`)
	for bob.Text() != "41" { // the acknowledgement may come before it
	}
	bob.WantClosing(4403)
	b.waitFor(t, "bob's end", func(e webhook.Event) bool {
		return e.Type == protocol.EventDisconnected && e.User == "bob" && e.Protocol == "socketio" && e.Namespace == "/" && e.Socket == bobID
	})
}
