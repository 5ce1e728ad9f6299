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
	"github.com/roostws/roost/server/protocol/pusher"
	"github.com/roostws/roost/server/settings"
)

// Lists in the configuration file whose items are objects with the fields' names in the way
// of flags.

// namespaceList is server.Config.Namespaces.
type namespaceList []server.Namespace

// appList is pusher.Options.Apps.
type appList []pusher.App

// lineError is an error at a line of the configuration file.
type lineError struct {
	line int
	error
}

// Decode is called by the command line's parser.
func (l *namespaceList) Decode(ctx *kong.DecodeContext) (err error) {
	*l, err = decodeList(ctx, "namespaces", namespaceForm, *l, func(ns *server.Namespace) string { return ns.Name })
	return err
}

// Decode is called by the command line's parser.
func (l *appList) Decode(ctx *kong.DecodeContext) (err error) {
	*l, err = decodeList(ctx, "apps", appForm, *l, func(a *pusher.App) string { return a.ID })
	return err
}

// decodeList reads a list of objects, which no two have the same name, and appends it.
func decodeList[T any](ctx *kong.DecodeContext, what string, form itemForm, to []T, nameOf func(*T) string) ([]T, error) {
	var list yaml.Node
	switch value := ctx.Scan.Pop().Value.(type) {
	case *yaml.Node: // from the file
		list = *value
	case string: // from a flag or the environment
		if err := yaml.Unmarshal([]byte(value), &list); err != nil {
			return to, fmt.Errorf("not YAML: %s", yamlError(err))
		}
		if list.Kind == yaml.DocumentNode {
			list = *list.Content[0]
		}
	}
	if list.Kind != yaml.SequenceNode {
		return to, fmt.Errorf("want a list of %s, each with %s", what, form.article+form.name)
	}
	for i, item := range list.Content {
		var one T
		err := form.parse(item, reflect.ValueOf(&one).Elem())
		if err == nil && slices.ContainsFunc(to, func(other T) bool { return nameOf(&other) == nameOf(&one) }) {
			err = fmt.Errorf("the %s %q is there already", form.name, nameOf(&one))
		}
		if err != nil {
			return to, &lineError{item.Line, fmt.Errorf("number %d: %w", i+1, err)}
		}
		to = append(to, one)
	}
	return to, nil
}

// An itemForm is what the items of a list are.
type itemForm struct {
	article, name string // the setting that tells items apart
	unnamed       string // what is said of an item without it
	settings      map[string]settings.Setting
}

var namespaceForm = itemForm{"a ", "name", `has no name (name: "" is for channels without a colon)`, byName(server.NamespaceSettings())}

var appForm = itemForm{"an ", "id", "has no id", byName(pusher.AppSettings())}

// byName returns settings by their names in the file.
func byName(table settings.Table) map[string]settings.Setting {
	byName := map[string]settings.Setting{}
	for _, s := range table {
		byName[settings.Name(s.Field)] = s
	}
	return byName
}

// parse sets the fields of one that an object names.
func (f *itemForm) parse(item *yaml.Node, one reflect.Value) error {
	if item.Kind != yaml.MappingNode {
		return fmt.Errorf("is %q: want an object with %s", item.Value, f.article+f.name)
	}
	fields, names := map[string]reflect.Value{}, []string{}
	for field, value := range one.Fields() {
		name := settings.Name(field.Name)
		fields[name], names = value, append(names, name)
	}
	written := []string{}
	for i := 0; i < len(item.Content); i += 2 {
		name, value := item.Content[i].Value, item.Content[i+1]
		field, ok := fields[name]
		if !ok {
			return fmt.Errorf("has no setting %q: want %s", name, strings.Join(names, ", "))
		}
		// YAML takes 1.5 for a whole number, and 5 for a duration in nanoseconds.
		_, duration := field.Interface().(time.Duration)
		if duration && value.Tag != "!!str" || field.Kind() == reflect.Int && value.Tag != "!!int" || value.Decode(field.Addr().Interface()) != nil {
			return fmt.Errorf("%s is %s: want %s", name, value.Value, wants[field.Kind()])
		}
		written = append(written, name)
	}
	if !slices.Contains(written, f.name) {
		return errors.New(f.unnamed)
	}
	for _, name := range written {
		var mistake *settings.FieldError
		if s, ok := f.settings[name]; ok && errors.As(s.Written("", fields[name].Addr().Interface()), &mistake) {
			return fmt.Errorf("%q: %s%s", fields[f.name], name, mistake.Complaint())
		}
	}
	return nil
}
