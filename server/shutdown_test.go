package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

func TestShutdown(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		proceed := make(chan struct{})
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, Sockets: server.Sockets{DeferAccept: -1}, Handler: server.Handler{
			Authorize: func(ctx context.Context, r *server.UpgradeRequest) error {
				if r.Get("X-Slow") != "" {
					<-proceed
				}
				return nil
			},
		}})
		var wg sync.WaitGroup
		for range 20 {
			c := upgraded(t, s)
			wg.Go(func() {
				c.wantFarewell()
			})
		}
		half, slow := connect(t, s), connect(t, s)
		half.Put("GET ")
		slow.Put(wstest.Upgrade("X-Slow: 1"))
		eventually(t, "one is being authorised", func() bool { return statsOf(s).Get("accepted") == 22 && statsOf(s).Get("paused") == 1 })
		if err := s.Broadcast(server.Text, []byte("closing time")); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
			defer cancel()
			ended <- s.Shutdown(ctx)
		}()
		wg.Wait()
		half.WantEnd()
		_ = half.Close()
		if _, err := net.DialTimeout("tcp", s.Addrs()[0].String(), time.Second); err == nil {
			t.Error("a newcomer was accepted")
		}
		close(proceed)
		slow.WantStatus(503)
		_ = slow.Close()
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-s.Done()
		if err := s.Err(); err != nil {
			t.Errorf("Err: %v", err)
		}
		st := statsOf(s)
		if st.Get("connections") != 0 || st.Get("engine_conns") != 0 || st.Get("opened") != 20 || st.Get("closed_by_server") != 20 {
			t.Errorf("Connections = %d, sockets %d, Opened = %d, ClosedByServer = %d", st.Get("connections"), st.Get("engine_conns"), st.Get("opened"), st.Get("closed_by_server"))
		}
		if err := s.Publish("x", server.Text, nil); !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Publish afterwards: %v", err)
		}
		check(t, s.Shutdown(context.Background()), s.Close())
	})
}

// wantFarewell reads the last message, the Close frame, and answers that.
func (c *client) wantFarewell() {
	if text := c.Text(); text != "closing time" {
		c.T.Errorf("got %q", text)
	}
	c.WantClose(1001, "*")
	c.Put(wstest.CloseFrame(1001, ""))
	c.WantEnd()
	_ = c.Close() // else the server waits LingerTimeout for it
}

func TestShutdownDeadline(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}})
		c := upgraded(t, s) // and never says a word
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		c.WantClose(1001, "*")
		c.WantEnd()
		<-s.Done()
	})
}

func TestStartAndClose(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		cfg := server.Config{Engine: server.Engine{Driver: engine}, Listen: []string{"127.0.0.1:0"}}
		s, err := server.New(cfg)
		check(t, err)
		for what, err := range map[string]error{
			"Publish": s.Publish("x", server.Text, nil), "PublishUser": s.PublishUser("x", server.Text, nil),
			"Broadcast": s.Broadcast(server.Text, nil), "Disconnect": disconnect(s, server.Audience{User: "x"}, 1000, ""),
		} {
			if !errors.Is(err, server.ErrServerClosed) {
				t.Errorf("%s before Start: %v", what, err)
			}
		}
		if s.Addrs() != nil || statsOf(s).Get("accepted") != 0 || s.Err() != nil {
			t.Error("before Start there is something")
		}
		check(t, s.Start())
		if err := s.Start(); err == nil || !strings.Contains(err.Error(), "started already") {
			t.Errorf("the second Start: %v", err)
		}

		// An address in use names itself, and the server can try again.
		cfg.Listen = []string{s.Addrs()[0].String()}
		second, err := server.New(cfg)
		check(t, err)
		if err := second.Start(); err == nil || !strings.Contains(err.Error(), cfg.Listen[0]) {
			t.Errorf("Start on an address in use: %v", err)
		}
		if err := second.Publish("x", server.Text, nil); !errors.Is(err, server.ErrServerClosed) || !strings.Contains(err.Error(), "Start was not called") {
			t.Errorf("Publish after a failed Start: %v", err)
		}
		check(t, s.Close(), s.Close(), second.Start(), second.Close())
		<-s.Done()
		<-second.Done()

		third, err := server.New(cfg)
		check(t, err, third.Close())
		<-third.Done()
		if err := third.Start(); !errors.Is(err, server.ErrServerClosed) {
			t.Errorf("Start after Close: %v", err)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	cases := map[string]server.Config{
		"Loops":                         {Engine: server.Engine{Loops: -1}},
		"MaxConnections":                {Limits: server.Limits{MaxConnections: -1}},
		"SendBufferBytes":               {Sockets: server.Sockets{SendBufferBytes: -1}},
		"HandshakeMaxBytes":             {Limits: server.Limits{HandshakeMaxBytes: 10}},
		"HandshakeTimeout":              {Timeouts: server.Timeouts{HandshakeTimeout: time.Millisecond}},
		"AuthorizeMaxPending":           {Limits: server.Limits{AuthorizeMaxPending: -1}},
		"Subprotocols":                  {Handshake: server.Handshake{Subprotocols: []string{"a b"}}},
		"Origins":                       {Handshake: server.Handshake{Origins: []string{"not an origin"}}},
		"MessageMaxBytes":               {Limits: server.Limits{MessageMaxBytes: -1}},
		"MessageMaxFragments":           {Limits: server.Limits{MessageMaxFragments: -1}},
		"MessageRate":                   {Limits: server.Limits{MessageRate: 1 << 16}},
		"PendingMaxBytes":               {Limits: server.Limits{PendingMaxBytes: 100}},
		"SlowConsumer":                  {Limits: server.Limits{SlowConsumer: "hope"}},
		"SubscriptionsMax":              {Limits: server.Limits{SubscriptionsMax: -1}},
		"ChannelNameMaxBytes":           {Limits: server.Limits{ChannelNameMaxBytes: 1 << 20}},
		"InboxMaxEntries":               {Limits: server.Limits{InboxMaxEntries: 1}},
		"InboxMaxBytes":                 {Limits: server.Limits{InboxMaxBytes: 1}},
		"PingInterval":                  {Timeouts: server.Timeouts{PingInterval: time.Millisecond}},
		"PongTimeout":                   {Timeouts: server.Timeouts{PongTimeout: -1}},
		"IdleTimeout":                   {Timeouts: server.Timeouts{IdleTimeout: -1}},
		"WriteStallTimeout":             {Timeouts: server.Timeouts{WriteStallTimeout: -1}},
		"CloseTimeout":                  {Timeouts: server.Timeouts{CloseTimeout: -1}},
		"TLS":                           {ListenTLS: []string{"127.0.0.1:0"}, TLS: &tls.Config{}},
		"TLSHandshakesMax":              {Limits: server.Limits{TLSHandshakesMax: -1}},
		"Handshake.Origins is \"*\"":    {Handshake: server.Handshake{Origins: []string{"https://example.com", "*"}, TokenCookie: "session"}},
		"Handshake.Origins is \"null\"": {Handshake: server.Handshake{Origins: []string{"null"}, TokenCookie: "session"}},
		"Compression":                   {Handshake: server.Handshake{Compression: "zip"}},
	}
	for field, cfg := range cases {
		if _, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), "."+field) {
			t.Errorf("New with a bad %s: %v", field, err)
		}
	}
	// All of them at once are all reported.
	_, err := server.New(server.Config{Engine: server.Engine{Loops: -1}, Limits: server.Limits{MessageRate: -1}})
	if err == nil || !strings.Contains(err.Error(), "Loops") || !strings.Contains(err.Error(), "MessageRate") {
		t.Errorf("New with two bad fields: %v", err)
	}
}
