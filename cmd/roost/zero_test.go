package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/server/settings"
)

// A zero that a user writes is never taken for the default: it means zero, it
// means off, or it is refused with what to write instead. So it is with every
// setting, wherever it is written.
func TestWrittenZeros(t *testing.T) {
	flags := map[string]*kong.Flag{}
	for _, flag := range serveFlags(newParser(new(CLI), new(configFile))) {
		flags[flag.Name] = flag
	}
	// By what is expected: a parser takes them all at once, and names all mistakes.
	taken, refused := map[string]string{}, map[string]string{}
	for name, s := range flagSettings {
		flag := flags[name]
		if flag == nil {
			continue // a field of the library alone
		}
		zero, ok := writtenZero(flag.Target)
		switch {
		case !ok:
		case s.Default == nil || s.Off:
			taken[name] = zero
		default:
			refused[name] = zero
		}
	}
	if len(taken) < 10 || len(refused) < 30 {
		t.Errorf("%d and %d flags were found: the test looks at the wrong place", len(taken), len(refused))
	}
	for _, from := range []string{"command line", "environment", "file"} {
		t.Run("taken from the "+from, func(t *testing.T) {
			parser, _, err := parseFrom(t, from, taken)
			if err != nil {
				t.Fatal(err)
			}
			for name := range taken {
				value := serveFlag(parser, name).Target
				if s := flagSettings[name]; s.Off && value.Int() >= 0 {
					t.Errorf("%s became %v, want off", name, value)
				} else if !s.Off && !value.IsZero() {
					t.Errorf("%s became %v, want zero", name, value)
				}
			}
		})
		t.Run("refused from the "+from, func(t *testing.T) {
			_, file, err := parseFrom(t, from, refused)
			var mistakes []*settings.FieldError
			collect(err, &mistakes)
			named := map[string]bool{}
			for _, m := range mistakes {
				named[flagOf(m.Config, m.Field)] = true
				if !strings.Contains(m.Want, ", or nothing for the default") {
					t.Errorf("%v does not say what to write", m)
				}
			}
			for name := range refused {
				place := "--" + name + " is "
				if from == "file" {
					place = fmt.Sprintf("roost.yaml:%d: %s is ", file.used[name], name)
				}
				if told := fmt.Sprint(parseError(err, file)); !named[name] || !strings.Contains(told, place) {
					t.Errorf("the error %q does not name %q", told, place)
				}
			}
		})
	}
}

// parseFrom parses roost serve with values from one place.
func parseFrom(t *testing.T, from string, values map[string]string) (*kong.Kong, *configFile, error) {
	args, lines := []string{"serve"}, "serve:\n"
	for name, value := range values {
		switch from {
		case "command line":
			args = append(args, "--"+name+"="+value)
		case "environment":
			t.Setenv("ROOST_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), value)
		case "file":
			lines += fmt.Sprintf("  %s: %q\n", name, value)
		}
	}
	if from == "file" {
		args = append(args, "--config", writeFile(t, "roost.yaml", lines))
	}
	file := new(configFile)
	parser := newParser(new(CLI), file)
	_, err := parser.Parse(args)
	return parser, file, err
}

// writtenZero is how a user writes the zero of a number, a duration or a word.
func writtenZero(v reflect.Value) (zero string, ok bool) {
	switch _, duration := v.Interface().(time.Duration); {
	case duration:
		return "0s", true
	case v.Kind() == reflect.Int:
		return "0", true
	}
	return "", v.Kind() == reflect.String
}

func TestWrittenZerosOfNamespaces(t *testing.T) {
	t.Parallel()
	walked := 0
	for name, s := range namespaceForm.settings {
		zero := "0"
		switch s.Default.(type) {
		case time.Duration:
			zero = "0s"
		case string:
			zero = `""`
		}
		walked++
		_, err := parse(t, "serve", "--namespaces", "[{name: x, "+name+": "+zero+"}]")
		switch {
		case s.Default == nil && err != nil:
			t.Errorf("%s: %s is refused: %v", name, zero, err)
		case s.Default != nil && (err == nil || !strings.Contains(err.Error(), name+" is ") || !strings.Contains(err.Error(), "or nothing for the default")):
			t.Errorf("%s: %s: %v, want an error that says what to write", name, zero, err)
		}
	}
	if walked < 6 {
		t.Errorf("%d settings were found", walked)
	}
}
