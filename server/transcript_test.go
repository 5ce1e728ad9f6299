package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native/nativetest"
)

// docs/transcripts/README.md tells what the server of the transcripts is like.
func transcriptConfig(engine netpoll.Driver) server.Config {
	return server.Config{
		Engine: server.Engine{Driver: engine, Loops: 1}, Limits: server.Limits{SubscriptionsMax: 8, LagMaxBytes: 64 << 10}, Sockets: server.Sockets{SendBufferBytes: 32 << 10},
		Namespaces: []server.Namespace{
			{Name: "news", HistoryMessages: 100},
			{Name: "chat", HistoryMessages: 100, Subscribe: protocol.AccessUsers, Publish: protocol.AccessUsers, Presence: true, JoinLeave: true},
			{Name: "private", HistoryMessages: 100, Subscribe: protocol.AccessGranted, Publish: protocol.AccessGranted},
			{Name: "audit", Subscribe: protocol.AccessNobody},
			{Name: "ticker", HistoryMessages: 2, SlowConsumer: server.SlowSkip},
			{Name: "user", HistoryMessages: 100},
		},
		Application: &protocol.Application{
			Anonymous: true,
			Connect:   transcriptConnect,
			Subscribe: func(_ context.Context, r *protocol.SubscribeRequest) error {
				if r.Channel != "private:"+r.User || !strings.HasPrefix(r.Token, "for "+r.User) {
					return errors.New("this text is for the log only")
				}
				if strings.HasSuffix(r.Token, "for an hour") {
					r.Expires = time.Now().Add(time.Hour)
				}
				return nil
			},
			Publish: func(_ context.Context, r *protocol.PublishRequest) error {
				if r.Channel != "private:"+r.User {
					return errors.New("this text is for the log only")
				}
				r.Data = json.RawMessage(`{"checked":` + string(r.Data) + `}`)
				return nil
			},
			Call: transcriptCall,
		},
	}
}

func transcriptConnect(_ context.Context, r *protocol.ConnectRequest) error {
	switch r.Token {
	case "ann":
		r.User = "ann"
	case "ann for an hour":
		r.User, r.Expires = "ann", time.Now().Add(time.Hour)
	case "admin":
		r.User, r.Info = "root", json.RawMessage(`{"role":"admin"}`)
		r.Allow = protocol.Permissions{Subscribe: []string{"private:*"}, Publish: []string{"private:*"}}
	case "hour":
		r.User, r.Expires, r.Channels = "hour", time.Now().Add(time.Hour), []string{"news:today", "plain"}
		r.Reply = json.RawMessage(`{"hello":` + string(r.Data) + `}`)
	case "late":
		return &protocol.Error{Code: protocol.CodeTokenExpired, Message: "the token has expired"}
	default:
		return &protocol.Error{Code: protocol.CodeUnauthorized, Message: "the token is not valid"}
	}
	return nil
}

func transcriptCall(_ context.Context, r *protocol.CallRequest) error {
	switch r.Method {
	case "echo":
		r.Reply = r.Data
	case "nothing":
	case "panic":
		panic("on purpose")
	case "busy":
		return &protocol.Error{Code: protocol.CodeBusy, Message: "come back later", RetryAfter: 2500 * time.Millisecond}
	case "slow":
		return &protocol.Error{Code: protocol.CodeTimeout, Message: "it took too long"}
	default:
		return &protocol.Error{Code: protocol.CodeUnknownMethod, Message: `there is no method "` + r.Method + `"`}
	}
	return nil
}

// The conversations in docs/transcripts take place as they are written there.
func TestTranscripts(t *testing.T) {
	all, err := nativetest.Read("../docs/transcripts")
	if err != nil {
		t.Fatal(err)
	}
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		for _, transcript := range all {
			t.Run(transcript.Name, func(t *testing.T) {
				p := &play{t: t, clients: map[string]*client{}, values: nativetest.Values{}, held: map[string]string{}, released: make(chan struct{})}
				cfg := transcriptConfig(engine)
				cfg.Application.Call = func(ctx context.Context, r *protocol.CallRequest) error {
					if r.Method == "wait" {
						r.Reply = r.Data
						<-p.released
						return nil
					}
					return transcriptCall(ctx, r)
				}
				cfg.Handler.Open = func(e *server.OpenEvent) { p.conns.Store(e.Conn().String(), e.Conn()) }
				p.server = start(t, cfg)
				for _, line := range transcript.Lines {
					p.step(line)
				}
				if transcript.Name == "call" {
					wantPanics(t, p.server, 1)
				}
			})
		}
	})
}

// play is a transcript under way.
type play struct {
	t       *testing.T
	server  *server.Server
	conns   sync.Map // server.Conn by name
	clients map[string]*client
	values  nativetest.Values
	// released is closed by the action "release".
	released chan struct{}
	held     map[string]string // a message that a line <* has read and did not want
}

func (p *play) step(l nativetest.Line) {
	p.t.Helper()
	c := p.clients[l.Client]
	switch l.Kind {
	case nativetest.Open:
		p.clients[l.Client] = speaking(p.t, p.server)
	case nativetest.Send:
		text, err := p.values.Fill(l.Text)
		if err != nil {
			p.t.Fatalf("%s: %v", l.Where, err)
		}
		c.Send(text)
	case nativetest.Get:
		if got := p.next(l.Client); !p.values.Match(l.Text, got) {
			p.t.Fatalf("%s: %s got\n%.300s\nwant\n%s", l.Where, l.Client, got, l.Text)
		}
	case nativetest.Skip:
		got := p.next(l.Client)
		for p.values.Match(l.Text, got) {
			got = p.next(l.Client)
		}
		p.held[l.Client] = got
	case nativetest.Close:
		c.Put(wstest.Masked(ws.OpClose, "\x03\xe8"))
		_ = c.Close()
	case nativetest.Closed:
		c.WantClose(ws.StatusCode(l.Code), l.Text)
	case nativetest.Do:
		if err := p.act(l); err != nil {
			p.t.Fatalf("%s: %v", l.Where, err)
		}
	}
}

func (p *play) next(name string) string {
	p.t.Helper()
	if held, ok := p.held[name]; ok {
		delete(p.held, name)
		return held
	}
	return p.clients[name].Text()
}

// act does what the application does.
func (p *play) act(l nativetest.Line) error {
	text, err := p.values.Fill(l.Text)
	if err != nil {
		return err
	}
	var a struct {
		Channel, User, Client, Key, From string
		All                              bool
		Data                             json.RawMessage
		Text, Binary, Reason             string
		Code                             frame.CloseCode
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	switch l.Action {
	case "publish":
		m := server.Publication{Channel: a.Channel, User: a.User, All: a.All, Type: server.Text, Payload: a.Data, Key: a.Key, From: a.From}
		if a.Text != "" {
			m.Payload = []byte(a.Text)
		}
		if a.Binary != "" {
			m.Type = server.Binary
			if m.Payload, err = base64.StdEncoding.DecodeString(a.Binary); err != nil {
				return err
			}
		}
		_, err = p.server.PublishMessage(context.Background(), m)
		return err
	case "send":
		conn, ok := p.conns.Load(a.Client)
		if !ok {
			return errors.New("there is no such connection")
		}
		return conn.(server.Conn).Send(server.Text, a.Data)
	case "subscribe_user":
		return subscribe(p.server, server.Audience{User: a.User}, a.Channel)
	case "unsubscribe_user":
		return unsubscribe(p.server, server.Audience{User: a.User}, a.Channel)
	case "disconnect":
		return disconnect(p.server, server.Audience{User: a.User}, a.Code, a.Reason)
	case "stall":
		return p.stall(a.Channel)
	case "release":
		close(p.released)
		return nil
	}
	return errors.New("no such action")
}

// stall publishes until a socket is full, and then more than is kept for it.
func (p *play) stall(channel string) error {
	big := []byte(`"` + strings.Repeat("x", 32<<10) + `"`)
	publish := func(data []byte) error {
		_, err := p.server.PublishMessage(context.Background(), server.Publication{Channel: channel, Payload: data})
		return err
	}
	for deadline := time.Now().Add(wstest.Patience); statsOf(p.server).Get("stalled") == 0; {
		if time.Now().After(deadline) {
			return errors.New("no socket is full")
		}
		if err := publish(big); err != nil {
			return err
		}
	}
	for range 20 {
		if err := publish(big); err != nil {
			return err
		}
	}
	return publish([]byte(`{"price":1}`))
}
