package roost

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// What docs/embed.md shows is what is compiled and tested, and the example is as short
// as README.md says.
func TestEmbedShowsTheExamples(t *testing.T) {
	page := read(t, "docs/embed.md")
	const name = "examples/embed/main.go"
	example := read(t, name)
	if !strings.Contains(page, "```go\n"+example+"```\n") {
		t.Errorf("docs/embed.md does not show %s as it is", name)
	}
	lines := 0
	for line := range strings.Lines(example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	if lines > 35 {
		t.Errorf("%s has %d lines, want 35 at most", name, lines)
	}
	const test = "client/example_test.go"
	if _, shown, _ := strings.Cut(read(t, test), ")\n\n"); !strings.Contains(page, "```go\n"+shown+"```\n") {
		t.Errorf("docs/embed.md does not show %s as it is", test)
	}
}

var (
	link   = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	script = regexp.MustCompile(`\bscripts/[a-z0-9_-]+\.sh\b`)
)

// Every file that a document names is there, and every script can be run.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	documents := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "node_modules" {
			return fs.SkipDir // other people's, and not in the repository
		}
		if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		documents++
		text := read(t, name)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
		for _, m := range script.FindAllString(text, -1) {
			info, err := os.Stat(m)
			if err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s names %s, which is not there or cannot be run", name, m)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if documents < 4 {
		t.Errorf("%d documents were found: the test looks at the wrong place", documents)
	}
}

var resultFile = regexp.MustCompile(`\[(bench/results/[^\]]+\.md)\]`)

// README.md quotes figures only as a result file has them: each row of its
// table begins a row of the file that the section names.
func TestReadmeFiguresAreMeasured(t *testing.T) {
	_, section, found := strings.Cut(read(t, "README.md"), "## What it costs\n")
	if !found {
		t.Fatal("README.md has no section on what it costs")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	file := resultFile.FindStringSubmatch(section)
	if file == nil {
		t.Fatal("the section on what it costs names no result file")
	}
	results := read(t, file[1])
	rows := 0
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		rows++
		if !strings.Contains(results, "\n"+line) {
			t.Errorf("%s has no row that begins with %s", file[1], line)
		}
	}
	if rows < 3 {
		t.Errorf("the section on what it costs has %d rows", rows)
	}
}
