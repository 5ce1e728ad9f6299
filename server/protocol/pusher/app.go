package pusher

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"

	"github.com/roostws/roost/server/settings"
	"github.com/roostws/roost/server/webhook"
)

// An App is one application of Pusher: a key that its clients show, and a secret by which
// its back end signs.
type App struct {
	// ID is the app's in the addresses of the HTTP API.
	ID string
	// Key is what clients connect with. It is not secret.
	Key string
	// Secret signs what clients may do, requests of the HTTP API, and web hooks.
	Secret string

	// MaxConnections bounds the app's connections on one server: further ones are turned away
	// with code 4004. If zero, there is no limit but the server's.
	MaxConnections int
	// ClientEvents lets clients send events to each other in private and presence channels.
	ClientEvents bool
	// ClientEventRate bounds the client events of one connection a second. If zero, 10.
	ClientEventRate int
	// EventMaxBytes bounds the data of an event. If zero, 10,240.
	EventMaxBytes int
	// PresenceMaxMembers and PresenceMaxBytes bound the users in a presence channel, and the
	// channel_data of each. If zero, 100 and 2,048.
	PresenceMaxMembers int
	PresenceMaxBytes   int
	// SubscriptionCounts tells the subscribers of a channel how many they are.
	SubscriptionCounts bool
	// WebhookURL gets the app's web hooks. If empty, there are none.
	WebhookURL string
	// WebhookEvents are the web hooks that are sent. If empty, all but client_event,
	// cache_miss and subscription_count.
	WebhookEvents []string
}

// app is an App that runs.
type app struct {
	App
	connections atomic.Int64
	hooks       *webhook.Sender // nil without WebhookURL
}

// AppSettings describes the fields of App.
func AppSettings() settings.Table { return appSettings }

var appSettings = settings.Table{
	{Field: "ID", Help: "ID of the app in the addresses of the HTTP API"},
	{Field: "Key", Help: "Key that clients connect with"},
	{Field: "Secret", Help: "Secret that signs"},
	{Field: "MaxConnections", Min: 0, Max: 1 << 30, Zero: "no limit but --max-connections", Unit: "connections",
		Help: "Connections of the app on one server; further ones are turned away with code 4004"},
	{Field: "ClientEvents", Help: "Let clients send events to each other in private and presence channels"},
	{Field: "ClientEventRate", Default: 10, Min: 1, Max: 1_000_000, Unit: "events a second",
		Help: "Client events of one connection a second"},
	{Field: "EventMaxBytes", Default: 10 << 10, Min: 1, Max: 64 << 20, Unit: "bytes",
		Help: "Data of an event; more is refused with 413"},
	{Field: "PresenceMaxMembers", Default: 100, Min: 1, Max: 20_000, Unit: "users",
		Help: "Users in a presence channel"},
	{Field: "PresenceMaxBytes", Default: 2 << 10, Min: 1, Max: 1 << 20, Unit: "bytes",
		Help: "What presence shows of a user"},
	{Field: "SubscriptionCounts", Help: "Tell the subscribers of a channel how many they are"},
	{Field: "WebhookURL", Help: "POST the app's web hooks to this URL"},
	{Field: "WebhookEvents", Help: "Web hooks that are sent"},
}

// appName is the name of an App in errors.
const appName = "pusher: App"

// validate returns a *settings.FieldError for each field that is wrong of an App with
// defaults.
func (a *App) validate() error {
	errs := appSettings.Check(appName, a)
	bad := func(field string, value any, want string) {
		errs = append(errs, &settings.FieldError{Config: appName, Item: a.ID, Field: field, Value: value, Want: want})
	}
	if !validWord(a.ID) {
		bad("ID", a.ID, "1 to 64 letters, digits, - and _")
	}
	if !validWord(a.Key) {
		bad("Key", a.Key, "1 to 64 letters, digits, - and _")
	}
	if a.Secret == "" {
		bad("Secret", "", "a secret: nobody else may know it")
	}
	if u, err := url.Parse(a.WebhookURL); a.WebhookURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("WebhookURL", "not a URL", "https://host/path")
	}
	for _, e := range a.WebhookEvents {
		if _, known := hookKinds[e]; !known {
			bad("WebhookEvents", e, hookNames)
		}
	}
	for _, err := range errs {
		if field, ok := err.(*settings.FieldError); ok {
			field.Item = a.ID
		}
	}
	return errors.Join(errs...)
}

// validWord reports whether text can be an app's ID or key.
func validWord(text string) bool {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// sign returns the signature of text: HMAC-SHA256, in hexadecimal digits.
func (a *App) sign(text string) string {
	h := hmac.New(sha256.New, []byte(a.Secret))
	_, _ = h.Write([]byte(text)) // never fails
	return hex.EncodeToString(h.Sum(nil))
}

// signed reports whether a signature is that of text. It takes as long for a wrong one.
func (a *App) signed(text, signature string) bool {
	return hmac.Equal([]byte(a.sign(text)), []byte(signature))
}

// authorized reports whether auth, KEY:SIGNATURE, is that of text.
func (a *App) authorized(text, auth string) bool {
	want := a.Key + ":" + a.sign(text)
	return hmac.Equal([]byte(want), []byte(auth))
}

// checkApps refuses apps that cannot be told apart.
func checkApps(apps []App) error {
	var errs []error
	ids, keys := map[string]bool{}, map[string]bool{}
	for i := range apps {
		a := &apps[i]
		errs = append(errs, a.validate())
		if ids[a.ID] {
			errs = append(errs, &settings.FieldError{Config: appName, Item: a.ID, Field: "ID", Value: a.ID, Want: "each ID once"})
		}
		if keys[a.Key] {
			errs = append(errs, &settings.FieldError{Config: appName, Item: a.ID, Field: "Key", Value: a.Key, Want: "each key once"})
		}
		ids[a.ID], keys[a.Key] = true, true
	}
	if len(apps) == 0 {
		errs = append(errs, fmt.Errorf("pusher: no app: want at least one with ID, Key and Secret"))
	}
	return errors.Join(errs...)
}
