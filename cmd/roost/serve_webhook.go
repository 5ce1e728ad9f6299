package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
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
	WebhookURL            string        `name:"webhook-url" group:"webhooks" help:"Tell the application what happens: POST batches of events there, signed." placeholder:"URL"`
	WebhookSecretFile     string        `group:"webhooks" help:"Secrets that sign what is told and asked: each line of the file is one, whsec_ and base64." placeholder:"FILE"`
	WebhookSecret         string        `group:"webhooks" help:"One such secret. Better in the environment: everybody on this machine sees a command line." placeholder:"SECRET"`
	WebhookEvents         []string      `group:"webhooks" help:"What is told (connected,disconnected,occupied,vacated,message). There are also subscribed, unsubscribed and acknowledged." placeholder:"EVENT"`
	WebhookTimeout        time.Duration `group:"webhooks" help:"From the beginning of a try to the answer, and how long the end of roost waits for what is not told yet (${default})." default:"10s"`
	WebhookBatchMaxEvents int           `group:"webhooks" help:"Events of a batch (${default})." placeholder:"N" default:"500"`
	WebhookBatchMaxBytes  int           `group:"webhooks" help:"Bytes of a batch (${default})." placeholder:"N" default:"262144"`
	WebhookBatchMaxDelay  time.Duration `group:"webhooks" help:"How long a batch waits for more events (${default})." default:"100ms"`
	WebhookQueueMaxEvents int           `group:"webhooks" help:"Events that may wait while the application is slow or away; more are dropped, counted and told (${default})." placeholder:"N" default:"65536"`
	WebhookQueueMaxBytes  int           `group:"webhooks" help:"Bytes that they may take (${default})." placeholder:"N" default:"16777216"`
	WebhookRetryMaxAge    time.Duration `group:"webhooks" help:"How long a batch is tried before it is dropped (${default})." default:"10m"`

	AskURL        string        `name:"ask-url" group:"webhooks" help:"Ask the application what clients of the native protocol may do: POST there, signed with the same secrets." placeholder:"URL"`
	Ask           []string      `group:"webhooks" help:"What it is asked: connect, subscribe, publish, call. Without it all four, but for connect where tokens tell who a client is." placeholder:"WHAT"`
	AskTimeout    time.Duration `group:"webhooks" help:"How long an answer may take (${default})." default:"5s"`
	AskHeaders    []string      `group:"webhooks" help:"HTTP headers of the upgrade that the question connect passes on: Origin, User-Agent, …" placeholder:"NAME"`
	AskCookies    []string      `group:"webhooks" help:"Cookies that it passes on." placeholder:"NAME"`
	AskQuery      []string      `group:"webhooks" help:"Parameters of the address that it passes on." placeholder:"NAME"`
	AskMaxPending int           `group:"webhooks" help:"Questions under way; more wait for their turn (${default})." placeholder:"N" default:"128"`
}

// questions are the values of --ask.
var questions = []string{"connect", "subscribe", "publish", "call"}

// check is called by the command line's parser.
func (f *WebhookFlags) check(native bool) error {
	switch {
	case f.AskURL == "" && len(f.Ask) > 0:
		return errors.New("--ask needs --ask-url")
	case f.AskURL == "" && len(f.AskHeaders)+len(f.AskCookies)+len(f.AskQuery) > 0:
		return errors.New("--ask-headers, --ask-cookies and --ask-query need --ask-url")
	case f.AskURL != "" && !native:
		return errors.New("--ask-url is about the native protocol: add --native")
	case f.WebhookURL == "" && len(f.WebhookEvents) > 0:
		return errors.New("--webhook-events needs --webhook-url")
	case f.WebhookURL == "" && f.AskURL == "" && f.WebhookSecretFile != "":
		return errors.New("--webhook-secret-file needs --webhook-url or --ask-url")
	case (f.WebhookURL != "" || f.AskURL != "") && f.WebhookSecretFile == "" && f.WebhookSecret == "":
		return errors.New(`--webhook-url and --ask-url sign what they send: add --webhook-secret-file, made with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	for _, what := range f.Ask {
		if !slices.Contains(questions, what) {
			return fmt.Errorf("--ask is %q: want %s", what, strings.Join(questions, ", "))
		}
	}
	return nil
}

// asksConnect tells whether the application says who a client is; tokens is
// whether those do.
func (f *WebhookFlags) asksConnect(tokens bool) bool {
	return f.AskURL != "" && (slices.Contains(f.Ask, "connect") || len(f.Ask) == 0 && !tokens)
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
	w := &webhooks{timeout: f.WebhookTimeout, logger: logger}
	if f.WebhookURL == "" && f.AskURL == "" {
		return w, nil
	}
	secrets, err := f.secrets()
	if err != nil {
		return nil, err
	}
	if f.AskURL != "" {
		w.asker, err = webhook.NewAsker(webhook.AskerConfig{
			URL: f.AskURL, Secrets: secrets, Timeout: f.AskTimeout, MaxPending: f.AskMaxPending, Logger: logger,
		})
		if err != nil {
			return nil, webhookError(err)
		}
		config.Application.Parts = protocol.Selection{Headers: f.AskHeaders, Cookies: f.AskCookies, Query: f.AskQuery}
		if err := f.ask(w.asker, config.Application); err != nil {
			return nil, err
		}
	}
	if f.WebhookURL != "" {
		var events []protocol.EventType
		for _, name := range f.WebhookEvents {
			events = append(events, protocol.EventType(name))
		}
		w.sender, err = webhook.NewSender(webhook.SenderConfig{
			URL: f.WebhookURL, Secrets: secrets, Events: events, Timeout: f.WebhookTimeout,
			BatchMaxEvents: f.WebhookBatchMaxEvents, BatchMaxBytes: f.WebhookBatchMaxBytes, BatchMaxDelay: f.WebhookBatchMaxDelay,
			QueueMaxEvents: f.WebhookQueueMaxEvents, QueueMaxBytes: f.WebhookQueueMaxBytes,
			RetryMaxAge: f.WebhookRetryMaxAge, Logger: logger,
		})
		if err != nil {
			return nil, webhookError(err)
		}
		config.Events = w.sender.Event
	}
	return w, nil
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

// secrets are the lines of the file, and the one of the environment.
func (f *WebhookFlags) secrets() (secrets []string, err error) {
	if f.WebhookSecretFile != "" {
		text, err := os.ReadFile(f.WebhookSecretFile)
		if err != nil {
			return nil, usagef("--webhook-secret-file: %w", err)
		}
		for line := range bytes.Lines(text) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				secrets = append(secrets, string(line))
			}
		}
		if len(secrets) == 0 {
			return nil, usagef(`--webhook-secret-file: %s holds no secret: make one with: echo "whsec_$(openssl rand -base64 32)"`, f.WebhookSecretFile)
		}
	}
	if f.WebhookSecret != "" {
		secrets = append(secrets, f.WebhookSecret)
	}
	return secrets, nil
}

var webhookField = regexp.MustCompile(`webhook: (Sender|Asker)Config\.(\w+)`)

// webhookError says of a field of package webhook what it says of its flag.
func webhookError(err error) error {
	return usageError{errors.New(webhookField.ReplaceAllStringFunc(err.Error(), func(m string) string {
		parts := webhookField.FindStringSubmatch(m)
		begin := "--webhook-"
		if parts[1] == "Asker" {
			begin = "--ask-"
		}
		switch parts[2] {
		case "Secrets":
			return "--webhook-secret-file"
		case "URL":
			return begin + "url"
		}
		return begin + settingName(parts[2])
	}))}
}
