package webhook

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/roostws/roost/server/protocol"
)

// Each line of JSON in docs/webhooks.md is an event or a question, field by
// field, and no type is without an example.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{"connect": true, "refresh": true, "subscribe": true, "publish": true, "call": true}
	for _, kind := range allEvents {
		wanted[string(kind)] = true
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, `{"type":`) {
			continue
		}
		line = strings.TrimSpace(line)
		var into any = new(Event)
		if !strings.Contains(line, `"time":`) {
			into = new(Question)
		}
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		var again bytes.Buffer
		encoder := json.NewEncoder(&again)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(into); err != nil || strings.TrimSpace(again.String()) != line {
			t.Errorf("docs/webhooks.md shows\n%s\nit would be\n%s(%v)", line, &again, err)
		}
		switch into := into.(type) {
		case *Event:
			delete(wanted, string(into.Type))
			if into.Type == protocol.EventDisconnected && (into.Code == nil || into.Age == nil) {
				t.Errorf("%s has no code or no age", line)
			}
		case *Question:
			delete(wanted, into.Type)
		}
	}
	for kind := range wanted {
		t.Errorf("docs/webhooks.md has no example of %q", kind)
	}
}
