package token

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/roostws/roost/server/protocol"
)

// The examples in docs/tokens.md make tokens that are good.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ language, file, command string }{
		{"js", "token.js", "node"},
		{"python", "token_example.py", "python3"},
	} {
		t.Run(tc.language, func(t *testing.T) {
			blocks := regexp.MustCompile("(?s)```"+tc.language+"\n(.*?)```").FindAllSubmatch(text, -1)
			if len(blocks) != 1 {
				t.Fatalf("%d examples, want 1", len(blocks))
			}
			if _, err := exec.LookPath(tc.command); err != nil {
				t.Fatalf("%v: scripts/test.sh tools installs it", err)
			}
			file := filepath.Join(t.TempDir(), tc.file)
			if err := os.WriteFile(file, blocks[0][1], 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, tc.command, file)
			cmd.Env = append(os.Environ(), "ROOST_TOKEN_SECRET="+string(secret))
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, stderrOf(err))
			}
			v := newVerifier(t, Config{Secrets: [][]byte{secret}})
			r := protocol.ConnectRequest{Token: string(regexp.MustCompile(`\s+$`).ReplaceAll(out, nil))}
			if err := v.Connect(t.Context(), &r); err != nil {
				t.Fatal(err)
			}
			left := time.Until(r.Expires)
			if r.User != "42" || !reflect.DeepEqual(r.Channels, []string{"news"}) || !reflect.DeepEqual(r.Allow.Subscribe, []string{"chat:*"}) || left < time.Minute || left > 11*time.Minute {
				t.Errorf("it means %+v", r)
			}
		})
	}
}

// The one in Go is the one that the compiler sees.
func TestDocumentedGo(t *testing.T) {
	text, err := os.ReadFile("../../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/tokens.md has no example in Go")
	}
	for line := range bytes.Lines(block[1]) {
		if line = bytes.TrimSpace(line); !bytes.Contains(example, line) {
			t.Errorf("example_test.go lacks %q", line)
		}
	}
}

func stderrOf(err error) []byte {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.Stderr
	}
	return nil
}
