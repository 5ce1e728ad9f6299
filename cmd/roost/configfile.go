package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
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

// configFile is a configuration file, or none. It resolves flags, and knows the
// line of each value that it has set.
type configFile struct {
	name     string
	sections map[string]map[string]*yaml.Node
	// used are the lines of the values that won over nothing else, by flag.
	used map[string]int
}

// load reads a configuration file into f.
func (f *configFile) load(r io.Reader) (kong.Resolver, error) {
	f.name = "the configuration file"
	if file, ok := r.(*os.File); ok {
		f.name = file.Name()
	}
	var document yaml.Node
	switch err := yaml.NewDecoder(r).Decode(&document); {
	case errors.Is(err, io.EOF):
		return f, nil // empty
	case err != nil:
		return nil, fmt.Errorf("%s is not YAML: %s", f.name, yamlError(err))
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, f.errorf(root, "want a section for each command, such as serve:")
	}
	f.sections, f.used = map[string]map[string]*yaml.Node{}, map[string]int{}
	for i := 0; i < len(root.Content); i += 2 {
		key, section := root.Content[i], root.Content[i+1]
		if section.Kind != yaml.MappingNode && section.Tag != "!!null" {
			return nil, f.errorf(section, "the section %s holds no settings: want lines of name: value", key.Value)
		}
		if f.sections[key.Value] != nil {
			return nil, f.errorf(key, "the section %s is there already", key.Value)
		}
		values := map[string]*yaml.Node{}
		f.sections[key.Value] = values
		for j := 0; j+1 < len(section.Content); j += 2 {
			name := section.Content[j]
			if values[name.Value] != nil {
				return nil, f.errorf(name, "%s is set already in line %d", name.Value, values[name.Value].Line)
			}
			values[name.Value] = section.Content[j+1]
		}
	}
	return f, nil
}

// A fileError names the file and the line of a mistake, and needs no flag's name
// before it.
type fileError struct{ error }

// errorf is an error at a place in the file.
func (f *configFile) errorf(at *yaml.Node, format string, args ...any) error {
	return fileError{fmt.Errorf("%s:%d: %w", f.name, at.Line, fmt.Errorf(format, args...))}
}

var yamlLine = regexp.MustCompile(`^yaml: (line \d+: )?`)

// yamlError is a syntax error without the name of the library.
func yamlError(err error) string { return yamlLine.ReplaceAllString(err.Error(), "$1") }

// place names a setting as the user wrote it: roost.yaml:12: loops, or --loops.
func (f *configFile) place(flag string) string {
	if line := f.used[flag]; line > 0 {
		return fmt.Sprintf("%s:%d: %s", f.name, line, flag)
	}
	return "--" + flag
}

// Validate refuses sections and names that no command takes: a misspelt limit
// that is silently ignored is no limit.
func (f *configFile) Validate(app *kong.Application) error {
	for section, values := range f.sections {
		i := slices.IndexFunc(app.Children, func(n *kong.Node) bool { return n.Name == section })
		if i < 0 {
			return fmt.Errorf("%s has a section %q, and there is no such command", f.name, section)
		}
		for key, value := range values {
			if !slices.ContainsFunc(app.Children[i].Flags, func(f *kong.Flag) bool { return f.Name == key }) {
				return f.errorf(value, "roost %s has no setting %s", section, key)
			}
		}
	}
	return nil
}

// check reports that flag does not take a value, which is at node.
func (f *configFile) check(flag *kong.Flag, node *yaml.Node, value any) error {
	scratch := reflect.New(flag.Target.Type()).Elem()
	scan := kong.Scan().PushTyped(value, kong.FlagValueToken)
	err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: scan}, scratch)
	var located *lineError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &located):
		return f.errorf(&yaml.Node{Line: located.line}, "%s: %w", flag.Name, located.error)
	case node.Kind != yaml.ScalarNode && scratch.Kind() != reflect.Slice:
		return f.errorf(node, "%s: want one value", flag.Name)
	case node.Kind == yaml.ScalarNode && wants[scratch.Kind()] != "" && !isList(flag):
		return f.errorf(node, "%s is %q: want %s", flag.Name, node.Value, wants[scratch.Kind()])
	}
	return f.errorf(node, "%s: %w", flag.Name, err)
}

// isList reports whether a flag is more than words, and takes YAML.
func isList(flag *kong.Flag) bool {
	_, ok := flag.Target.Addr().Interface().(kong.MapperValue)
	return ok
}

// plain is a value as the command line would have it: a word, a list of words,
// or the node itself where more than that is written.
func plain(node *yaml.Node) any {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil
	case node.Kind == yaml.ScalarNode:
		return node.Value
	case node.Kind == yaml.SequenceNode && !slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode }):
		words := []any{}
		for _, n := range node.Content {
			words = append(words, n.Value)
		}
		return words
	}
	return node
}

// Resolve returns the file's value for a flag. The environment wins over it.
func (f *configFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	node := parent.Node()
	if node == nil || node.Type == kong.ApplicationNode {
		return nil, nil
	}
	for _, name := range flag.Tag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	at, ok := f.sections[node.Name][flag.Name]
	if !ok {
		return nil, nil
	}
	value := plain(at)
	if isList(flag) {
		value = at
	}
	if value == nil {
		return nil, nil
	}
	f.used[flag.Name] = at.Line
	return value, f.check(flag, at, value)
}
