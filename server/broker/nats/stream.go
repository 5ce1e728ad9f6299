package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/roostws/roost/server/broker"
)

// The subjects of a cluster, each after the prefix:
//
//	l.CHANNEL        what the nodes that have attached the channel get
//	r.CHANNEL.h      in the stream: the history of the channel; goes on to l.CHANNEL
//	r.CHANNEL.HASH   in the stream: a message with an idempotency key, of a channel
//	                 without history; goes on to l.CHANNEL
//	k.CHANNEL.HASH   in the stream: an idempotency key of a channel with history
//	r.=pID.p         in the stream: what a node sends to itself, see life.probe
type subjects struct{ prefix string }

func (s subjects) live(channel string) string     { return s.prefix + ".l." + token(channel) }
func (s subjects) history(channel string) string  { return s.prefix + ".r." + token(channel) + ".h" }
func (s subjects) plain(channel, h string) string { return s.prefix + ".r." + token(channel) + "." + h }
func (s subjects) key(channel, h string) string   { return s.prefix + ".k." + token(channel) + "." + h }
func (s subjects) probe(id string) (to, in string) {
	return s.prefix + ".r.=p" + id + ".p", s.prefix + ".l.=p" + id
}

// channel returns the channel of a live subject.
func (s subjects) channel(subject string) (string, bool) {
	t, ok := strings.CutPrefix(subject, s.prefix+".l.")
	if !ok {
		return "", false
	}
	return channelOf(t)
}

var (
	// errMoved: something else was appended to the subject meanwhile.
	errMoved = errors.New("nats: another publication came first")
	// errUnanswered: whether something was done is not known.
	errUnanswered = errors.New("nats: no answer")
)

// ensure makes the stream, or takes the one that is there.
func (l *life) ensure(ctx context.Context) error {
	if !atLeast(l.commands.ConnectedServerVersion(), 2, 11) {
		return fmt.Errorf("nats: the server is version %s; 2.11 is needed", l.commands.ConnectedServerVersion())
	}
	js, err := jetstream.New(l.commands)
	if err != nil {
		return err
	}
	want := jetstream.StreamConfig{
		Name: l.b.stream, Description: "histories and idempotency keys of Roost",
		Subjects:  []string{l.b.subjects.prefix + ".r.*.*", l.b.subjects.prefix + ".k.*.*"},
		RePublish: &jetstream.RePublish{Source: l.b.subjects.prefix + ".r.*.*", Destination: l.b.subjects.prefix + ".l.{{wildcard(1)}}"},
		Storage:   l.b.options.storage(), Replicas: max(l.b.options.Replicas, 1),
		AllowDirect: true, AllowMsgTTL: true, AllowRollup: true,
	}
	made, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		made, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was faster
			made, err = js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return fmt.Errorf("nats: JetStream: %w", err)
	}
	have := made.CachedInfo().Config
	if have.RePublish == nil || have.RePublish.Source != want.RePublish.Source || have.RePublish.Destination != want.RePublish.Destination ||
		!have.AllowDirect || !have.AllowMsgTTL || !have.AllowRollup {
		return fmt.Errorf("nats: the stream %q is not one of Roost", want.Name)
	}
	return nil
}

// atLeast reports whether a version is major.minor or later.
func atLeast(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// reply is what JetStream answers.
type reply struct {
	Error *struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Seq     uint64 `json:"seq"`
	Message *struct {
		Seq  uint64    `json:"seq"`
		Data []byte    `json:"data"`
		Time time.Time `json:"time"`
	} `json:"message"`
}

const (
	codeWrongLast         = 10071
	codeWrongLastConstant = 10164
	codeNoMessage         = 10037
)

// request sends m and waits for JetStream's answer. An error that is not errMoved or
// errUnanswered says that nothing was done.
func (l *life) request(ctx context.Context, m *nats.Msg) (*reply, error) {
	if l.isOver() {
		return nil, broker.ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer, err := l.commands.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		err := fmt.Errorf("%w: JetStream is not there", broker.ErrUnavailable)
		l.refused(err)
		return nil, err
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	case errors.Is(err, context.DeadlineExceeded):
		err := fmt.Errorf("%w: JetStream does not answer", errUnanswered)
		l.refused(fmt.Errorf("%w: %w", broker.ErrUnknown, err))
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	var r reply
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	if e := r.Error; e != nil {
		if e.ErrCode == codeWrongLast || e.ErrCode == codeWrongLastConstant {
			return nil, errMoved
		}
		err := fmt.Errorf("%w: JetStream: %s", broker.ErrUnavailable, e.Description)
		if e.ErrCode != codeNoMessage {
			l.refused(err)
		}
		return &r, err
	}
	return &r, nil
}

// refused notes why JetStream refuses what is asked, nil if it does not.
func (l *life) refused(err error) {
	if l.refusing.Swap(err != nil) != (err != nil) {
		l.b.refused(err)
	}
}

// add appends a record to a subject whose last one is at the sequence last (0: there is
// none), and returns the record's sequence. If the last one is another, the error is
// errMoved. The record is kept for ttl.
func (l *life) add(ctx context.Context, subject string, r *record, last uint64, ttl time.Duration) (uint64, error) {
	answer, err := l.request(ctx, addition(subject, r, last, ttl))
	if err == nil {
		l.refused(nil)
	}
	if err != nil {
		return 0, err
	}
	if note := l.b.options.Acknowledged; note != nil {
		if err := note(answer.Seq); err != nil {
			return 0, fmt.Errorf("%w: %w", errUnanswered, err)
		}
	}
	return answer.Seq, nil
}

func addition(subject string, r *record, last uint64, ttl time.Duration) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: r.append(nil), Header: nats.Header{}}
	m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(last, 10)}
	m.Header["Nats-TTL"] = []string{ttlText(ttl)}
	return m
}

// ttlText returns how long JetStream keeps a record: whole seconds, one at least.
func ttlText(ttl time.Duration) string {
	return strconv.FormatInt(int64((ttl+time.Second-1)/time.Second), 10) + "s"
}

// newest returns the last record of a subject, nil if there is none. The leader of the
// stream is asked: another replica may not have it yet.
func (l *life) newest(ctx context.Context, channel, subject string) (*record, error) {
	data, _ := json.Marshal(map[string]string{"last_by_subj": subject})
	answer, err := l.request(ctx, &nats.Msg{Subject: "$JS.API.STREAM.MSG.GET." + l.b.stream, Data: data})
	if answer != nil && answer.Error != nil && answer.Error.ErrCode == codeNoMessage {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if answer.Message == nil {
		return nil, fmt.Errorf("%w: no message in it", errUnanswered)
	}
	r, err := parse(channel, answer.Message.Data)
	if err != nil {
		return nil, err
	}
	r.at, r.time = answer.Message.Seq, answer.Message.Time
	return r, nil
}

const (
	// scanRecords and scanBytes bound what one request for records returns.
	scanRecords = 256
	scanBytes   = 4 << 20
)

// scan calls take with the records of a channel's history from the sequence from on, in
// their order, until that returns false or the one at to was taken. Any replica may answer:
// if it has not got to yet, scan tries for a while, and its error is ErrUnavailable then.
func (l *life) scan(ctx context.Context, channel string, from, to uint64, take func(*record) bool) error {
	for from <= to {
		records, err := l.batch(ctx, channel, from)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.at > to || !take(r) {
				return nil
			}
			from = r.at + 1
		}
		if len(records) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: a replica of the stream lags behind", broker.ErrUnavailable)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// batch returns some records of a channel's history, from the sequence from on.
func (l *life) batch(ctx context.Context, channel string, from uint64) (records []*record, err error) {
	if l.isOver() {
		return nil, broker.ErrUnavailable
	}
	answers := make(chan *nats.Msg, scanRecords+2)
	inbox := l.commands.NewInbox()
	sub, err := l.commands.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	data, _ := json.Marshal(map[string]any{
		"seq": from, "next_by_subj": l.b.subjects.history(channel), "batch": scanRecords, "max_bytes": scanBytes,
	})
	if err := l.commands.PublishRequest("$JS.API.DIRECT.GET."+l.b.stream, inbox, data); err != nil {
		return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, ctx.Err())
		case m := <-answers:
			switch status := m.Header.Get("Status"); status {
			case "":
			case "204", "404": // the end; nothing
				return records, nil
			default:
				return nil, fmt.Errorf("%w: JetStream: %s %s", broker.ErrUnavailable, status, m.Header.Get("Description"))
			}
			r, err := parse(channel, m.Data)
			if err != nil {
				return nil, err
			}
			if err := r.stamp(m); err != nil {
				return nil, err
			}
			records = append(records, r)
		}
	}
}

// stamp takes from the headers what the stream has added to a record.
func (r *record) stamp(m *nats.Msg) (err error) {
	if r.at, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err != nil {
		return errRecord
	}
	if r.time, err = time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp")); err != nil {
		return errRecord
	}
	return nil
}

// purge drops the records of a subject before the sequence before. Nothing waits for it.
func (l *life) purge(subject string, before uint64) {
	data, _ := json.Marshal(map[string]any{"filter": subject, "seq": before})
	_ = l.commands.PublishRequest("$JS.API.STREAM.PURGE."+l.b.stream, l.b.subjects.prefix+".void", data)
}
