package main

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/settings"
)

// namespaceList is server.Config.Namespaces as the configuration file has it: a
// list of objects with the fields' names in the way of flags.
type namespaceList []server.Namespace

// lineError is an error at a line of the configuration file.
type lineError struct {
	line int
	error
}

// Decode is called by the command line's parser.
func (l *namespaceList) Decode(ctx *kong.DecodeContext) error {
	var list yaml.Node
	switch value := ctx.Scan.Pop().Value.(type) {
	case *yaml.Node: // from the file
		list = *value
	case string: // from a flag or the environment
		if err := yaml.Unmarshal([]byte(value), &list); err != nil {
			return fmt.Errorf("not YAML: %s", yamlError(err))
		}
		if list.Kind == yaml.DocumentNode {
			list = *list.Content[0]
		}
	}
	if list.Kind != yaml.SequenceNode {
		return errors.New("want a list of namespaces, each with a name")
	}
	for i, item := range list.Content {
		ns, err := parseNamespace(item)
		if err == nil && slices.ContainsFunc(*l, func(other server.Namespace) bool { return other.Name == ns.Name }) {
			err = fmt.Errorf("the name %q is there already", ns.Name)
		}
		if err != nil {
			return &lineError{item.Line, fmt.Errorf("number %d: %w", i+1, err)}
		}
		*l = append(*l, ns)
	}
	return nil
}

// namespaceSettings are the settings of a namespace by their names in the file.
var namespaceSettings = func() map[string]settings.Setting {
	byName := map[string]settings.Setting{}
	for _, s := range server.NamespaceSettings() {
		byName[settings.Name(s.Field)] = s
	}
	return byName
}()

// parseNamespace sets the fields that an object names.
func parseNamespace(item *yaml.Node) (ns server.Namespace, err error) {
	if item.Kind != yaml.MappingNode {
		return ns, fmt.Errorf("is %q: want an object with a name", item.Value)
	}
	fields, names := map[string]reflect.Value{}, []string{}
	for field, value := range reflect.ValueOf(&ns).Elem().Fields() {
		name := settings.Name(field.Name)
		fields[name], names = value, append(names, name)
	}
	written := []string{}
	for i := 0; i < len(item.Content); i += 2 {
		name, value := item.Content[i].Value, item.Content[i+1]
		field, ok := fields[name]
		if !ok {
			return ns, fmt.Errorf("has no setting %q: want %s", name, strings.Join(names, ", "))
		}
		// YAML takes 1.5 for a whole number, and 5 for a duration in nanoseconds.
		_, duration := field.Interface().(time.Duration)
		if duration && value.Tag != "!!str" || field.Kind() == reflect.Int && value.Tag != "!!int" || value.Decode(field.Addr().Interface()) != nil {
			return ns, fmt.Errorf("%s is %s: want %s", name, value.Value, wants[field.Kind()])
		}
		written = append(written, name)
	}
	if !slices.Contains(written, "name") {
		return ns, errors.New(`has no name (name: "" is for channels without a colon)`)
	}
	for _, name := range written {
		var mistake *settings.FieldError
		if s, ok := namespaceSettings[name]; ok && errors.As(s.Written("", fields[name].Addr().Interface()), &mistake) {
			return ns, fmt.Errorf("%q: %s%s", ns.Name, name, mistake.Complaint())
		}
	}
	return ns, nil
}
