package roost

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roostws/roost/server"
)

// Each row of docs/security.md names limits that are configured, counters that
// are counted, and tests that exist; each counter of a refusal is in a row.
func TestSecurityTable(t *testing.T) {
	tests := testNames(t)
	config := reflect.TypeFor[struct {
		server.Engine
		server.Handshake
		server.Sockets
		server.Limits
		server.Timeouts
		server.Proxies
		server.Config
	}]()
	var counters []string
	for _, stat := range new(server.Server).Stats() {
		counters = append(counters, stat.Name)
	}
	name := regexp.MustCompile("`([A-Za-z0-9_]+)`")
	named := map[string]bool{}
	rows := 0
	for line := range strings.Lines(read(t, "docs/security.md")) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 || strings.HasPrefix(line, "| attack") || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		attack := strings.TrimSpace(cells[0])
		for _, m := range name.FindAllStringSubmatch(cells[2], -1) {
			if _, ok := config.FieldByName(m[1]); !ok {
				t.Errorf("%s: server.Config has no field %s", attack, m[1])
			}
		}
		for _, m := range name.FindAllStringSubmatch(cells[3], -1) {
			named[m[1]] = true
			if !slices.Contains(counters, m[1]) {
				t.Errorf("%s: server.Stats has no counter %s", attack, m[1])
			}
		}
		proofs := name.FindAllStringSubmatch(cells[4], -1)
		if len(proofs) == 0 {
			t.Errorf("%s: no test", attack)
		}
		for _, m := range proofs {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", attack, m[1])
			}
		}
	}
	if rows < 25 {
		t.Fatalf("only %d rows were found: the test looks at the wrong place", rows)
	}
	limit := regexp.MustCompile(`refused|timeouts$|errors$|too_big$|drops$|disconnects$|stalls$|limited$|panics$|invalid_utf8$`)
	for _, counter := range counters {
		if limit.MatchString(counter) && !named[counter] && !strings.HasPrefix(counter, "engine_") {
			t.Errorf("docs/security.md does not say what the counter %s counts", counter)
		}
	}
}

// testNames are the tests and fuzz targets of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		content, err := os.ReadFile(name)
		for _, m := range declared.FindAllStringSubmatch(string(content), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
