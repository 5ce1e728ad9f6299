package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server/settings"
)

// A zero that a user writes is never taken for the default: it means zero, it
// means off, or it is refused with what to write instead. So it is with every
// setting, wherever it is written.
func TestWrittenZeros(t *testing.T) {
	walked := 0
	for name, s := range flagSettings {
		flag := serveFlag(newParser(new(CLI), new(configFile)), name)
		if flag == nil {
			continue // a field of the library alone
		}
		zero := writtenZero(flag.Target)
		if zero == nil {
			continue
		}
		walked++
		for _, from := range []string{"command line", "environment", "file"} {
			t.Run(name+" from the "+from, func(t *testing.T) {
				file := new(configFile)
				args := []string{"serve"}
				switch from {
				case "command line":
					args = append(args, "--"+name+"="+*zero)
				case "environment":
					t.Setenv("ROOST_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), *zero)
				case "file":
					args = append(args, "--config", writeFile(t, "roost.yaml", fmt.Sprintf("serve:\n  %s: %q\n", name, *zero)))
				}
				parser := newParser(new(CLI), file)
				_, err := parser.Parse(args)
				checkZero(t, s.Setting, serveFlag(parser, name).Target, err)
				place := "--" + name
				if from == "file" {
					place = "roost.yaml:2: " + name
				}
				if told := flagError(err, file); err != nil && !strings.Contains(told.Error(), place+" is ") {
					t.Errorf("the error is %q: it does not name %q", told, place)
				}
			})
		}
	}
	if walked < 45 {
		t.Errorf("%d flags were found: the test looks at the wrong place", walked)
	}
}

// writtenZero is how a user writes the zero of a number, a duration or a word; nil
// for other values.
func writtenZero(v reflect.Value) *string {
	switch _, duration := v.Interface().(time.Duration); {
	case duration:
		return new("0s")
	case v.Kind() == reflect.Int:
		return new("0")
	case v.Kind() == reflect.String:
		return new("")
	}
	return nil
}

// checkZero checks what became of a written zero: value or err.
func checkZero(t *testing.T, s settings.Setting, value reflect.Value, err error) {
	t.Helper()
	var field *settings.FieldError
	switch {
	case s.Default == nil || s.Off:
		if err != nil {
			t.Errorf("refused: %v", err)
		} else if s.Off && value.Int() >= 0 {
			t.Errorf("became %v, want off", value)
		} else if !s.Off && !value.IsZero() {
			t.Errorf("became %v, want zero", value)
		}
	case !errors.As(err, &field):
		t.Errorf("became %v with the error %v, want a *settings.FieldError", value, err)
	case field.Field != s.Field || !strings.Contains(field.Want, ", or nothing for the default"):
		t.Errorf("%+v does not say what to write for %s", field, s.Field)
	}
}

func TestWrittenZerosOfNamespaces(t *testing.T) {
	walked := 0
	for name, s := range namespaceSettings {
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
