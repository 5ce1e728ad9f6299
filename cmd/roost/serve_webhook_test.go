package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/webhook"
)

const webhookSecret = "whsec_QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJD"

func TestWebhookUsageErrors(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "secret", webhookSecret+"\n")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--webhook-url", "https://app.example.com/hook"}, "--webhook-secret-file, made with: echo"},
		{[]string{"--native", "--ask-url", "https://app.example.com/ask"}, "--webhook-secret-file, made with: echo"},
		{[]string{"--webhook-secret-file", secret}, "needs --webhook-url or --ask-url"},
		{[]string{"--webhook-events", "connected"}, "--webhook-events needs --webhook-url"},
		{[]string{"--ask", "connect"}, "--ask needs --ask-url"},
		{[]string{"--ask-url", "https://app.example.com/ask", "--webhook-secret-file", secret}, "add --native"},
		{[]string{"--native", "--ask-url", "https://app.example.com/ask", "--webhook-secret-file", secret, "--ask", "conect"}, `--ask is "conect": want connect, subscribe, publish, call`},
		{[]string{"--native", "--anonymous", "--ask-url", "app.example.com", "--webhook-secret-file", secret}, `--ask-url is "app.example.com": want https://host/path`},
		{[]string{"--native", "--anonymous", "--ask-url", "https://app.example.com", "--webhook-secret-file", secret, "--ask-max-pending=-1"}, "--ask-max-pending is -1: want"},
		{[]string{"--webhook-url", "https://app.example.com", "--webhook-secret-file", secret, "--webhook-events", "conected"}, `--webhook-events is "conected": want subscribed`},
		{[]string{"--webhook-url", "https://app.example.com", "--webhook-secret-file", secret, "--webhook-queue-max-bytes", "1"}, "--webhook-queue-max-bytes is 1: want"},
		{[]string{"--webhook-url", "https://app.example.com", "--webhook-secret-file", writeFile(t, "bad", "guess\n")}, `--webhook-secret-file: number 1: it does not begin with "whsec_"`},
		{[]string{"--webhook-url", "https://app.example.com", "--webhook-secret-file", writeFile(t, "empty", "\n")}, "holds no secret"},
		{[]string{"--webhook-url", "https://app.example.com", "--webhook-secret-file", "/nothing/here"}, "--webhook-secret-file: open /nothing/here"},
	} {
		var out, errs strings.Builder
		code := run(append([]string{"serve", "--addr", "127.0.0.1:0"}, tc.args...), strings.NewReader(""), &out, &errs)
		if code != exitUsage || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("%q: exit code %d, %q; want %d and %q", tc.args, code, errs.String(), exitUsage, tc.want)
		}
	}
}

// Who is asked what, with and without tokens.
func TestAskHooks(t *testing.T) {
	t.Parallel()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = webhook.Verify(webhookSecret, r.Header, body, 0)
		}
		if err != nil {
			t.Errorf("a question: %v", err)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer app.Close()
	byToken := errors.New("decided by a token")
	for _, tc := range []struct {
		name   string
		tokens bool
		ask    []string
		// asked, refused by a token, or without a hook
		connect, subscribe, subscribeWithToken, publish, call string
	}{
		{"all", false, nil, "asked", "asked", "asked", "asked", "asked"},
		{"all but connect with tokens", true, nil, "token", "asked", "token", "asked", "asked"},
		{"call alone", false, []string{"call"}, "", "", "", "", "asked"},
		{"publish alone, with tokens", true, []string{"publish"}, "token", "token", "token", "asked", ""},
		{"connect and subscribe", false, []string{"connect", "subscribe"}, "asked", "asked", "asked", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config := server.Config{Application: new(protocol.Application)}
			if tc.tokens {
				config.Application.Connect = func(context.Context, *protocol.ConnectRequest) error { return byToken }
				config.Application.Refresh = config.Application.Connect
				config.Application.Subscribe = func(context.Context, *protocol.SubscribeRequest) error { return byToken }
			}
			flags := WebhookFlags{Asker: webhook.AskerConfig{URL: app.URL}, WebhookSecret: webhookSecret, Ask: tc.ask}
			w, err := flags.configure(&config, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer w.end()
			before := uint64(0)
			check := func(what, want string, there bool, ask func() error) {
				got := ""
				if there {
					err := ask()
					switch asked := w.asker.Stats().Asked; {
					case errors.Is(err, byToken) && asked == before:
						got = "token"
					case err == nil && asked == before+1:
						got, before = "asked", asked
					default:
						got = "failed"
					}
				}
				if got != want {
					t.Errorf("%s: got %q, want %q", what, got, want)
				}
			}
			ctx, n := context.Background(), config.Application
			check("connect", tc.connect, n.Connect != nil, func() error { return n.Connect(ctx, &protocol.ConnectRequest{}) })
			check("refresh", tc.connect, n.Refresh != nil, func() error { return n.Refresh(ctx, &protocol.ConnectRequest{}) })
			check("subscribe", tc.subscribe, n.Subscribe != nil, func() error { return n.Subscribe(ctx, &protocol.SubscribeRequest{}) })
			check("subscribe with a token", tc.subscribeWithToken, n.Subscribe != nil, func() error { return n.Subscribe(ctx, &protocol.SubscribeRequest{Token: "t"}) })
			check("publish", tc.publish, n.Publish != nil, func() error { return n.Publish(ctx, &protocol.PublishRequest{}) })
			check("call", tc.call, n.Call != nil, func() error { return n.Call(ctx, &protocol.CallRequest{}) })
		})
	}
	config := server.Config{Application: &protocol.Application{Connect: func(context.Context, *protocol.ConnectRequest) error { return byToken }}}
	flags := WebhookFlags{Asker: webhook.AskerConfig{URL: app.URL}, WebhookSecret: webhookSecret, Ask: []string{"connect"}}
	if _, err := flags.configure(&config, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "choose one") {
		t.Errorf("tokens and --ask connect: %v", err)
	}
}
