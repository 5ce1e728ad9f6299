package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/roostws/roost/server/api"
)

// PublishCmd is roost publish.
type PublishCmd struct {
	Channel string `arg:"" optional:"" help:"The channel. Not with --user, --all and --ndjson."`
	Data    string `arg:"" optional:"" help:"The message, JSON. Without it, or with -, it is read from standard input."`

	AdminClientFlags
	User           string        `help:"Publish to all connections of this user." placeholder:"ID"`
	All            bool          `help:"Publish to every connection."`
	Text           bool          `help:"The message is plain text."`
	Key            string        `help:"For channels whose slow clients get only the newest message of each key." placeholder:"KEY"`
	Spread         time.Duration `help:"Deliver over this time, so that the audience does not come all at once." placeholder:"TIME"`
	IdempotencyKey string        `help:"A repetition with the same key publishes nothing." placeholder:"KEY"`
	Wait           time.Duration `help:"How long to wait for the receipt (${default}). 0s: not at all." default:"5s"`
	Count          int           `help:"Publish so many times, to try something out." placeholder:"N" default:"1"`
	Rate           float64       `help:"With --count: so many a second. 0: as fast as the answers come." placeholder:"N" default:"0"`
	NDJSON         bool          `name:"ndjson" help:"Read publications from standard input, one in each line: {\"channel\":\"news\",\"data\":1}. Exit code 1 if one was refused."`
	JSON           bool          `name:"json" help:"Print the server's answers as they are."`
}

// Help is the text between the usage and the flags.
func (PublishCmd) Help() string {
	return `Examples:
  roost publish news '{"title":"hello"}'
  roost publish --text news 'plain words'
  date | roost publish --text news -
  roost publish --user 42 '{"unread":3}'
  roost publish --all --spread 30s '{"reload":true}'
  roost publish --ndjson < messages.ndjson

It prints how many connections the message was for, and how many took it at once; the others lag behind.`
}

// Validate is called by the command line's parser.
func (p *PublishCmd) Validate() error {
	if p.Count < 1 {
		return fmt.Errorf("--count is %d: want 1 or more", p.Count)
	}
	if !(p.Rate >= 0) {
		return fmt.Errorf("--rate is %v: want 0 or more", p.Rate)
	}
	if p.Wait < 0 || p.Wait > api.WaitMax {
		return fmt.Errorf("--wait is %v: want 0s to %v", p.Wait, api.WaitMax)
	}
	if p.Spread < 0 || p.Spread > api.SpreadMax {
		return fmt.Errorf("--spread is %v: want 0s to %v", p.Spread, api.SpreadMax)
	}
	if p.Count > 1 && p.IdempotencyKey != "" {
		return errors.New("--count and --idempotency-key exclude each other: all but the first would be repetitions")
	}
	if err := p.AdminClientFlags.check(); err != nil {
		return err
	}
	return p.validateAudience()
}

func (p *PublishCmd) validateAudience() error {
	switch {
	case p.NDJSON && (p.Channel != "" || p.User != "" || p.All || p.Text || p.Count > 1 || p.Key != "" || p.Spread > 0):
		return errors.New("--ndjson reads all that from standard input: only --url, --key-file, --idempotency-key and --json go with it")
	case p.NDJSON:
		return nil
	case p.User != "" && p.All:
		return errors.New("--user and --all exclude each other: choose one")
	case p.User != "" || p.All:
		if p.Data != "" {
			return fmt.Errorf("there are a channel, %q, and --user or --all: choose one", p.Channel)
		}
		p.Channel, p.Data = "", p.Channel // the only argument is the message
	case p.Channel == "":
		return errors.New("who gets it? Name a channel, or add --user or --all")
	}
	return nil
}

// Run publishes.
func (p *PublishCmd) Run(s streams) error {
	timeout := p.Wait + 30*time.Second
	if p.NDJSON {
		timeout = 0 // a stream ends when standard input does
	}
	admin, err := p.client(timeout)
	if err != nil {
		return err
	}
	if p.NDJSON {
		return p.stream(s, admin)
	}
	body, err := p.body(s.in)
	if err != nil {
		return err
	}
	if p.Count > 1 {
		return p.many(s, admin, body)
	}
	_, err = p.one(s, admin, body)
	return err
}

// body is the request's.
func (p *PublishCmd) body(in io.Reader) ([]byte, error) {
	data := []byte(p.Data)
	if p.Data == "" || p.Data == "-" {
		var err error
		if data, err = io.ReadAll(in); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
	request := map[string]any{"wait": p.Wait.String()}
	if p.Text {
		request["text"] = string(data)
	} else {
		if !json.Valid(data) {
			return nil, usagef("the message is not JSON: %.60q. Write a text as '\"hello\"', or add --text", data)
		}
		request["data"] = json.RawMessage(data)
	}
	for name, value := range map[string]string{"channel": p.Channel, "user": p.User, "key": p.Key} {
		if value != "" {
			request[name] = value
		}
	}
	if p.All {
		request["all"] = true
	}
	if p.Spread > 0 {
		request["spread"] = p.Spread.String()
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // the message travels as it was written
	err := encoder.Encode(request)
	return b.Bytes(), err
}

// receipt is what the API answers, for one publication.
type receipt struct {
	Epoch     string       `json:"epoch"`
	Offset    uint64       `json:"offset"`
	Matched   int          `json:"matched"`
	Written   int          `json:"written"`
	Complete  bool         `json:"complete"`
	Duplicate bool         `json:"duplicate"`
	Problem   *api.Problem `json:"problem"`
}

// String is the receipt as a line.
func (r *receipt) String() string {
	if r.Problem != nil {
		return "refused: " + r.Problem.Error()
	}
	var b strings.Builder
	if r.Epoch != "" {
		fmt.Fprintf(&b, "offset %d of epoch %s, ", r.Offset, r.Epoch)
	}
	fmt.Fprintf(&b, "written to %d of %d connections", r.Written, r.Matched)
	if !r.Complete {
		b.WriteString(" so far")
	}
	if r.Duplicate {
		b.WriteString("; published before, with this idempotency key")
	}
	return b.String()
}

// one publishes and prints what became of it.
func (p *PublishCmd) one(s streams, to *adminClient, body []byte) (*receipt, error) {
	answer, err := to.post("/v1/publish", "application/json", p.IdempotencyKey, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return p.print(s, answer.Body)
}

// print reads one answer and prints it.
func (p *PublishCmd) print(s streams, from io.Reader) (*receipt, error) {
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, fmt.Errorf("the server's answer was cut: %w", err)
	}
	r := new(receipt)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("the server's answer is not JSON (is --url that of the admin port?): %w", err)
	}
	switch {
	case p.JSON:
		_, err = s.out.Write(append(bytes.TrimSpace(text), '\n'))
	case p.Count == 1:
		_, err = fmt.Fprintln(s.out, r)
	}
	return r, err
}

// many publishes the same again and again, and prints the sum.
func (p *PublishCmd) many(s streams, to *adminClient, body []byte) error {
	begin := time.Now()
	matched, written := 0, 0
	for i := range p.Count {
		if p.Rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(float64(i) / p.Rate * float64(time.Second)))))
		}
		r, err := p.one(s, to, body)
		if err != nil {
			return fmt.Errorf("after %d of %d: %w", i, p.Count, err)
		}
		matched += r.Matched
		written += r.Written
	}
	if p.JSON {
		return nil
	}
	took := time.Since(begin)
	_, err := fmt.Fprintf(s.out, "published %d times in %v (%.0f/s), written to %d of %d connections\n",
		p.Count, took.Round(time.Millisecond), float64(p.Count)/took.Seconds(), written, matched)
	return err
}

// stream publishes what comes in, and prints the answers as they come.
func (p *PublishCmd) stream(s streams, to *adminClient) error {
	answer, err := to.post("/v1/batch", "application/x-ndjson", p.IdempotencyKey, s.in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	refused, lines := 0, bufio.NewReader(answer.Body)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("the server's answer was cut: %w", err)
		}
		r, err := p.print(s, bytes.NewReader(line))
		if err != nil {
			return err
		}
		if r.Problem != nil {
			refused++
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d publications were refused", refused)
	}
	return nil
}
