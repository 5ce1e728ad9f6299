package settings_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server/settings"
)

type word string

type config struct {
	Group struct {
		Count int
		Word  word
	}
	Pause time.Duration
}

var table = settings.Table{
	{Field: "Group.Count", Default: 5, Min: 1, Max: 9},
	{Field: "Group.Word", Default: "a", Choices: []string{"a", "b", "c"}},
	{Field: "Pause", Default: time.Minute, Min: time.Second, Off: true},
}

func TestFill(t *testing.T) {
	var c config
	c.Pause = time.Hour
	table.Fill(&c)
	if c.Group.Count != 5 || c.Group.Word != "a" || c.Pause != time.Hour {
		t.Errorf("%+v", c)
	}
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		set  func(*config)
		want string // empty: allowed
	}{
		{func(c *config) {}, ""},
		{func(c *config) { c.Group.Count = 9 }, ""},
		{func(c *config) { c.Group.Count = 10 }, "pkg: Config.Group.Count is 10: want 1 to 9"},
		{func(c *config) { c.Group.Count = -1 }, "pkg: Config.Group.Count is -1: want 1 to 9"},
		{func(c *config) { c.Group.Word = "d" }, `pkg: Config.Group.Word is "d": want "a", "b" or "c"`},
		{func(c *config) { c.Pause = time.Millisecond }, "pkg: Config.Pause is 1ms: want at least 1s, or negative for off"},
		{func(c *config) { c.Pause = -1 }, ""},
	} {
		var c config
		tc.set(&c)
		table.Fill(&c)
		got := ""
		if err := errors.Join(table.Check("pkg: Config", &c)...); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// What a user has written is never taken for nothing.
func TestWritten(t *testing.T) {
	number, text, pause, off := 0, word(""), time.Millisecond, time.Duration(0)
	for _, tc := range []struct {
		field string
		value any
		want  string
	}{
		{"Group.Count", &number, "pkg: Config.Group.Count is 0: want 1 to 9, or nothing for the default"},
		{"Group.Word", &text, `pkg: Config.Group.Word is "": want "a", "b" or "c", or nothing for the default`},
		{"Pause", &pause, "pkg: Config.Pause is 1ms: want at least 1s, or 0s for off"},
		{"Pause", &off, ""},
	} {
		s, _ := table.Lookup(tc.field)
		got := ""
		if err := s.Written("pkg: Config", tc.value); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	if off >= 0 {
		t.Errorf("a pause of zero became %v, want off", off)
	}
	unbounded := settings.Setting{Field: "Count", Zero: "no limit"}
	if err := unbounded.Written("pkg: Config", &number); err != nil || number != 0 {
		t.Errorf("a number without a default became %d, %v; want 0", number, err)
	}
}

func TestFieldError(t *testing.T) {
	cause := errors.New("cause")
	err := error(&settings.FieldError{Config: "pkg: Config.Items", Item: "x", Field: "F", Err: cause})
	if err.Error() != `pkg: Config.Items["x"].F: cause` || !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if err := (&settings.FieldError{Config: "pkg: Config", Field: "F", Value: word("v"), Want: "w"}); err.Error() != `pkg: Config.F is "v": want w` {
		t.Errorf("%v", err)
	}
}

func TestName(t *testing.T) {
	for field, want := range map[string]string{
		"Limits.TLSHandshakesMax": "tls-handshakes-max", "NoIOURing": "no-io-uring", "JWKSURL": "jwks-url", "URL": "url",
		"Loops": "loops", "MaxConnections": "max-connections", "JWKSRetryInterval": "jwks-retry-interval",
	} {
		if got := settings.Name(field); got != want {
			t.Errorf("Name(%q) = %q, want %q", field, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for want, v := range map[string]any{"5m": 5 * time.Minute, "24h": 24 * time.Hour, "1h30m": 90 * time.Minute, "90ms": 90 * time.Millisecond, "10s": 10 * time.Second, "7": 7} {
		if got := settings.Text(v); got != want {
			t.Errorf("Text(%v) = %q, want %q", v, got, want)
		}
	}
}

// A table that names a field that is not there is a mistake of ours.
func TestUnknownField(t *testing.T) {
	defer func() {
		if text, _ := recover().(string); !strings.Contains(text, "no field Nothing") {
			t.Errorf("panic %q", text)
		}
	}()
	settings.Table{{Field: "Nothing"}}.Check("pkg: Config", &config{})
}
