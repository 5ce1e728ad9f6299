package native_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// A generator makes random messages of docs/protocol.schema.json, and others that
// are nearly so.
type generator struct {
	*rand.Rand
	defs map[string]any
	// wrong is the chance, of 100, that a value is of another kind.
	wrong int
}

func newGenerator(t *testing.T, seed uint64, wrong int) *generator {
	t.Helper()
	text, err := os.ReadFile(docs + "protocol.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Defs map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return &generator{rand.New(rand.NewPCG(seed, 1)), doc.Defs, wrong}
}

// pick returns one of some texts.
func (g *generator) pick(texts ...string) string { return texts[g.IntN(len(texts))] }

// any is some JSON value.
func (g *generator) any() string {
	return g.pick("null", "true", "0", "-1.5e3", `""`, `"text \u00e9"`, "[]", `[1,{"a":[]}]`, "{}", `{"channel":null,"b":"c"}`)
}

// number writes a whole number in one of the ways in which libraries do.
func (g *generator) number(n uint64) string {
	return g.pick(fmt.Sprint(n), fmt.Sprintf("%d.0", n), fmt.Sprintf("%d0e-1", n), fmt.Sprintf("%d.000E+0", n), fmt.Sprintf("0.%de%d", n, len(fmt.Sprint(n))))
}

// value makes one of a schema.
func (g *generator) value(schema any) string {
	if g.IntN(100) < g.wrong {
		return g.any()
	}
	s, ok := schema.(map[string]any)
	if !ok {
		return g.any() // true
	}
	if ref, ok := s["$ref"].(string); ok {
		return g.value(g.defs[strings.TrimPrefix(ref, "#/$defs/")])
	}
	if options, ok := s["anyOf"].([]any); ok {
		return g.value(options[g.IntN(len(options))])
	}
	if words, ok := s["enum"].([]any); ok {
		word, _ := json.Marshal(words[g.IntN(len(words))])
		return string(word)
	}
	kinds, _ := s["type"].([]any)
	kind, _ := s["type"].(string)
	if len(kinds) > 0 {
		kind, _ = kinds[g.IntN(len(kinds))].(string)
	}
	switch kind {
	case "null":
		return "null"
	case "boolean":
		return g.pick("true", "false")
	case "string":
		return g.pick(`"c"`, `"user:42"`, `"\ud83d\ude00 \" \\"`, `"AP8="`)
	case "integer":
		low, _ := s["minimum"].(float64)
		return g.number(uint64(low) + g.Uint64N(1<<uint(1+g.IntN(52))))
	}
	return g.object(s)
}

// object makes an object with some of its members, in any order.
func (g *generator) object(s map[string]any) string {
	var members []string
	add := func(name string, schema any) {
		quoted, _ := json.Marshal(name)
		members = append(members, string(quoted)+g.pick(":", " : ")+g.value(schema))
	}
	required, _ := s["required"].([]any)
	properties, _ := s["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if slices.Contains(required, any(name)) || g.IntN(2) == 0 {
			add(name, properties[name])
		}
	}
	if more, ok := s["additionalProperties"]; ok {
		add(g.pick("news", "user:42", ""), more)
	} else if g.IntN(4) == 0 {
		add("later", true)
	}
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return g.pick("{", " {\n") + strings.Join(members, g.pick(",", " , ")) + g.pick("}", "}\n")
}

// command makes a command, and sometimes puts a part of another one beside it.
func (g *generator) command() string {
	kind := protocol.Connect + protocol.Kind(g.IntN(int(protocol.Ack)))
	text := g.value(map[string]any{"$ref": "#/$defs/" + kind.String() + "Command"})
	if at := strings.LastIndexByte(text, '}'); at > 0 && g.IntN(8) == 0 && !strings.Contains(text, "\n{") {
		other := protocol.Connect + protocol.Kind(g.IntN(int(protocol.Ack)))
		if name := other.String(); !strings.Contains(text, `"`+name+`"`) {
			separator := ","
			if strings.TrimSpace(text[:at]) == "{" {
				separator = ""
			}
			text = text[:at] + separator + `"` + name + `":` + g.any() + text[at:]
		}
	}
	return text
}

// The codec takes whatever the schema allows, and nothing else: with numbers in
// all their forms, nulls, members that nobody knows, and values of a wrong kind.
func TestCodecAgreesWithSchema(t *testing.T) {
	client, _ := schemas(t)
	for _, wrong := range []int{0, 4} {
		seed := rand.Uint64()
		g := newGenerator(t, seed, wrong)
		taken := 0
		for range 20_000 {
			text := g.command()
			valid := check(client, text)
			var c protocol.Command
			_, err := native.Codec{}.Decode([]byte(text), false, &c)
			if (valid == nil) != (err == nil) {
				t.Fatalf("seed %d: %s\nthe codec says %v, the schema %v", seed, text, err, valid)
			}
			if valid == nil {
				taken++
			}
		}
		if taken < 5_000 || wrong == 0 && taken < 15_000 {
			t.Errorf("seed %d: only %d messages were valid: the test looks at the wrong ones", seed, taken)
		}
	}
}
