package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/token"
)

// TokenCmd is roost token.
type TokenCmd struct {
	SecretFile string `help:"Secrets of which the first line signs (HS256), and any checks." env:"ROOST_TOKEN_SECRET_FILE" placeholder:"FILE"`
	Secret     string `help:"One such secret." env:"ROOST_TOKEN_SECRET" placeholder:"SECRET"`
	Key        string `help:"Private key that signs, PEM: RSA (RS256), ECDSA on P-256 (ES256) or P-384 (ES384), or Ed25519 (EdDSA). For --inspect a public one does." placeholder:"FILE"`
	Kid        string `help:"The key's name in a key set." placeholder:"NAME"`

	User           string        `help:"The user's ID (sub). Without it the token is anonymous." placeholder:"ID"`
	Expires        time.Duration `help:"How long it lasts (${default}). 0: for ever." default:"1h"`
	Channel        string        `help:"Make a token for this one channel, to be shown when subscribing to it." placeholder:"NAME"`
	Channels       []string      `help:"Channels that the server subscribes." placeholder:"NAME"`
	AllowSubscribe []string      `help:"Channels that the client may subscribe to: names, or beginnings with a *." placeholder:"PATTERN"`
	AllowPublish   []string      `help:"Channels that it may publish to, likewise." placeholder:"PATTERN"`
	Rate           int           `help:"Messages a second that it may send. 0: as many as any client." placeholder:"N" default:"0"`
	Info           string        `help:"What presence tells of it." placeholder:"JSON"`
	Issuer         string        `help:"Who makes the token (iss)." placeholder:"NAME"`
	Audience       []string      `help:"For whom it is (aud)." placeholder:"NAME"`
	UserClaim      string        `aliases:"token-user-claim" env:"ROOST_TOKEN_USER_CLAIM" help:"The claim that holds the user's ID (sub), as roost serve has it in --token-user-claim." placeholder:"NAME"`
	ClaimPrefix    string        `aliases:"token-claim-prefix" env:"ROOST_TOKEN_CLAIM_PREFIX" help:"What stands before the claims channel, channels, allow, rate and info, as roost serve has it in --token-claim-prefix." placeholder:"PREFIX"`

	Inspect   string `help:"Show what a token says (-: the one on standard input) and, with a key, whether it is valid; the exit code is 1 if not." placeholder:"TOKEN"`
	NewSecret bool   `help:"Make a secret."`
	Out       string `help:"Write the secret or the token to this file, which only its owner can read. A file with a secret is not replaced." placeholder:"FILE"`
}

// Help is the text between the usage and the flags.
func (TokenCmd) Help() string {
	return `Makes a token for trying things out: docs/tokens.md shows how an application makes its own.

Examples:
  roost token --new-secret --out secret
  roost serve --native --token-secret-file secret
  roost token --secret-file secret --user 42 --channels news
  roost token --secret-file secret --user 42 --channel chat:1
  roost token --secret-file secret --inspect "$TOKEN"`
}

// Validate is called by the command line's parser.
func (c *TokenCmd) Validate() error {
	switch {
	case c.Out != "" && c.Inspect != "":
		return errors.New("--out is for a secret or a token that is made, and --inspect makes none")
	case c.Expires < 0:
		return fmt.Errorf("--expires is %v: want a time to come, or 0 for ever", c.Expires)
	case c.Rate < 0 || c.Rate > token.MessageRateMax:
		return fmt.Errorf("--rate is %d: want 0 to %d", c.Rate, token.MessageRateMax)
	case c.Info != "" && !json.Valid([]byte(c.Info)):
		return fmt.Errorf(`--info is %q: want JSON, {"name":"Ann"} say`, c.Info)
	case c.Channel != "" && (len(c.Channels) > 0 || len(c.AllowSubscribe) > 0 || len(c.AllowPublish) > 0 || c.Rate != 0 || c.Info != ""):
		return errors.New("--channel makes a token for that channel and nothing else: it goes with --user and --expires alone")
	}
	return nil
}

// Run makes or shows a token.
func (c *TokenCmd) Run(s streams) error {
	if c.NewSecret {
		// 256 bits, as many as the hash has; the text of them is longer than the least.
		secret := make([]byte, 32)
		rand.Read(secret)
		return c.write(s, base64.RawURLEncoding.EncodeToString(secret))
	}
	secrets, err := readSecrets[[]byte]("--secret-file", c.SecretFile, c.Secret, makeTokenSecret)
	if err != nil {
		return err
	}
	var key []byte
	if c.Key != "" {
		if key, err = os.ReadFile(c.Key); err != nil {
			return usagef("--key: %w", err)
		}
	}
	if c.Inspect != "" {
		return c.inspect(s, secrets, key)
	}
	return c.sign(s, secrets, key)
}

func (c *TokenCmd) sign(s streams, secrets [][]byte, key []byte) error {
	var with any
	switch {
	case key != nil:
		signer, err := token.ParsePrivateKey(key)
		if err != nil {
			return usagef("--key %s: %w", c.Key, err)
		}
		with = signer
	case len(secrets) > 0:
		if with = secrets[0]; len(secrets[0]) < token.SecretMinBytes {
			return usagef("the secret has %d bytes, and roost serve refuses fewer than %d: roost token --new-secret makes a good one", len(secrets[0]), token.SecretMinBytes)
		}
	default:
		return usagef("no key to sign with: give --secret-file, ROOST_TOKEN_SECRET or --key (roost token --new-secret makes a secret)")
	}
	now := time.Now()
	claims := token.Claims{
		Subject: c.User, Issuer: c.Issuer, Audience: c.Audience, IssuedAt: now,
		Channel: c.Channel, Channels: c.Channels, MessageRate: c.Rate, Info: json.RawMessage(c.Info),
		Allow: protocol.Permissions{Subscribe: c.AllowSubscribe, Publish: c.AllowPublish},
	}
	lasts := "for ever"
	if c.Expires > 0 {
		claims.ExpiresAt = now.Add(c.Expires)
		lasts = "until " + claims.ExpiresAt.Format(time.RFC3339)
	}
	text, err := token.ClaimNames{User: c.UserClaim, Prefix: c.ClaimPrefix}.Sign(claims, with, c.Kid)
	if err != nil {
		return usageError{err}
	}
	if len(text) > token.MaxBytes {
		return usagef("the token would have %d bytes, and the server takes %d: say less in it", len(text), token.MaxBytes)
	}
	who := fmt.Sprintf("user %q", c.User)
	if c.User == "" {
		who = "nobody in particular (roost serve needs --anonymous for that)"
	}
	what := "a connection"
	if c.Channel != "" {
		what = fmt.Sprintf("channel %q", c.Channel)
	}
	fmt.Fprintf(s.err, "for %s of %s, %s\n", what, who, lasts)
	return c.write(s, text)
}

// write prints a line, or writes it to the file of --out. It warns if standard
// output is a file that other users can read: a shell creates such a file.
func (c *TokenCmd) write(s streams, line string) error {
	if c.Out != "" {
		return c.writeFile(line)
	}
	if file, ok := s.out.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			fmt.Fprintf(s.err, "other users of this machine can read the file that this goes to (its mode is %03o): chmod 600 it, or use --out FILE instead of > FILE\n", info.Mode().Perm())
		}
	}
	_, err := fmt.Fprintln(s.out, line)
	return err
}

// writeFile writes a line to a new file. It replaces a file only if that holds a
// token: a secret that is overwritten makes all tokens of it worthless.
func (c *TokenCmd) writeFile(line string) error {
	file, err := os.CreateTemp(filepath.Dir(c.Out), ".roost-token-*") // has the mode 0600
	if err != nil {
		return usagef("--out: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = fmt.Fprintln(file, line)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	if !c.NewSecret {
		return os.Rename(file.Name(), c.Out)
	}
	if err := os.Link(file.Name(), c.Out); errors.Is(err, fs.ErrExist) {
		return usagef("--out: %s is there already: remove it first, if no token that it signed is needed any more", c.Out)
	} else if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

func (c *TokenCmd) inspect(s streams, secrets [][]byte, key []byte) error {
	text := c.Inspect
	if text == "-" {
		read, err := io.ReadAll(io.LimitReader(s.in, token.MaxBytes+100))
		if err != nil {
			return err
		}
		text = string(read)
	}
	text = strings.TrimSpace(text)
	header, claims, err := token.Decode(text)
	if err != nil {
		return usagef("--inspect: %w", err)
	}
	shown, err := json.MarshalIndent(struct {
		Header json.RawMessage `json:"header"`
		Claims json.RawMessage `json:"claims"`
	}{header, claims}, "", "  ")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s.out, "%s\n", shown); err != nil {
		return err
	}
	config := token.Config{Secrets: secrets, AllowShortSecret: true, Issuer: c.Issuer, Audience: c.Audience, UserClaim: c.UserClaim, ClaimPrefix: c.ClaimPrefix, Anonymous: true}
	if key != nil {
		if key, err = publicOf(key); err != nil {
			return usagef("--key %s: %w", c.Key, err)
		}
		config.Keys = [][]byte{key}
	}
	if len(secrets) == 0 && key == nil {
		fmt.Fprintln(s.err, "not checked: that needs --secret-file, ROOST_TOKEN_SECRET or --key")
		return nil
	}
	verifier, err := token.New(config)
	if err != nil {
		return usageError{errors.New(inspectFlags.Replace(err.Error()))}
	}
	defer verifier.Close()
	if _, err := verifier.Verify(context.Background(), text); err != nil {
		var refused *protocol.Error
		if errors.As(err, &refused) {
			fmt.Fprintf(s.err, "not valid: %s\n", refused.Message)
		}
		return exitCode(exitFailed)
	}
	fmt.Fprintln(s.err, "valid")
	return nil
}

// inspectFlags says of a field of token.Config what it says of its flag.
var inspectFlags = strings.NewReplacer("token: Config.Secrets:", "--secret-file:", "token: Config.Keys:", "--key:", "belongs in Keys", "belongs in --key")

// publicOf is the public key of a private one, in PEM; what is none is left as it is.
func publicOf(text []byte) ([]byte, error) {
	if !bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return text, nil
	}
	private, err := token.ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
