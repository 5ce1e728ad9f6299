package main

import (
	"bytes"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// nativeConfig is what roost serve makes of its arguments, without serving.
func nativeConfig(t *testing.T, args ...string) (server.Config, error) {
	t.Helper()
	var cli CLI
	var file configFile
	if _, err := newParser(&cli, &file).Parse(append([]string{"serve"}, args...)); err != nil {
		return server.Config{}, parseError(err, &file)
	}
	logger := slog.New(slog.DiscardHandler)
	config := cli.Serve.config(logger)
	verifier, err := cli.Serve.NativeFlags.configure(&config, false, logger)
	if err != nil {
		return config, flagError(err, &file)
	}
	if verifier != nil {
		t.Cleanup(verifier.Close)
	}
	_, err = server.New(config)
	return config, flagError(err, &file)
}

func TestNativeFlags(t *testing.T) {
	config, err := nativeConfig(t)
	if err != nil || config.Application != nil {
		t.Errorf("without --native: %+v, %v", config.Application, err)
	}
	config, err = nativeConfig(t, "--native", "--anonymous")
	if err != nil || config.Application == nil || !config.Application.Anonymous || config.Application.Connect != nil {
		t.Errorf("with --anonymous alone: %+v, %v", config.Application, err)
	}

	secret := writeFile(t, "secret", testSecret+"\n")
	config, err = nativeConfig(t, "--native", "--token-secret-file", secret, "--token-issuer", "app", "--token-audience", "roost")
	if err != nil {
		t.Fatal(err)
	}
	good, _ := made(t, "--secret", testSecret, "--user", "42", "--issuer", "app", "--audience", "roost")
	r := protocol.ConnectRequest{Token: good}
	if err := config.Application.Connect(t.Context(), &r); err != nil || r.User != "42" {
		t.Errorf("connected as %q, %v", r.User, err)
	}
	if err := config.Application.Refresh(t.Context(), &protocol.ConnectRequest{Token: good, User: "43"}); err == nil {
		t.Error("a refresh may change the user")
	}
	other, _ := made(t, "--secret", testSecret, "--user", "42", "--issuer", "app")
	if err := config.Application.Connect(t.Context(), &protocol.ConnectRequest{Token: other}); err == nil || !strings.Contains(err.Error(), "aud") {
		t.Errorf("for another audience: %v", err)
	}
	channel, _ := made(t, "--secret", testSecret, "--user", "42", "--issuer", "app", "--audience", "roost", "--channel", "chat:1")
	if err := config.Application.Subscribe(t.Context(), &protocol.SubscribeRequest{Token: channel, User: "42", Channel: "chat:1"}); err != nil {
		t.Errorf("subscribing: %v", err)
	}

	t.Setenv("ROOST_TOKEN_SECRET", testSecret)
	if config, err = nativeConfig(t); err != nil || config.Application != nil {
		t.Errorf("a secret in the environment turns the protocol on: %v", err)
	}
	if config, err = nativeConfig(t, "--native"); err != nil {
		t.Fatal(err)
	}
	if err := config.Application.Connect(t.Context(), &protocol.ConnectRequest{Token: good}); err != nil {
		t.Errorf("with the secret from the environment: %v", err)
	}
}

// roost token makes what roost serve takes, whatever the claims are called, with
// the same flags and with the same variables.
func TestTokenAndServerAgreeOnClaimNames(t *testing.T) {
	claims := []string{"--secret", testSecret, "--user", "ann", "--channels", "news", "--allow-publish", "chat:*", "--rate", "5", "--info", `{"n":1}`}
	channel := []string{"--secret", testSecret, "--user", "ann", "--channel", "chat:1"}
	for _, names := range [][]string{nil, {"--token-user-claim", "email", "--token-claim-prefix", "https://push.example/"}} {
		config, err := nativeConfig(t, append([]string{"--native", "--token-secret", testSecret}, names...)...)
		if err != nil {
			t.Fatal(err)
		}
		tokens := func(args []string) (list []string) {
			short := slices.Clone(names)
			for i := range short {
				short[i] = strings.Replace(short[i], "--token-", "--", 1)
			}
			for _, flags := range [][]string{names, short} {
				text, _ := made(t, append(slices.Clone(args), flags...)...)
				if code, _, errs := roost("", append([]string{"token", "--inspect", text, "--secret", testSecret}, flags...)...); code != exitOK {
					t.Errorf("%q: --inspect: exit code %d, %q", flags, code, errs)
				}
				list = append(list, text)
			}
			for i := 0; i < len(names); i += 2 {
				t.Setenv("ROOST_"+strings.ToUpper(strings.ReplaceAll(names[i][2:], "-", "_")), names[i+1])
			}
			text, _ := made(t, args...)
			t.Setenv("ROOST_TOKEN_USER_CLAIM", "")
			t.Setenv("ROOST_TOKEN_CLAIM_PREFIX", "")
			return append(list, text)
		}
		for _, text := range tokens(claims) {
			r := protocol.ConnectRequest{Token: text}
			err := config.Application.Connect(t.Context(), &r)
			r.Token = ""
			want := protocol.ConnectRequest{User: "ann", Channels: []string{"news"}, MessageRate: 5, Allow: protocol.Permissions{Publish: []string{"chat:*"}}, Info: []byte(`{"n":1}`)}
			want.Expires = r.Expires // an hour from now
			if err != nil || !reflect.DeepEqual(r, want) {
				t.Errorf("%q: connected as %+v, %v; want %+v", names, r, err, want)
			}
		}
		for _, text := range tokens(channel) {
			if err := config.Application.Subscribe(t.Context(), &protocol.SubscribeRequest{Token: text, User: "ann", Channel: "chat:1"}); err != nil {
				t.Errorf("%q: subscribing: %v", names, err)
			}
		}
	}
}

func TestNativeUsageErrors(t *testing.T) {
	t.Setenv("ROOST_TOKEN_SECRET", "")
	short, notPEM := writeFile(t, "short", "short\n"), writeFile(t, "key", "hello\n")
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"--native"}, []string{"--native", "--token-secret-file", "--anonymous", "docs/tokens.md"}},
		{[]string{"--anonymous"}, []string{"add --native"}},
		{[]string{"--token-jwks-url", "https://x/"}, []string{"add --native"}},
		{[]string{"--no-fallback", "--relay"}, []string{"add --native"}},
		{[]string{"--native", "--anonymous", "--token-issuer", "app"}, []string{"--token-issuer", "need a key"}},
		{[]string{"--native", "--token-secret-file", "/nothing/here"}, []string{"--token-secret-file", "/nothing/here"}},
		{[]string{"--native", "--token-secret-file", short}, []string{"--token-secret-file: number 1", "5 bytes", "32"}},
		{[]string{"--native", "--token-key", notPEM}, []string{"--token-key: number 1", "BEGIN PUBLIC KEY"}},
		{[]string{"--native", "--token-key", "/nothing/here"}, []string{"--token-key", "/nothing/here"}},
		{[]string{"--native", "--token-jwks-url", "example.com"}, []string{"--token-jwks-url", "https://"}},
		{[]string{"--native", "--anonymous", "--token-secret", testSecret, "--token-leeway", "2h"}, []string{"--token-leeway", "2h0m0s"}},
	} {
		_, err := nativeConfig(t, tc.args...)
		if err == nil {
			t.Errorf("%q is taken", tc.args)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q lacks %q", tc.args, err, want)
			}
		}
	}
}

func TestNamespaces(t *testing.T) {
	want := []server.Namespace{
		{Name: ""},
		{Name: "chat", HistoryMessages: 100, HistoryAge: 24 * time.Hour, SlowConsumer: server.SlowSkip, Subscribe: protocol.AccessGranted,
			Publish: protocol.AccessUsers, Presence: true, JoinLeave: true, JoinLeaveMax: 50},
	}
	file := writeFile(t, "roost.yaml", `
serve:
  namespaces:
    - name: ""
    - name: chat
      history-messages: 100
      history-age: 24h
      slow-consumer: skip
      subscribe: granted
      publish: users
      presence: true
      join-leave: true
      join-leave-max: 50
`)
	config, err := nativeConfig(t, "--config", file)
	if err != nil || !reflect.DeepEqual(config.Namespaces, want) {
		t.Errorf("from the file: %+v, %v\nwant %+v", config.Namespaces, err, want)
	}
	config, err = nativeConfig(t, "--namespaces", `[{name: a, history-messages: 1}]`, "--namespaces", `[{name: b}]`)
	if err != nil || !reflect.DeepEqual(config.Namespaces, []server.Namespace{{Name: "a", HistoryMessages: 1}, {Name: "b"}}) {
		t.Errorf("from flags: %+v, %v", config.Namespaces, err)
	}
	t.Setenv("ROOST_NAMESPACES", `[{"name": "c", "presence": true}]`)
	config, err = nativeConfig(t, "--config", file)
	if err != nil || !reflect.DeepEqual(config.Namespaces, []server.Namespace{{Name: "c", Presence: true}}) {
		t.Errorf("from the environment: %+v, %v", config.Namespaces, err)
	}
}

func TestBadNamespaces(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		`chat`:                                {"want a list"},
		`{name: chat}`:                        {"want a list"},
		`[`:                                   {"not YAML"},
		`[chat]`:                              {"number 1", "want an object"},
		`[{name: a}, {}]`:                     {"number 2", "has no name"},
		`[{name: a}, {name: a}]`:              {"number 2", `"a" is there already`},
		`[{name: a, history: 5}]`:             {"number 1", `no setting "history"`, "history-messages", "join-leave-max"},
		`[{name: a, history_messages: 5}]`:    {`no setting "history_messages"`},
		`[{name: [5]}]`:                       {"name is", "a word"},
		`[{name: a, history-messages: many}]`: {"history-messages is many", "whole number"},
		`[{name: a, history-messages: 1.5}]`:  {"history-messages is 1.5", "whole number"},
		`[{name: a, history-age: 5}]`:         {"history-age is 5", "duration"},
		`[{name: a, presence: maybe}]`:        {"presence is maybe", "true or false"},
		`[{name: a, history-messages: -1}]`:   {`"a": history-messages is -1`},
		`[{name: a, subscribe: everyone}]`:    {`"a": subscribe is "everyone"`, "anyone"},
		`[{name: a, slow-consumer: drop, history-messages: 1}]`: {`"a": slow-consumer is "drop"`, "latest"},
		`[{name: "a:b"}]`: {`name is "a:b"`, "without a colon"},
	} {
		file := writeFile(t, "roost.yaml", "serve:\n  namespaces: "+list+"\n")
		for _, args := range [][]string{{"--namespaces", list}, {"--config", file}} {
			if list == "[" && args[0] == "--config" {
				continue // not a file at all: TestUsageErrors
			}
			config, err := nativeConfig(t, args...)
			if err == nil {
				t.Errorf("%s is taken: %+v", list, config.Namespaces)
				continue
			}
			place := "--namespaces"
			if args[0] == "--config" {
				place = "roost.yaml:2: namespaces"
			}
			for _, want := range append(want, place) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %q lacks %q", list, err, want)
				}
			}
		}
	}
}

// What the example of a configuration file says of the native protocol is
// taken, also what is commented out.
func TestDocumentedNativeSettings(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/roost.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ = bytes.Cut(text, []byte(generatedMark))
	all := regexp.MustCompile(`(?m)^  # ((native|anonymous|token-[a-z-]+):)`).ReplaceAll(text, []byte("  $1"))
	cli, err := parse(t, "serve", "--config", writeFile(t, "roost.yaml", string(all)))
	if err != nil {
		t.Fatal(err)
	}
	f := cli.Serve.NativeFlags
	if !f.Native || f.TokenSecretFile == "" || f.TokenJWKSURL == "" || len(f.TokenKey) == 0 || len(f.Namespaces) < 2 {
		t.Errorf("docs/roost.yaml shows %+v", f)
	}
	if _, err := server.New(server.Config{Namespaces: f.Namespaces}); err != nil {
		t.Error(err)
	}
}
