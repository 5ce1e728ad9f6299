package intake

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The first refusal of a kind is in the log at once, what follows within a minute
// is one line, with the number.
func TestRefusals(t *testing.T) {
	var out bytes.Buffer
	r := Refusals{Log: slog.New(slog.NewTextHandler(&out, nil))}
	refuse := func(kind Refusal, now time.Duration, origin string) {
		if r.Count(kind) {
			r.Example(kind, now, slog.String("origin", origin))
		}
	}
	want := func(what string, lines ...string) {
		t.Helper()
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		out.Reset()
		if len(lines) == 0 && len(got) == 1 && got[0] == "" {
			return
		}
		if len(got) != len(lines) {
			t.Fatalf("%s: %q", what, got)
		}
		for i := range lines {
			if !strings.Contains(got[i], lines[i]) || !strings.Contains(got[i], "advice=") || !strings.Contains(got[i], "level=WARN") {
				t.Errorf("%s: %q, want %q", what, got[i], lines[i])
			}
		}
	}
	now := time.Hour
	refuse(RefusedOrigin, now, "a")
	want("the first", `count=1 origin=a`)
	for range 1000 {
		refuse(RefusedOrigin, now+time.Second, "b")
	}
	refuse(RefusedHead, now, "c")
	want("others of its kind wait, another kind does not", "count=1 origin=c")
	r.Sweep(now + refusalInterval - 1)
	want("before the minute is over")
	r.Sweep(now + refusalInterval)
	want("then", "count=1000 origin=b")
	r.Sweep(now + 2*refusalInterval)
	want("nothing was refused")
	refuse(RefusedOrigin, now+3*refusalInterval, "d")
	want("at once again", "count=1 origin=d")

	if n := testing.AllocsPerRun(100, func() { refuse(RefusedOrigin, now+3*refusalInterval, "e") }); n > 0.1 {
		t.Errorf("%v allocations for a refusal", n)
	}
	for kind := range refusalKinds {
		if text := refusalTexts[kind]; text.message == "" || text.advice == "" {
			t.Errorf("kind %d has no text", kind)
		}
	}
}
