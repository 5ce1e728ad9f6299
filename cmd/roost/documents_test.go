package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every roost command that a document shows is one that roost takes.
func TestDocumentedCommands(t *testing.T) {
	documents, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, name := range append(documents, "../../README.md") {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		inCode := false
		for line := range strings.Lines(string(content)) {
			if strings.HasPrefix(line, "```") {
				inCode = !inCode
				continue
			}
			line, _, _ = strings.Cut(line, "#")
			line, _, _ = strings.Cut(line, " > ") // into a file
			words := strings.Fields(strings.TrimPrefix(line, "sudo "))
			if !inCode || len(words) == 0 || words[0] != "roost" {
				continue
			}
			for i := range words {
				words[i] = strings.Trim(words[i], "'") // as a shell takes them
			}
			commands++
			if _, err := parse(t, words[1:]...); err != nil {
				t.Errorf("%s shows %q: %v", name, strings.TrimSpace(line), err)
			}
		}
	}
	if commands < 8 {
		t.Errorf("%d commands were found in the documents: the test looks at the wrong place", commands)
	}
}

// The example of a configuration file is one.
func TestDocumentedConfigurationFile(t *testing.T) {
	cli, err := parse(t, "serve", "--config", "../../docs/roost.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !cli.Serve.Demo {
		t.Error("docs/roost.yaml does not choose the demo")
	}
	// Its values are the defaults, so that nobody copies a bad one.
	want, err := parse(t, "serve", "--demo")
	if err != nil {
		t.Fatal(err)
	}
	got, defaults := cli.Serve.config(nil), want.Serve.config(nil)
	if got.Limits.MessageMaxBytes != defaults.Limits.MessageMaxBytes || got.Limits.PendingMaxBytes != defaults.Limits.PendingMaxBytes ||
		got.Timeouts.PingInterval != defaults.Timeouts.PingInterval || got.Timeouts.PongTimeout != defaults.Timeouts.PongTimeout ||
		got.Limits.SlowConsumer != defaults.Limits.SlowConsumer || got.Timeouts.IdleTimeout != defaults.Timeouts.IdleTimeout {
		t.Errorf("docs/roost.yaml gives %+v, the defaults are %+v", got, defaults)
	}
}
