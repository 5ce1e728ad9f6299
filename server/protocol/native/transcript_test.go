package native_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
	"github.com/roostws/roost/server/protocol/native/nativetest"
)

const docs = "../../../docs/"

func transcripts(t *testing.T) []nativetest.Transcript {
	t.Helper()
	all, err := nativetest.Read(docs + "transcripts")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// schemas are those of what clients and what servers send.
func schemas(t *testing.T) (client, server *jsonschema.Schema) {
	t.Helper()
	f, err := os.Open(docs + "protocol.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("protocol.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	if client, err = c.Compile("protocol.schema.json#/$defs/client"); err != nil {
		t.Fatal(err)
	}
	if server, err = c.Compile("protocol.schema.json#/$defs/server"); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func check(schema *jsonschema.Schema, text string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// What clients say in the transcripts is what the schema allows, and what the
// codec takes; what it refuses is answered with its words. What servers say is
// what the schema allows.
func TestTranscriptsFitCodecAndSchema(t *testing.T) {
	client, server := schemas(t)
	for _, transcript := range transcripts(t) {
		for i, l := range transcript.Lines {
			text := nativetest.Example(l.Text)
			switch l.Kind {
			case nativetest.Send:
				var c protocol.Command
				_, err := native.Codec{}.Decode([]byte(text), false, &c)
				if valid := check(client, text); (valid == nil) != (err == nil) {
					t.Errorf("%s: the codec says %v, the schema %v", l.Where, err, valid)
				}
				var bad *protocol.Error
				if errors.As(err, &bad) {
					want := packets(func(out *protocol.Packets) { native.Codec{}.Error(out, c.ID, bad) })
					if next := transcript.Lines[i+1]; next.Text != want {
						t.Errorf("%s: the answer is %s, want %s", next.Where, next.Text, want)
					}
				}
			case nativetest.Get, nativetest.Skip:
				if err := check(server, text); err != nil {
					t.Errorf("%s: %v", l.Where, err)
				}
			}
		}
	}
}

// Every command, reply, push and error code is in a transcript, and every close
// code of the protocol.
func TestTranscriptsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, transcript := range transcripts(t) {
		for _, l := range transcript.Lines {
			if l.Kind == nativetest.Closed {
				seen[fmt.Sprint("closed ", l.Code)] = true
			}
			var message map[string]json.RawMessage
			if json.Unmarshal([]byte(nativetest.Example(l.Text)), &message) != nil {
				continue
			}
			_, hasID := message["id"]
			for name, value := range message {
				if l.Kind == nativetest.Get && name == "error" {
					var e struct{ Code int }
					if err := json.Unmarshal(value, &e); err != nil {
						t.Errorf("%s: %v", l.Where, err)
					}
					name = fmt.Sprint("error ", e.Code)
				}
				seen[l.Kind+" "+name] = true
				if !hasID {
					seen[l.Kind+" without id"] = true
				}
			}
			if len(message) == 0 {
				seen[l.Kind+" heartbeat"] = true
			}
		}
	}
	want := []string{"> heartbeat", "< heartbeat", "> without id", "closed 4400", "closed 4401", "closed 4403",
		"< pub", "< message", "< join", "< leave", "< gap", "< subscribed", "< unsubscribed"}
	for kind := protocol.Connect; kind <= protocol.Ack; kind++ {
		want = append(want, "> "+kind.String(), "< "+kind.String())
	}
	for code := 100; code <= 112; code++ {
		want = append(want, fmt.Sprint("< error ", code))
	}
	for _, name := range want {
		if !seen[name] {
			t.Errorf("no transcript has %q", name)
		}
	}
}

// Everything that the codec writes is what the schema allows, and what is wrong
// is not.
func TestSchemaIsStrict(t *testing.T) {
	client, server := schemas(t)
	for _, text := range []string{
		`{"id":1}`, `{"id":0,"connect":{}}`, `{"id":1.5,"connect":{}}`, `{"connect":[]}`, `{"connect":{"resume":{"a":{}}}}`,
		`{"subscribe":{}}`, `{"subscribe":{"channel":""}}`, `{"publish":{"channel":"a"}}`, `{"history":{"channel":"a","limit":-1}}`,
		`{"ack":{"channel":"a","epoch":"e"}}`, `{"connect":{},"ack":{"channel":"a","epoch":"e","offset":1}}`, `[]`, `5`,
	} {
		if check(client, text) == nil {
			t.Errorf("a client may send %s", text)
		}
	}
	for _, text := range []string{
		`{"connect":{"client":"a","ping":1}}`, `{"id":1,"pub":{"channel":"a","data":1}}`, `{"pub":{"channel":"a"}}`,
		`{"id":1,"subscribe":{"epoch":"e"}}`, `{"error":{"code":"x","message":"y"}}`, `{"id":1,"presence":{"clients":1,"members":[],"truncated":false}}`,
		`{"gap":{"channel":"a","epoch":"e","from":1}}`, `{"reset":{"channel":"a","epoch":"e"}}`,
	} {
		if check(server, text) == nil {
			t.Errorf("a server may send %s", text)
		}
	}
}

// packets returns what a codec appends, as text.
func packets(push func(out *protocol.Packets)) (text string) {
	var out protocol.Packets
	push(&out)
	out.Each(func(_ frame.Opcode, payload []byte) { text += string(payload) })
	return text
}
