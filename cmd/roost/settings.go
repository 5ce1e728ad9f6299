package main

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/api"
	"github.com/roostws/roost/server/protocol/socketio"
	"github.com/roostws/roost/server/settings"
	"github.com/roostws/roost/server/token"
	"github.com/roostws/roost/server/webhook"
)

// configurations are the structs that the flags of roost serve fill, by their
// names in errors. prefix stands before the flag of each of their settings.
var configurations = map[string]struct {
	prefix string
	table  settings.Table
}{
	"server: Config":        {"", server.Settings()},
	"api: Config":           {"", api.Settings()},
	"token: Config":         {"token-", token.Settings()},
	"webhook: SenderConfig": {"webhook-", webhook.SenderSettings()},
	"webhook: AskerConfig":  {"ask-", webhook.AskerSettings()},
	"socketio: Options":     {"socketio-", socketio.Settings()},
	commandName:             {"", commandSettings},
}

// commandName is the name in errors of what only the command has: ServeCmd.
const commandName = "roost serve"

// commandSettings describes such fields of ServeCmd.
var commandSettings = settings.Table{
	{Field: "GCPercent", Default: defaultGCPercent, Min: 1, Max: 1_000_000, Unit: "percent",
		Help: "Garbage collector: let the heap grow by this many percent between collections. Lower takes less memory and more CPU"},
}

// otherFlags are the flags of fields that do not have the field's name.
var otherFlags = map[string]string{
	"server: Config.Listen":         "addr",
	"server: Config.ListenTLS":      "tls-addr",
	"server: Config.TLS":            "tls-cert",
	"api: Config.Keys":              "api-keys-file",
	"token: Config.Secrets":         "token-secret-file",
	"token: Config.Keys":            "token-key",
	"webhook: SenderConfig.Secrets": "webhook-secret-file",
	"webhook: AskerConfig.Secrets":  "webhook-secret-file",
}

// notFlags are fields of embedded structs that are set in other ways.
const notFlags = `^ServeCmd\.(Secrets|Form|TLS|Logger|AskAll|Recovery)$`

// flagOf returns the name of the flag that sets a field, without dashes.
func flagOf(config, field string) string {
	if name, ok := otherFlags[config+"."+field]; ok {
		return name
	}
	return configurations[config].prefix + settings.Name(field)
}

// A flagSetting is the setting that a flag of roost serve sets.
type flagSetting struct {
	config string
	settings.Setting
}

// flagSettings are the settings by their flags.
var flagSettings = func() map[string]flagSetting {
	byFlag := map[string]flagSetting{}
	for config, c := range configurations {
		for _, s := range c.table {
			byFlag[flagOf(config, s.Field)] = flagSetting{config, s}
		}
	}
	return byFlag
}()

// checkWritten checks the flags that the user has set, wherever: a zero that is
// written is not the default.
func checkWritten(flags []*kong.Flag) error {
	var errs []error
	for _, flag := range flags {
		if s, ok := flagSettings[flag.Name]; ok && flag.Set {
			errs = append(errs, s.Written(s.config, flag.Target.Addr().Interface()))
		}
	}
	return errors.Join(errs...)
}

// flagError names flags where err names the fields of a configuration. A
// mistake in the configuration file is shown with its line. Other errors are
// returned as they are.
func flagError(err error, file *configFile) error {
	var fields []*settings.FieldError
	if collect(err, &fields); len(fields) == 0 {
		return err
	}
	var errs []error
	for _, f := range fields {
		list := "namespaces"
		if f.Config == "pusher: App" {
			list = "pusher-apps"
		}
		if f.Item != "" || list != "namespaces" || f.Config == "server: Config.Namespaces" {
			errs = append(errs, fmt.Errorf("%s: %q: %s%s", file.place(list), f.Item, settings.Name(f.Field), f.Complaint()))
			continue
		}
		errs = append(errs, fmt.Errorf("%s%s", file.place(flagOf(f.Config, f.Field)), f.Complaint()))
	}
	return usageError{errors.Join(errs...)}
}

// collect appends the field errors that err holds.
func collect(err error, fields *[]*settings.FieldError) {
	if f, ok := err.(*settings.FieldError); ok {
		*fields = append(*fields, f)
		return
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		collect(err.Unwrap(), fields)
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			collect(err, fields)
		}
	}
}

// describeFlags gives the flags of settings their help. They have no default of
// their own: zero is the library's default.
func describeFlags(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			s, ok := flagSettings[flag.Name]
			if !ok {
				continue
			}
			flag.Help = flagHelp(flag.Name, s.Setting)
			_, duration := flag.Target.Interface().(time.Duration)
			switch {
			case len(s.Choices) > 0:
				flag.PlaceHolder = strings.Join(s.Choices, "|")
			case duration:
				flag.PlaceHolder = "TIME"
			case flag.Target.Kind() == reflect.Int:
				flag.PlaceHolder = "N"
			case flag.PlaceHolder == "" && flag.IsSlice():
				flag.PlaceHolder = "WORD"
			case strings.HasSuffix(flag.Name, "-path"):
				flag.PlaceHolder = "PATH"
			case strings.HasSuffix(flag.Name, "-url"):
				flag.PlaceHolder = "URL"
			}
		}
	}
	return nil
}

// instead are defaults that roost serve sets and the library does not.
var instead = map[string]string{
	"gc-percent":            "GOGC, or " + strconv.Itoa(defaultGCPercent) + ", but 4 MiB at least",
	"max-connections":       "as many as the descriptor limit allows",
	"message-max-bytes":     "65536; with --echo " + strconv.Itoa(echoMessageMaxBytes),
	"message-max-fragments": "1024; with --echo " + strconv.Itoa(echoMessageMaxFragments),
	"origins":               "pages of the same host; with --demo all",
}

// flagHelp is a setting's line in the help.
func flagHelp(name string, s settings.Setting) string {
	help := fieldNames.Replace(s.Help)
	if value := defaultOf(name, s); value != "" {
		help += " (" + value + ")"
	}
	if s.Off {
		help += ". 0s: off"
	}
	return help + "."
}

// fieldNames names flags where a setting's help names fields.
var fieldNames = strings.NewReplacer("PendingMaxBytes", "--pending-max-bytes", "LagMaxBytes", "--lag-max-bytes")

// defaultOf is a setting's default as people read it, empty if there is none.
func defaultOf(name string, s settings.Setting) string {
	if value, ok := instead[name]; ok {
		return value
	}
	if s.Default == nil {
		return s.Zero
	}
	if s.Unit == "bytes" {
		return settings.Text(s.Default) + " bytes"
	}
	return settings.Text(s.Default)
}

// wants are what the values of flags may be, by type, in words that do not name
// Go's types.
var wants = map[reflect.Kind]string{
	reflect.Int:    "a whole number",
	reflect.Int64:  "a duration (30s, 5m, 24h)",
	reflect.Bool:   "true or false",
	reflect.String: "a word",
	reflect.Slice:  "a list of words",
}

// decoder decodes flags of a type with parse.
func decoder[T ~int | ~int64](parse func(string) (T, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		text := ""
		if err := ctx.Scan.PopValueInto("value", &text); err != nil {
			return err
		}
		v, err := parse(text)
		if err != nil {
			return fmt.Errorf("%q: want %s", text, wants[target.Kind()])
		}
		target.SetInt(int64(v))
		return nil
	}
}
