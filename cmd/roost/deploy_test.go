package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The files for containers are YAML, the commands in them are ones that this roost takes,
// and the probes ask what there is. No container runtime runs them.
func TestDeployedContainers(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"token.secret": strings.Repeat("0123456789abcdef", 4), "api.keys": "app publish,read,disconnect " + strings.Repeat("k", 64)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for file, wantProbes := range map[string]int{"compose/compose.yaml": 0, "kubernetes/roost.yaml": 2} {
		content, err := os.ReadFile(filepath.Join("..", "..", "deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		commands, probes := 0, 0
		var walk func(value any)
		walk = func(value any) {
			switch v := value.(type) {
			case map[string]any:
				for key, member := range v {
					if path, ok := member.(map[string]any); ok && key == "httpGet" {
						probes++
						if path["path"] != "/readyz" && path["path"] != "/healthz" {
							t.Errorf("%s: a probe of %v", file, path)
						}
					}
					walk(member)
				}
			case []any:
				var args []string
				for _, word := range v {
					if text, ok := word.(string); ok {
						args = append(args, strings.NewReplacer("/run/secrets/", dir+"/", "/etc/roost/", dir+"/").Replace(text))
					}
					walk(word)
				}
				if len(args) == 0 || args[0] != "serve" {
					return
				}
				commands++
				cli, err := parse(t, args...)
				if err != nil {
					t.Errorf("%s: %q: %v", file, args, err)
					return
				}
				if cli.Serve.Broker == "" || cli.Serve.AdminAddr == "" || cli.Serve.APIKeysFile == "" {
					t.Errorf("%s: %q lacks the broker, or the admin port", file, args)
				}
			}
		}
		documents := yaml.NewDecoder(bytes.NewReader(content))
		for {
			var document any
			if err := documents.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			walk(document)
		}
		if commands == 0 || probes != wantProbes {
			t.Errorf("%s: %d commands of roost and %d probes: the test looks at the wrong place", file, commands, probes)
		}
	}
}
