package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	roostclient "github.com/roostws/roost/client"
)

// SubscribeCmd is roost subscribe.
type SubscribeCmd struct {
	Channels []string `arg:"" name:"channel" help:"Channels to listen to."`

	URL       string `name:"url" help:"The server's address for clients (${default})." default:"ws://127.0.0.1:8080/" env:"ROOST_URL" placeholder:"URL"`
	Token     string `help:"Token to show (roost token makes them); everybody on this machine sees a command line." env:"ROOST_TOKEN" placeholder:"TOKEN"`
	TokenFile string `help:"File with the token: read again for each connection." placeholder:"FILE"`
	Since     string `help:"Begin behind this position, as it was printed; with one channel." placeholder:"EPOCH:OFFSET"`
	Count     int    `help:"End after so many messages. 0: never." placeholder:"N" default:"0"`
	JSON      bool   `name:"json" help:"Print each message as a JSON object, with channel and position."`

	since *roostclient.Position
}

// Help is the text between the usage and the flags.
func (SubscribeCmd) Help() string {
	return `Examples:
  roost subscribe news
  roost subscribe --token-file token news user:42
  roost subscribe --since 5f0c2a:16 --json news

Messages go to standard output, a line for each; what happens to the connection goes to standard error. It reconnects until it is interrupted, and misses nothing that is still in the channel's history. What trying again cannot mend ends it: a token that the server refuses, an address where nothing speaks the native protocol. The server must speak the native protocol (roost serve --native).`
}

// Validate is called by the command line's parser.
func (c *SubscribeCmd) Validate() error {
	if c.Count < 0 {
		return fmt.Errorf("--count is %d: want 0 or more", c.Count)
	}
	if c.Token != "" && c.TokenFile != "" {
		return errors.New("--token and --token-file exclude each other: choose one")
	}
	if c.Since == "" {
		return nil
	}
	if len(c.Channels) != 1 {
		return errors.New("--since is a position in one channel: name one")
	}
	epoch, offset, found := strings.Cut(c.Since, ":")
	n, err := strconv.ParseUint(offset, 10, 64)
	if !found || epoch == "" || err != nil {
		return fmt.Errorf("--since %q: want EPOCH:OFFSET, as it was printed", c.Since)
	}
	c.since = &roostclient.Position{Epoch: epoch, Offset: n}
	return nil
}

// printer writes lines of several goroutines.
type printer struct {
	streams
	json bool
	left int // messages still to come, if any were counted
	done context.CancelFunc

	mu        sync.Mutex
	listening int   // channels that the server has not ended
	over      error // set when it has ended the last of them
}

// failure is why there is nothing left to listen to, if so.
func (p *printer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// Run listens until a signal, --count messages, or an error that trying again does
// not mend.
func (c *SubscribeCmd) Run(s streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := &printer{streams: s, json: c.JSON, left: c.Count, listening: len(c.Channels), done: stop}
	config := roostclient.Config{URL: c.URL, Name: "roost subscribe", OnState: p.state}
	if c.Token != "" || c.TokenFile != "" {
		config.Token = c.token
	}
	conn, err := roostclient.Dial(ctx, config)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, roostclient.ErrClosed):
		return c.explain(err)
	case err != nil:
		return usageError{fmt.Errorf("--url: %w", err)}
	}
	defer conn.Close()
	for _, channel := range c.Channels {
		options := &roostclient.SubscribeOptions{OnEvent: p.event, Resume: c.since}
		if _, err := conn.Subscribe(ctx, channel, p.message, options); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return c.explain(err)
		}
	}
	select {
	case <-ctx.Done():
		return p.failure()
	case <-conn.Done():
		return c.explain(conn.Err())
	}
}

// explain adds the next step to an error that ends the command.
func (c *SubscribeCmd) explain(err error) error {
	text := strings.TrimPrefix(err.Error(), roostclient.ErrClosed.Error()+": ")
	refused, ok := errors.AsType[*roostclient.ServerError](err)
	switch {
	case !ok:
	case refused.Code == roostclient.CodeUnauthorized && c.Token == "" && c.TokenFile == "":
		text += "\nThe server wants to know who this is: add --token or --token-file (roost token makes tokens), or start it with --anonymous"
	case refused.Code == roostclient.CodeUnauthorized, refused.Code == roostclient.CodeTokenExpired:
		text += "\nMake another token (roost token); roost token --inspect shows what is in this one"
	}
	return errors.New(text)
}

// token returns the token for the next connection.
func (c *SubscribeCmd) token(context.Context) (string, error) {
	if c.TokenFile == "" {
		return c.Token, nil
	}
	text, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// message prints one message as one line.
func (p *printer) message(_ context.Context, m *roostclient.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left < 0 {
		return // the last was printed
	}
	write := p.messageText
	if p.json {
		write = p.messageJSON
	}
	if err := write(m); err != nil { // the reader has gone
		p.over, p.left = err, -1
		p.done()
		return
	}
	if p.left == 1 {
		p.left = -1
		p.done()
	} else if p.left > 0 {
		p.left--
	}
}

func (p *printer) messageText(m *roostclient.Message) error {
	var line bytes.Buffer
	line.WriteString(m.Channel)
	if m.Position.Epoch != "" {
		fmt.Fprintf(&line, " %s:%d", m.Position.Epoch, m.Position.Offset)
	}
	line.WriteByte(' ')
	if m.Binary {
		line.WriteString(base64.StdEncoding.EncodeToString(m.Data))
	} else if json.Compact(&line, m.Data) != nil { // without line feeds
		fmt.Fprintf(&line, "%q", m.Data)
	}
	line.WriteByte('\n')
	_, err := p.out.Write(line.Bytes())
	return err
}

func (p *printer) messageJSON(m *roostclient.Message) error {
	line := struct {
		Channel  string          `json:"channel"`
		Epoch    string          `json:"epoch,omitempty"`
		Offset   uint64          `json:"offset,omitempty"`
		Data     json.RawMessage `json:"data"`
		Encoding string          `json:"encoding,omitempty"`
		Key      string          `json:"key,omitempty"`
		From     string          `json:"from,omitempty"`
	}{Channel: m.Channel, Epoch: m.Position.Epoch, Offset: m.Position.Offset, Data: m.Data, Key: m.Key, From: m.From}
	if m.Binary {
		line.Data, line.Encoding = json.RawMessage(strconv.Quote(base64.StdEncoding.EncodeToString(m.Data))), "base64"
	}
	encoder := json.NewEncoder(p.out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(line)
}

// tell prints a line on standard error.
func (p *printer) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, format+"\n", args...)
}

// event prints what happens to a subscription.
func (p *printer) event(e *roostclient.Event) {
	at := ""
	if e.Position.Epoch != "" {
		at = fmt.Sprintf(" at %s:%d", e.Position.Epoch, e.Position.Offset)
	}
	switch e.Type {
	case roostclient.EventSubscribed:
		recovered := ""
		if e.Recovered {
			recovered = ", nothing was missed"
		}
		p.tell("%s: subscribed%s%s", e.Channel, at, recovered)
	case roostclient.EventUnsubscribed:
		p.tell("%s: the server has ended the subscription: %v", e.Channel, e.Err)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.listening--; p.listening == 0 {
			p.over = errors.New("there is no channel left to listen to")
			p.done()
		}
	case roostclient.EventGap:
		p.tell("%s: messages %d to %d will not come: too slow", e.Channel, e.From, e.To)
	case roostclient.EventJoin:
		p.tell("%s: %s joins (user %q)", e.Channel, e.Client, e.User)
	case roostclient.EventLeave:
		p.tell("%s: %s leaves (user %q)", e.Channel, e.Client, e.User)
	}
}

// state prints what happens to the connection.
func (p *printer) state(e roostclient.StateEvent) {
	switch e.State {
	case roostclient.StateConnected:
		p.tell("connected as %s (user %q)", e.Client, e.User)
	case roostclient.StateDisconnected:
		p.tell("not connected: %v; next attempt in %v", e.Err, e.RetryIn.Round(time.Millisecond))
	}
}
