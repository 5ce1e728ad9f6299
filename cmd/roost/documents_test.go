package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/settings"
)

// The example of a configuration file is one.
func TestDocumentedConfigurationFile(t *testing.T) {
	t.Parallel()
	cli, err := parse(t, "serve", "--config", "../../docs/roost.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !cli.Serve.Demo {
		t.Error("docs/roost.yaml does not choose the demo")
	}
}

var update = flag.Bool("update", false, "write the generated parts of docs/roost.yaml and docs/settings.md")

// The reference in docs/roost.yaml and the table of docs/settings.md are made
// from the settings. go test ./cmd/roost -run TestSettingsDocuments -update writes them.
func TestSettingsDocuments(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"../../docs/roost.yaml": yamlReference(), "../../docs/settings.md": settingsTable()} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, got, ok := strings.Cut(string(text), generatedMark)
		end, got, _ := strings.Cut(got, "\n")
		if !ok {
			t.Fatalf("%s has no line %q", name, generatedMark)
		}
		if got == want {
			continue
		}
		if !*update {
			t.Errorf("%s is not what the settings say: go test ./cmd/roost -run TestSettingsDocuments -update", name)
			continue
		}
		if err := os.WriteFile(name, []byte(head+generatedMark+end+"\n"+want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const generatedMark = "All settings"

// yamlReference is every flag of roost serve with its default, commented out.
func yamlReference() string {
	var b strings.Builder
	group := ""
	for _, flag := range serveFlags(newParser(new(CLI), new(configFile))) {
		if flag.Group.Key != group {
			group = flag.Group.Key
			fmt.Fprintf(&b, "\n  # %s\n", flag.Group.Title)
		}
		fmt.Fprintf(&b, "  # %s: %s\n", flag.Name, flag.PlaceHolder)
		for line := range strings.SplitSeq(wrap(flag.Help, 90), "\n") {
			fmt.Fprintf(&b, "  #     %s\n", line)
		}
	}
	return b.String()
}

func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > width {
			b.WriteByte('\n')
			column = 0
		}
		if column > 0 {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// settingsTable is a row for each setting of the library's tables.
func settingsTable() string {
	var b strings.Builder
	parser := newParser(new(CLI), new(configFile))
	for _, config := range []string{"server: Config", "api: Config", "token: Config", "socketio: Options", "webhook: SenderConfig", "webhook: AskerConfig"} {
		name := strings.ReplaceAll(config, ": ", ".")
		fmt.Fprintf(&b, "\n## `%s`\n\n| setting | flag | default | allowed | what it is | what raising it costs |\n|---|---|---|---|---|---|\n", name)
		for _, s := range configurations[config].table {
			flag := "`--" + flagOf(config, s.Field) + "`"
			if serveFlag(parser, flagOf(config, s.Field)) == nil {
				flag = ""
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", s.Field, flag, defaultOf("", s), strings.Replace(s.Want(), "negative for off", "`0s` for off (in Go: negative)", 1), s.Help, s.Cost)
		}
	}
	fmt.Fprintf(&b, "\n## `server.Namespace`\n\n| setting | in the file | default | allowed | what it is | what raising it costs |\n|---|---|---|---|---|---|\n")
	for _, s := range server.NamespaceSettings() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s |\n", s.Field, settings.Name(s.Field), defaultOf("", s), s.Want(), s.Help, s.Cost)
	}
	return b.String()
}
