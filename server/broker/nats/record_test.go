package nats

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/roostws/roost/server/broker"
)

// Every name of a channel is one token of a subject, and comes back.
func TestToken(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	seen := map[string]string{}
	for _, name := range []string{"", "a", "user:ann", "=", "==", "=3D", "a.b", "*", ">", "a b", "\x00", "\x00node", "ü", string(all), "=p1"} {
		subject := token(name)
		if strings.ContainsAny(subject, " .*>\t\r\n\x00\x7f") || subject == "" {
			t.Errorf("token(%q) = %q", name, subject)
		}
		if back, ok := channelOf(subject); back != name || !ok {
			t.Errorf("channelOf(%q) = %q, %v; want %q", subject, back, ok, name)
		}
		if other, ok := seen[subject]; ok {
			t.Errorf("%q and %q are both %q", name, other, subject)
		}
		seen[subject] = name
	}
	for _, bad := range []string{"=1", "=g0", "a=", "=p1"} {
		if name, ok := channelOf(bad); ok {
			t.Errorf("channelOf(%q) = %q", bad, name)
		}
	}
}

// Records come back as they were; what is cut off or garbled is an error, and no panic.
func TestRecord(t *testing.T) {
	message := func(text string) *broker.Message {
		return &broker.Message{Channel: "h:1", Type: 1, Payload: []byte(text), Key: "k", From: "ann", Tag: 7}
	}
	for _, r := range []*record{
		{kind: kindHistory, epoch: "e", first: 1},
		{kind: kindHistory, epoch: "epoch", first: 300, items: []item{{"", message("a")}, {"hash", message("bcd")}}},
		{kind: kindPlain, digest: 1<<64 - 1, items: []item{{"", message("a")}}},
		{kind: kindClaim, digest: 5, epoch: "e", offset: 1 << 40, seq: 1<<64 - 1},
		{kind: kindPlaced, digest: 5, epoch: "e", offset: 9},
	} {
		b := r.append(nil)
		back, err := parse("h:1", b)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%+v came back as %+v, %v", r, back, err)
		}
		for n := range b {
			if back, err := parse("h:1", b[:n]); err == nil && reflect.DeepEqual(back, r) {
				t.Errorf("of %d bytes %d are enough", len(b), n)
			}
			garbled := bytes.Clone(b)
			garbled[n] ^= 0x80
			_, _ = parse("h:1", garbled)
		}
	}
	if _, err := parse("h:1", []byte{version, kindHistory, 1, 'e', 0, 0}); err == nil {
		t.Error("a record begins at offset 0")
	}
	if _, err := parse("h:1", []byte{version, kindHistory, 1, 'e', 1, 255, 255, 255, 255, 15}); err == nil {
		t.Error("a record has more messages than bytes")
	}
}

// Parameters of the URL, and what is wrong with them, without the password.
func TestURL(t *testing.T) {
	for _, url := range []string{
		"nats://h", "nats://a:secret@h:4222,nats://h2", "tls://h:4222", "nats://h?storage=file&replicas=3", "nats://h?trust=true",
	} {
		if _, err := New(Options{URL: url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"":                                     "is not",
		"redis://ann:secret@h":                 "is not",
		"nats://":                              "is not",
		"nats://ann:secret@h:port":             "is not",
		"tls://ann:secret@h?ca=/no/file":       "no such file",
		"tls://ann:secret@h?cert=/no/file":     "no such file",
		"tls://ann:secret@h?credentials=/no":   "no such file",
		"tls://ann:secret@h?key=k":             "key needs cert",
		"ws://ann:secret@h":                    "is not",
		"nats://ann:secret@h?replicas=3":       "in memory",
		"nats://ann:secret@h?replicas=x":       "replicas",
		"nats://ann:secret@h?storage=disk":     "storage",
		"nats://ann:secret@h?trust=perhaps":    "trust",
		"nats://ann:secret@h?secret=secret":    "no parameter",
		"nats://ann:secret@h,http://h":         "is not",
		"nats://ann:secret@h?storage=%zz&ca=x": "parameters",
	} {
		switch _, err := New(Options{URL: url}); {
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want one with %q", url, err, want)
		case strings.Contains(strings.ReplaceAll(err.Error(), `"secret"`, ""), "secret"):
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}

// No key is in one record twice, kept messages and notices are apart, and a record has bounds.
func TestTogether(t *testing.T) {
	plain := &job{p: &broker.Publication{Message: broker.Message{Payload: make([]byte, 100)}}}
	kept := &job{p: &broker.Publication{Keep: broker.Keep{Messages: 1}}}
	large := &job{p: &broker.Publication{Message: broker.Message{Payload: make([]byte, recordBytes)}}}
	key := func(hash string) *job { return &job{p: plain.p, hash: hash} }
	many := make([]*job, 2*recordMax)
	for i := range many {
		many[i] = plain
	}
	for _, c := range []struct {
		queue []*job
		want  int
	}{
		{nil, 0}, {[]*job{plain}, 1}, {many, recordMax}, {[]*job{large, plain}, 1}, {[]*job{plain, large}, 1}, {[]*job{large, large}, 1},
		{[]*job{key("a"), plain, plain, key("b"), key("a"), plain}, 4},
		{[]*job{kept, plain}, 1}, {[]*job{plain, kept}, 1}, {[]*job{kept, kept, plain, kept}, 2}, {[]*job{plain, plain, kept}, 2},
	} {
		if got := together(c.queue); got != c.want {
			t.Errorf("of %d jobs %d go together, want %d", len(c.queue), got, c.want)
		}
	}
}
