package roost

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server"
)

// documentedDefault returns the default of a field of server.Config's groups.
func documentedDefault(field string) (int64, bool) {
	for _, s := range server.Settings() {
		if s.Field != "Limits."+field && s.Field != "Timeouts."+field {
			continue
		}
		switch d := s.Default.(type) {
		case int:
			return int64(d), true
		case time.Duration:
			return int64(d), true
		}
	}
	return 0, false
}

// amount is what "64 KiB", "5m" or "128" says.
func amount(text string) (int64, error) {
	if d, err := time.ParseDuration(text); err == nil && d != 0 {
		return int64(d), nil
	}
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	return n << map[string]int{"KiB": 10, "MiB": 20}[unit], err
}

// Each test that docs/guarantees.md names exists, each promise names one, and
// the defaults are the library's.
func TestGuarantees(t *testing.T) {
	text := read(t, "docs/guarantees.md")
	tests := testNames(t)
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(text, -1) {
		if !tests[m[1]] {
			t.Errorf("there is no test %s", m[1])
		}
	}
	promises, limits := 0, 0
	for section := range strings.SplitSeq(text, "\n## ") {
		title, _, _ := strings.Cut(section, "\n")
		for line := range strings.Lines(section) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			if !strings.HasPrefix(line, "| ") || strings.TrimSpace(cells[len(cells)-1]) == "test" {
				continue
			}
			promise := strings.Trim(cells[0], " `")
			// Of what is not promised there is nothing to show.
			if !strings.Contains(cells[len(cells)-1], "`Test") && !strings.HasPrefix(promise, "publish` of") {
				t.Errorf("%s: %s: no test", title, promise)
			}
			promises++
			if title != "Limits" {
				continue
			}
			limits++
			got, err := amount(strings.TrimSpace(cells[1]))
			if want, ok := documentedDefault(promise); err != nil || !ok || got != want {
				t.Errorf("%s is said to be %s (%v), want %d", promise, cells[1], err, want)
			}
		}
	}
	if promises < 35 || limits < 14 {
		t.Errorf("%d promises and %d limits were found: the test looks at the wrong place", promises, limits)
	}
}
