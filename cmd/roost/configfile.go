package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// nameEnvironment gives each flag of serve its variable: --max-connections is
// ROOST_MAX_CONNECTIONS. Other commands are typed by hand and have none.
func nameEnvironment(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			name := "ROOST_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			flag.Envs = append(flag.Envs, name)
			flag.Tag.Envs = flag.Envs
		}
	}
	return nil
}

// yamlFile is a configuration file: command, flag, value.
type yamlFile map[string]map[string]any

// loadYAML reads a configuration file.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	file := yamlFile{}
	if err := yaml.NewDecoder(r).Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("the configuration file is not YAML with a section for each command: %w", err)
	}
	return file, nil
}

// Validate refuses what no command knows: a misspelt limit that is silently
// ignored is no limit.
func (file yamlFile) Validate(app *kong.Application) error {
	for section, values := range file {
		i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == section })
		if i < 0 {
			return fmt.Errorf("the configuration file has a section %q, and there is no such command", section)
		}
		for key := range values {
			if !slices.ContainsFunc(app.Children[i].Flags, func(f *kong.Flag) bool { return f.Name == key }) {
				return fmt.Errorf("the configuration file sets %s: %s, and roost %s has no flag --%s", section, key, section, key)
			}
		}
	}
	return nil
}

// Resolve answers what the file says of a flag. The environment wins over it.
func (file yamlFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	node := parent.Node()
	if node == nil || node.Type == kong.ApplicationNode {
		return nil, nil
	}
	for _, name := range flag.Tag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	return file[node.Name][flag.Name], nil
}
