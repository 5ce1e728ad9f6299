package report

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var notInFileName = regexp.MustCompile(`[^a-z0-9.]+`)

// fileName is the name of the result files without their endings.
func (c *Comparison) fileName() string {
	host := strings.Trim(notInFileName.ReplaceAllString(strings.ToLower(c.Environment.Host), "-"), "-.")
	if host == "" {
		host = "unknown"
	}
	return c.Started.Format(time.DateOnly) + "-" + c.Name + "-" + host
}

// Save writes the comparison into dir as JSON, Markdown and a plot, then to w
// the tables, where the files are, and the verdict. An empty dir writes no files.
func (c *Comparison) Save(w io.Writer, dir string) error {
	if len(c.Runs) > 0 && c.Title == "" {
		c.Title = c.growthTitle()
	}
	var files string
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		base := c.fileName()
		var raw, page bytes.Buffer
		if err := c.Write(&raw); err != nil {
			return err
		}
		c.WriteMarkdown(&page, base)
		for ending, content := range map[string][]byte{".json": raw.Bytes(), ".md": page.Bytes(), ".svg": c.Plot()} {
			if err := os.WriteFile(filepath.Join(dir, base+ending), content, 0o644); err != nil {
				return err
			}
		}
		files = fmt.Sprintf("\nplot: %[1]s.svg\npage: %[1]s.md\nraw:  %[1]s.json\n", filepath.Join(dir, base))
	}
	c.WriteTable(w)
	_, err := fmt.Fprintf(w, "%s\n%s\n", files, c.Verdict())
	return err
}
