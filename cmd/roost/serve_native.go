package main

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/token"
	"github.com/roostws/roost/web"
)

// NativeFlags are those of roost serve for the native protocol, its tokens and its namespaces.
type NativeFlags struct {
	Native           bool          `group:"native" help:"Speak the native protocol with clients that offer the subprotocol roost.v1.json; others speak as they do without."`
	Anonymous        bool          `group:"native" help:"Let clients in that show no token, or one without a user."`
	TokenSecretFile  string        `group:"native" help:"Secrets that tokens are signed with (HS256; from 48 bytes HS384, from 64 bytes HS512 as well): each line of the file is one, of 32 bytes or more." placeholder:"FILE"`
	TokenSecret      string        `group:"native" help:"One such secret. Better in the environment: everybody on this machine sees a command line." placeholder:"SECRET"`
	TokenKey         []string      `group:"native" help:"Public key that tokens are signed for, PEM: RSA (RS256, RS384, RS512, PS256), ECDSA on P-256 (ES256) or P-384 (ES384), or Ed25519 (EdDSA). May be given several times." placeholder:"FILE"`
	TokenJWKSURL     string        `name:"token-jwks-url" group:"native" help:"Where the public keys are, as a JSON Web Key Set: fetched every 10 minutes, and when no key fits a token." placeholder:"URL"`
	TokenIssuer      string        `group:"native" help:"What tokens must have as iss." placeholder:"NAME"`
	TokenAudience    []string      `group:"native" help:"Of what tokens must have at least one as aud." placeholder:"NAME"`
	TokenLeeway      time.Duration `group:"native"`
	TokenUserClaim   string        `group:"native" help:"The claim that holds the user's ID (sub)." placeholder:"NAME"`
	TokenClaimPrefix string        `group:"native" help:"What stands before the claims channel, channels, allow, rate and info, as identity providers demand it." placeholder:"PREFIX"`
	TokenCookie      string        `group:"native" placeholder:"NAME"`
	NoFallback       bool          `group:"native"`

	Namespaces namespaceList `group:"native" sep:"none" help:"Settings of channels by what stands before the colon in their names: a list in the file of --config (docs/roost.yaml shows one), or here as YAML." placeholder:"YAML"`
}

// check is called by the command line's parser. demo is whether the demo speaks the
// native protocol, io whether clients of Socket.IO come in, asks whether the application may
// let clients in.
func (f *NativeFlags) check(demo, io, asks bool) error {
	tokens := f.TokenSecretFile != "" || f.TokenSecret != "" || len(f.TokenKey) > 0 || f.TokenJWKSURL != ""
	switch {
	case !f.Native && !io && (f.TokenSecretFile != "" || len(f.TokenKey) > 0 || f.TokenJWKSURL != "" || f.TokenCookie != "" || f.Anonymous):
		return errors.New("--anonymous and those that begin with --token- are about clients of a protocol: add --native or --socketio")
	case !f.Native && !demo && f.NoFallback:
		return errors.New("--no-fallback is about the native protocol: add --native")
	case (f.Native || io) && !tokens && !f.Anonymous && !asks:
		return errors.New(map[bool]string{true: "--native", false: "--socketio"}[f.Native] + " lets nobody in without tokens or anonymous clients: add --token-secret-file, --token-key or --token-jwks-url (docs/tokens.md), --ask-url (docs/webhooks.md), or --anonymous")
	case !tokens && (f.TokenIssuer != "" || len(f.TokenAudience) > 0 || f.TokenLeeway != 0 || f.TokenUserClaim != "" || f.TokenClaimPrefix != ""):
		return errors.New("--token-issuer, --token-audience, --token-leeway, --token-user-claim and --token-claim-prefix need a key: add --token-secret-file, --token-key or --token-jwks-url")
	}
	return nil
}

// configure sets Config.Namespaces and Config.Application. The caller closes the
// verifier, which is nil if no token is checked, when the server has ended. io is whether
// clients of Socket.IO come in by it.
func (f *NativeFlags) configure(config *server.Config, io bool, logger *slog.Logger) (*token.Verifier, error) {
	config.Namespaces, config.Handshake.TokenCookie, config.Handshake.NoFallback = f.Namespaces, f.TokenCookie, f.NoFallback
	if !f.Native && !io {
		return nil, nil
	}
	config.Application = &protocol.Application{Anonymous: f.Anonymous}
	if config.HTTP == nil {
		config.HTTP = clientPages()
	}
	secrets, keys, err := f.tokenKeys()
	if err != nil || len(secrets) == 0 && len(keys) == 0 && f.TokenJWKSURL == "" {
		return nil, err
	}
	verifier, err := token.New(token.Config{
		Secrets: secrets, Keys: keys, JWKSURL: f.TokenJWKSURL, Issuer: f.TokenIssuer, Audience: f.TokenAudience,
		UserClaim: f.TokenUserClaim, ClaimPrefix: f.TokenClaimPrefix,
		Leeway: f.TokenLeeway, Anonymous: f.Anonymous, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	config.Application.Connect, config.Application.Refresh, config.Application.Subscribe = verifier.Connect, verifier.Refresh, verifier.Subscribe
	return verifier, nil
}

// clientPages serves the browser client, and tells all other requests to upgrade.
func clientPages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/roost/", web.Client())
	web.HandleHealth(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket server: connect to it with ws:// or wss://; the client for browsers is at /roost/", http.StatusUpgradeRequired)
	})
	return mux
}

// tokenKeys reads the files of secrets and public keys.
func (f *NativeFlags) tokenKeys() (secrets, keys [][]byte, err error) {
	if secrets, err = readSecrets[[]byte]("--token-secret-file", f.TokenSecretFile, f.TokenSecret, makeTokenSecret); err != nil {
		return nil, nil, err
	}
	for _, name := range f.TokenKey {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, usagef("--token-key: %w", err)
		}
		keys = append(keys, text)
	}
	return secrets, keys, nil
}

// reload reads the files of verifier's keys again.
func (f *NativeFlags) reload(verifier *token.Verifier) error {
	secrets, keys, err := f.tokenKeys()
	if err != nil {
		return err
	}
	return verifier.SetKeys(secrets, keys)
}

// Commands that make secrets.
const (
	makeTokenSecret   = "roost token --new-secret"
	makeWebhookSecret = `echo "whsec_$(openssl rand -base64 32)"`
)

// readSecrets returns the lines of a file, and one secret more. make is a command
// that makes a secret.
func readSecrets[T string | []byte](flag, file, one, make string) (secrets []T, err error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usagef("%s: %w", flag, err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" {
				secrets = append(secrets, T(line))
			}
		}
		if len(secrets) == 0 {
			return nil, usagef("%s: %s holds no secret: make one with: %s", flag, file, make)
		}
	}
	if one != "" {
		secrets = append(secrets, T(one))
	}
	return secrets, nil
}
