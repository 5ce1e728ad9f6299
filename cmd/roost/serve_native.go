package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/token"
)

// NativeFlags are those of roost serve for the native protocol, its tokens and its namespaces.
type NativeFlags struct {
	Native           bool            `group:"native" help:"Speak the native protocol with clients that offer the subprotocol roost.v1.json; others speak as they do without."`
	Anonymous        bool            `group:"native" help:"Let clients in that show no token, or one without a user."`
	TokenSecretFile  string          `group:"native" help:"Secrets that tokens are signed with (HS256; from 48 bytes HS384, from 64 bytes HS512 as well): each line of the file is one, of 32 bytes or more." placeholder:"FILE"`
	TokenSecret      string          `group:"native" help:"One such secret. Better in the environment: everybody on this machine sees a command line." placeholder:"SECRET"`
	TokenKey         []string        `group:"native" help:"Public key that tokens are signed for, PEM: RSA (RS256, RS384, RS512, PS256), ECDSA on P-256 (ES256) or P-384 (ES384), or Ed25519 (EdDSA). May be given several times." placeholder:"FILE"`
	TokenJWKSURL     string          `name:"token-jwks-url" group:"native" help:"Where the public keys are, as a JSON Web Key Set: fetched every 10 minutes, and when no key fits a token." placeholder:"URL"`
	TokenIssuer      string          `group:"native" help:"What tokens must have as iss." placeholder:"NAME"`
	TokenAudience    []string        `group:"native" help:"Of what tokens must have at least one as aud." placeholder:"NAME"`
	TokenLeeway      time.Duration   `group:"native" help:"How far the clock of the program that makes tokens may differ (${default}); 0s: not at all." default:"10s"`
	TokenUserClaim   string          `group:"native" help:"The claim that holds the user's ID (sub)." placeholder:"NAME"`
	TokenClaimPrefix string          `group:"native" help:"What stands before the claims channel, channels, allow, rate and info, as identity providers demand it." placeholder:"PREFIX"`
	verifier         *token.Verifier // set by configure, if tokens are checked

	Namespaces namespaceList `group:"native" sep:"none" help:"Settings of channels by what stands before the colon in their names: a list in the file of --config (docs/roost.yaml shows one), or here as YAML." placeholder:"YAML"`
}

// check is called by the command line's parser; asks is whether the application
// may let clients in.
func (f *NativeFlags) check(asks bool) error {
	tokens := f.TokenSecretFile != "" || f.TokenSecret != "" || len(f.TokenKey) > 0 || f.TokenJWKSURL != ""
	switch {
	case !f.Native && (f.TokenSecretFile != "" || len(f.TokenKey) > 0 || f.TokenJWKSURL != "" || f.Anonymous):
		return errors.New("--anonymous and those that begin with --token- are about the native protocol: add --native")
	case f.Native && !tokens && !f.Anonymous && !asks:
		return errors.New("--native lets nobody in without tokens or anonymous clients: add --token-secret-file, --token-key or --token-jwks-url (docs/tokens.md), --ask-url (docs/webhooks.md), or --anonymous")
	case !tokens && (f.TokenIssuer != "" || len(f.TokenAudience) > 0 || f.TokenLeeway != token.DefaultLeeway || f.TokenUserClaim != "" || f.TokenClaimPrefix != ""):
		return errors.New("--token-issuer, --token-audience, --token-leeway, --token-user-claim and --token-claim-prefix need a key: add --token-secret-file, --token-key or --token-jwks-url")
	}
	return nil
}

// configure sets Config.Namespaces and Config.Application. end is for when the server has ended.
func (f *NativeFlags) configure(config *server.Config, logger *slog.Logger) (end func(), err error) {
	config.Namespaces = f.Namespaces
	if !f.Native {
		return func() {}, nil
	}
	config.Application = &protocol.Application{Anonymous: f.Anonymous}
	tokens := token.Config{
		JWKSURL: f.TokenJWKSURL, Issuer: f.TokenIssuer, Audience: f.TokenAudience,
		UserClaim: f.TokenUserClaim, ClaimPrefix: f.TokenClaimPrefix,
		Leeway: f.TokenLeeway, Anonymous: f.Anonymous, Logger: logger,
	}
	if f.TokenLeeway == 0 {
		tokens.Leeway = -1 // none; 0 is the default
	}
	if tokens.Secrets, err = readSecrets("--token-secret-file", f.TokenSecretFile, f.TokenSecret); err != nil {
		return nil, err
	}
	for _, name := range f.TokenKey {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, usagef("--token-key: %w", err)
		}
		tokens.Keys = append(tokens.Keys, text)
	}
	if len(tokens.Secrets) == 0 && len(tokens.Keys) == 0 && tokens.JWKSURL == "" {
		return func() {}, nil
	}
	verifier, err := token.New(tokens)
	if err != nil {
		return nil, usageError{errors.New(tokenFlags.Replace(err.Error()))}
	}
	f.verifier = verifier
	config.Application.Connect, config.Application.Refresh, config.Application.Subscribe = verifier.Connect, verifier.Refresh, verifier.Subscribe
	return verifier.Close, nil
}

// tokenFlags says of a field of token.Config what it says of its flag.
var tokenFlags = strings.NewReplacer(
	"token: Config.Secrets:", "--token-secret-file:",
	"token: Config.Keys:", "--token-key:",
	"token: Config.JWKSURL:", "--token-jwks-url:",
	"token: Config.Leeway:", "--token-leeway:",
	"belongs in Keys", "belongs in --token-key",
)

// readSecrets answers the lines of a file, and one secret more.
func readSecrets(flag, file, one string) (secrets [][]byte, err error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usagef("%s: %w", flag, err)
		}
		for line := range bytes.Lines(text) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				secrets = append(secrets, line)
			}
		}
		if len(secrets) == 0 {
			return nil, usagef("%s: %s holds no secret: roost token --new-secret makes one", flag, file)
		}
	}
	if one != "" {
		secrets = append(secrets, []byte(one))
	}
	return secrets, nil
}

// namespaceList is server.Config.Namespaces as the configuration file has it:
// a list of objects with the fields' names in the way of flags.
type namespaceList []server.Namespace

// Decode is called by the command line's parser.
func (l *namespaceList) Decode(ctx *kong.DecodeContext) error {
	value := ctx.Scan.Pop().Value
	if text, ok := value.(string); ok { // from a flag or the environment
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			return fmt.Errorf("not YAML: %w", err)
		}
	}
	items, ok := value.([]any)
	if !ok {
		return fmt.Errorf("is %v: want a list of namespaces, each with a name", value)
	}
	for i, item := range items {
		ns, err := parseNamespace(item)
		if err != nil {
			return fmt.Errorf("number %d: %w", i+1, err)
		}
		if slices.ContainsFunc(*l, func(other server.Namespace) bool { return other.Name == ns.Name }) {
			return fmt.Errorf("number %d: the name %q is there already", i+1, ns.Name)
		}
		*l = append(*l, ns)
	}
	return nil
}

// parseNamespace sets the fields that an object names. What values they may
// have is checked by server.New.
func parseNamespace(item any) (ns server.Namespace, err error) {
	settings, ok := item.(map[string]any)
	if !ok {
		return ns, fmt.Errorf("is %v: want an object with a name", item)
	}
	if _, ok := settings["name"]; !ok {
		return ns, errors.New(`has no name (name: "" is for channels without a colon)`)
	}
	fields, names := map[string]reflect.Value{}, []string{}
	for field, value := range reflect.ValueOf(&ns).Elem().Fields() {
		name := settingName(field.Name)
		fields[name], names = value, append(names, name)
	}
	for name, value := range settings {
		field, ok := fields[name]
		if !ok {
			return ns, fmt.Errorf("has no setting %q: there are %s", name, strings.Join(names, ", "))
		}
		if want := setField(field, value); want != "" {
			return ns, fmt.Errorf("%s is %v: want %s", name, value, want)
		}
	}
	return ns, nil
}

// settingName is the name in a file for a field: HistoryMessages is history-messages.
func settingName(field string) string { return strings.TrimPrefix(flagName(field), "--") }

// setField sets field to value, or tells what it wants instead.
func setField(field reflect.Value, value any) (want string) {
	switch field.Interface().(type) {
	case time.Duration:
		text, ok := value.(string)
		d, err := time.ParseDuration(text)
		if !ok || err != nil {
			return "a duration (30s, 5m, 24h)"
		}
		field.SetInt(int64(d))
	case int:
		n, ok := value.(int)
		if !ok {
			return "a whole number"
		}
		field.SetInt(int64(n))
	case bool:
		on, ok := value.(bool)
		if !ok {
			return "true or false"
		}
		field.SetBool(on)
	default:
		text, ok := value.(string)
		if !ok {
			return "a word"
		}
		field.SetString(text)
	}
	return ""
}

var namespaceField = regexp.MustCompile(`server: Config\.Namespaces\[("(?:[^"\\]|\\.)*")\]\.(\w+)`)

// namespaceErrors says of a field of server.Namespace what it says of the setting.
func namespaceErrors(text string) string {
	return namespaceField.ReplaceAllStringFunc(text, func(m string) string {
		parts := namespaceField.FindStringSubmatch(m)
		return "--namespaces: " + parts[1] + ": " + settingName(parts[2])
	})
}
