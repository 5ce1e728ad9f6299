// Package settings describes the fields of a configuration once: default,
// bounds, unit, and what raising them costs. Defaults, checks, flags and
// documentation all come from such a table.
package settings

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// A Setting describes one field of a configuration struct.
type Setting struct {
	// Field is its path in the struct, such as "Limits.MaxConnections".
	Field string
	// Default replaces the zero value: an int, a time.Duration or a string. If nil,
	// the zero value stays.
	Default any
	// Min and Max bound an int or a time.Duration, after Default was filled in. If
	// nil, that side has no bound.
	Min, Max any
	// Choices are the values of a word.
	Choices []string
	// Zero says what the zero value means, if there is no Default: "no limit".
	Zero string
	// Off says that a negative time.Duration turns the setting off, and so does a
	// zero that a user has written (Written). Min does not apply to them.
	Off bool
	// Unit is what a number counts: "bytes", "connections". Durations have none.
	Unit string
	// Help says what the setting is and what happens beyond it: a sentence or two
	// without a full stop at the end.
	Help string
	// Cost says what raising it costs. Empty if nothing worth a word.
	Cost string
}

// A Table describes a configuration struct, in the order of its documentation.
// Fields that are neither numbers, durations nor words have a Help at most.
type Table []Setting

// Lookup returns the setting for a field's path.
func (t Table) Lookup(field string) (Setting, bool) {
	i := slices.IndexFunc(t, func(s Setting) bool { return s.Field == field })
	if i < 0 {
		return Setting{}, false
	}
	return t[i], true
}

// Fill gives each zero field of *config its default.
func (t Table) Fill(config any) {
	for _, s := range t {
		if field := fieldOf(config, s.Field); s.Default != nil && field.IsZero() {
			field.Set(reflect.ValueOf(s.Default).Convert(field.Type()))
		}
	}
}

// Check returns a *FieldError for each field of *config that is out of bounds.
// name is the struct's, for FieldError.Config.
func (t Table) Check(name string, config any) []error {
	var errs []error
	for _, s := range t {
		if field := fieldOf(config, s.Field); !s.allows(field) {
			errs = append(errs, &FieldError{Config: name, Field: s.Field, Value: field.Interface(), Want: s.Want()})
		}
	}
	return errs
}

// Written checks a value that a user has written on a command line, in a variable
// or in a file. There a zero is no default: where it would become one, it turns the
// setting off if that is possible (Off), and otherwise is an error. config is the
// struct's name for the *FieldError, and field a pointer to the value.
func (s *Setting) Written(config string, field any) error {
	v := reflect.ValueOf(field).Elem()
	zero := s.Default != nil && v.IsZero()
	switch {
	case zero && s.Off:
		v.SetInt(-1)
		return nil
	case !zero && s.allows(v):
		return nil
	}
	want := s.want("0s")
	if zero {
		want += ", or nothing for the default"
	}
	return &FieldError{Config: config, Field: s.Field, Value: v.Interface(), Want: want}
}

// allows reports whether v is within bounds.
func (s *Setting) allows(v reflect.Value) bool {
	switch {
	case v.Kind() == reflect.String:
		return len(s.Choices) == 0 || slices.Contains(s.Choices, v.String())
	case !v.CanInt():
		return true
	case s.Off && v.Int() < 0:
		return true
	}
	return (s.Min == nil || v.Int() >= number(s.Min)) && (s.Max == nil || v.Int() <= number(s.Max))
}

// Want says which values of the field are allowed: "1 to 256", "at least 10ms, or
// negative for off".
func (s *Setting) Want() string { return s.want("negative") }

// want is Want with the value that stands for off.
func (s *Setting) want(offValue string) string {
	off := ""
	if s.Off {
		off = ", or " + offValue + " for off"
	}
	switch {
	case len(s.Choices) > 0:
		quoted := make([]string, len(s.Choices))
		for i, c := range s.Choices {
			quoted[i] = fmt.Sprintf("%q", c)
		}
		last := len(quoted) - 1
		return strings.Join(append([]string{strings.Join(quoted[:last], ", ")}, quoted[last]), " or ")
	case s.Min != nil && s.Max != nil:
		return Text(s.Min) + " to " + Text(s.Max) + off
	case s.Min != nil:
		return "at least " + Text(s.Min) + off
	case s.Max != nil:
		return "at most " + Text(s.Max) + off
	case s.Off:
		return "any time" + off
	}
	return ""
}

// Text is a value as people write it: 5m, where Go shows 5m0s.
func Text(v any) string {
	text := fmt.Sprint(v)
	if _, ok := v.(time.Duration); ok {
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
	}
	return text
}

// Name is the setting's name in flags and files: Limits.TLSHandshakesMax is
// tls-handshakes-max.
func Name(field string) string {
	runes := []rune(joinedWords.Replace(field[strings.LastIndexByte(field, '.')+1:]))
	var b strings.Builder
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// joinedWords parts words whose capitals do not show where they end.
var joinedWords = strings.NewReplacer("IOURing", "IoUring", "JWKSURL", "JwksUrl")

// fieldOf returns the field of *config at a path. It panics if there is none:
// the table is wrong.
func fieldOf(config any, path string) reflect.Value {
	v := reflect.ValueOf(config).Elem()
	for name := range strings.SplitSeq(path, ".") {
		if v = v.FieldByName(name); !v.IsValid() {
			panic(fmt.Sprintf("settings: %T has no field %s", config, path))
		}
	}
	return v
}

// number is an int or a time.Duration as an int64.
func number(v any) int64 {
	if d, ok := v.(time.Duration); ok {
		return int64(d)
	}
	return reflect.ValueOf(v).Int()
}

// A FieldError says which field of a configuration is wrong, and what it may be.
// Errors of several fields are joined with errors.Join.
type FieldError struct {
	// Config names the package and the struct: "server: Config".
	Config string
	// Item names the element, where Config is one of a list; else empty.
	Item string
	// Field is the path in the struct. Name makes a flag's name of it.
	Field string
	// Value is what the field is.
	Value any
	// Want says what it may be.
	Want string
	// Err, if not nil, says what is wrong instead of Value and Want.
	Err error
}

// Error names the field as Go code does.
func (e *FieldError) Error() string {
	name := e.Config
	if e.Item != "" {
		name += fmt.Sprintf("[%q]", e.Item)
	}
	return name + "." + e.Field + e.Complaint()
}

// Complaint is the error without the field's name: " is 5: want 1 to 3", or ":"
// and Err.
func (e *FieldError) Complaint() string {
	if e.Err != nil {
		return ": " + e.Err.Error()
	}
	value := fmt.Sprint(e.Value)
	if v := reflect.ValueOf(e.Value); v.Kind() == reflect.String {
		value = fmt.Sprintf("%q", v.String())
	}
	return fmt.Sprintf(" is %s: want %s", cmp.Or(value, "empty"), e.Want)
}

// Unwrap returns Err.
func (e *FieldError) Unwrap() error { return e.Err }
