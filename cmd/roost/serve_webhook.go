package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/webhook"
)

// WebhookFlags are those of roost serve for the application's own HTTP server:
// what it is told, and what it is asked (docs/webhooks.md).
type WebhookFlags struct {
	Sender            webhook.SenderConfig `embed:"" prefix:"webhook-" group:"webhooks"`
	WebhookSecretFile string               `group:"webhooks" help:"Secrets that sign events and questions: each line of the file is one, whsec_ and base64." placeholder:"FILE"`
	WebhookSecret     string               `group:"webhooks" help:"One such secret. Better in the environment: everybody on this machine sees a command line." placeholder:"SECRET"`

	Asker      webhook.AskerConfig `embed:"" prefix:"ask-" group:"webhooks"`
	Ask        []string            `group:"webhooks" help:"What the application is asked: connect, subscribe, publish, call. Without it all four, but for connect where tokens say who a client is." placeholder:"WHAT"`
	AskHeaders []string            `group:"webhooks" help:"HTTP headers of the upgrade that the question connect passes on: Origin, User-Agent, …" placeholder:"NAME"`
	AskCookies []string            `group:"webhooks" help:"Cookies that it passes on." placeholder:"NAME"`
	AskQuery   []string            `group:"webhooks" help:"Parameters of the address that it passes on." placeholder:"NAME"`
}

// questions are the values of --ask.
var questions = []string{"connect", "subscribe", "publish", "call"}

// check is called by the command line's parser. clients is whether there are any that speak a
// protocol.
func (f *WebhookFlags) check(clients bool) error {
	switch {
	case f.Asker.URL == "" && len(f.Ask) > 0:
		return errors.New("--ask needs --ask-url")
	case f.Asker.URL == "" && len(f.AskHeaders)+len(f.AskCookies)+len(f.AskQuery) > 0:
		return errors.New("--ask-headers, --ask-cookies and --ask-query need --ask-url")
	case f.Asker.URL != "" && !clients:
		return errors.New("--ask-url is about clients of a protocol: add --native or --socketio")
	case f.Sender.URL == "" && len(f.Sender.Events) > 0:
		return errors.New("--webhook-events needs --webhook-url")
	case f.Sender.URL == "" && f.Asker.URL == "" && f.WebhookSecretFile != "":
		return errors.New("--webhook-secret-file needs --webhook-url or --ask-url")
	case (f.Sender.URL != "" || f.Asker.URL != "") && f.WebhookSecretFile == "" && f.WebhookSecret == "":
		return errors.New("--webhook-url and --ask-url sign what they send: add --webhook-secret-file, made with: " + makeWebhookSecret)
	}
	for _, what := range f.Ask {
		if !slices.Contains(questions, what) {
			return fmt.Errorf("--ask is %q: want %s", what, strings.Join(questions, ", "))
		}
	}
	return nil
}

// tells reports whether the application is told of events of a type.
func (f *WebhookFlags) tells(what protocol.EventType) bool {
	return f.Sender.URL != "" && (len(f.Sender.Events) == 0 || slices.Contains(f.Sender.Events, what))
}

// asksConnect reports whether the application identifies clients; tokens is
// whether those do.
func (f *WebhookFlags) asksConnect(tokens bool) bool {
	return f.Asker.URL != "" && (slices.Contains(f.Ask, "connect") || len(f.Ask) == 0 && !tokens)
}

// webhooks are what WebhookFlags have made.
type webhooks struct {
	sender  *webhook.Sender // nil: nothing is told
	asker   *webhook.Asker  // nil: nothing is asked
	timeout time.Duration
	logger  *slog.Logger
}

// configure sets Config.Events and the functions of Config.Application, after those that
// tokens have set.
func (f *WebhookFlags) configure(config *server.Config, logger *slog.Logger) (*webhooks, error) {
	w := &webhooks{logger: logger}
	if f.Sender.URL == "" && f.Asker.URL == "" {
		return w, nil
	}
	secrets, err := f.secrets()
	if err != nil {
		return nil, err
	}
	if f.Asker.URL != "" {
		asker := f.Asker
		asker.Secrets, asker.Logger = secrets, logger
		if w.asker, err = webhook.NewAsker(asker); err != nil {
			return nil, err
		}
		config.Stats = append(config.Stats, w.asker.Counters)
		config.Application.Parts = protocol.Selection{Headers: f.AskHeaders, Cookies: f.AskCookies, Query: f.AskQuery}
		if err := f.ask(w.asker, config.Application); err != nil {
			return nil, err
		}
	}
	if f.Sender.URL != "" {
		sender := f.Sender
		sender.Secrets, sender.Logger = secrets, logger
		webhook.SenderSettings().Fill(&sender)
		w.timeout = sender.Timeout
		if w.sender, err = webhook.NewSender(sender); err != nil {
			return nil, err
		}
		config.Events = w.sender.Event
		config.Stats = append(config.Stats, w.sender.Counters)
	}
	return w, nil
}

func (f *WebhookFlags) secrets() ([]string, error) {
	return readSecrets[string]("--webhook-secret-file", f.WebhookSecretFile, f.WebhookSecret, makeWebhookSecret)
}

// reload reads the secrets again.
func (f *WebhookFlags) reload(w *webhooks) error {
	secrets, err := f.secrets()
	if err == nil && w.sender != nil {
		err = w.sender.SetSecrets(secrets)
	}
	if err == nil && w.asker != nil {
		err = w.asker.SetSecrets(secrets)
	}
	return err
}

// ask sets the hooks that are asked for.
func (f *WebhookFlags) ask(asker *webhook.Asker, app *protocol.Application) error {
	asks := func(what string) bool { return len(f.Ask) == 0 || slices.Contains(f.Ask, what) }
	if tokens := app.Connect != nil; f.asksConnect(tokens) {
		if tokens {
			return usagef("--ask connect and the flags that begin with --token- both tell who a client is: choose one (--ask subscribe,publish,call goes with tokens)")
		}
		app.Connect, app.Refresh = asker.Connect, asker.Refresh
	}
	if asks("subscribe") {
		app.Subscribe = subscribeEither(app.Subscribe, asker.Subscribe)
	}
	if asks("publish") {
		app.Publish = asker.Publish
	}
	if asks("call") {
		app.Call = asker.Call
	}
	return nil
}

// subscribeEither has tokens checked where a client shows one, and the
// application asked where it shows none.
func subscribeEither(tokens, ask func(context.Context, *protocol.SubscribeRequest) error) func(context.Context, *protocol.SubscribeRequest) error {
	if tokens == nil {
		return ask
	}
	return func(ctx context.Context, r *protocol.SubscribeRequest) error {
		if r.Token != "" {
			return tokens(ctx, r)
		}
		return ask(ctx, r)
	}
}

// flush waits until everything is told, for as long as one try may take. It is
// for when the server has ended.
func (w *webhooks) flush() {
	if w.sender == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
	defer cancel()
	if err := w.sender.Close(ctx); err != nil {
		w.logger.Warn("the application was not told everything", "err", err)
	}
}

// end ends what is still there.
func (w *webhooks) end() {
	if w.asker != nil {
		w.asker.Close()
	}
	if w.sender != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.sender.Close(ctx) // flush has told what is lost
	}
}
