package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestPayloadRoundTrip(t *testing.T) {
	for _, size := range []int{MinPayloadBytes, MinPayloadBytes + 1, 128, 4096, 70000, MaxPayloadBytes} {
		m := message{stream: publishStream | 7, seq: 1<<47 + 12345, sentNs: 1<<60 + 99}
		p := appendPayload([]byte("kept "), m, size, size%2 == 0)
		if len(p) != size+5 || string(p[:5]) != "kept " {
			t.Fatalf("payload of %d bytes has %d", size, len(p)-5)
		}
		for _, envelope := range []string{"", `{"data":"`} {
			got, err := parsePayload(append([]byte(envelope), append(bytes.Clone(p[5:]), `"}`...)...))
			if err != nil || got != m {
				t.Errorf("parsePayload(%d bytes in %q) = %+v, %v, want %+v", size, envelope, got, err, m)
			}
		}
	}
}

// Whatever byte changes, it is noticed.
func TestPayloadDamage(t *testing.T) {
	p := appendPayload(nil, message{stream: 3, seq: 4, sentNs: 5}, 96, false)
	for i := range p {
		damaged := bytes.Clone(p)
		damaged[i] ^= 1
		if _, err := parsePayload(damaged); err == nil {
			t.Errorf("byte %d changed and was not noticed", i)
		}
	}
	for n := range len(p) {
		if _, err := parsePayload(p[:n]); err == nil {
			t.Errorf("cut to %d bytes and was not noticed", n)
		}
	}
	if _, err := parsePayload([]byte(`{"type":"welcome"}`)); err != errNoPayload {
		t.Errorf("parsePayload of a greeting: %v, want %v", err, errNoPayload)
	}
	for _, json := range []bool{false, true} {
		a := appendPayload(nil, message{seq: 1}, 128, json)
		b := appendPayload(nil, message{seq: 2}, 128, json)
		if bytes.Equal(a[payloadHead:120], b[payloadHead:120]) {
			t.Errorf("two messages have the same filler (like JSON: %v): a mixed-up buffer would not show", json)
		}
	}
}

func TestUpgradeCheck(t *testing.T) {
	good := "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: " +
		acceptKey(upgradeKey(7)) + "\r\n\r\n"
	for _, offered := range []bool{false, true} {
		if n, compressed, err := checkUpgradeResponse([]byte(good+"rest"), 7, offered); n != len(good) || compressed || err != nil {
			t.Errorf("good response: %d, %v, %v, want %d", n, compressed, err, len(good))
		}
	}
	deflate := good[:len(good)-2] + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n"
	if n, compressed, err := checkUpgradeResponse([]byte(deflate), 7, true); n != len(deflate) || !compressed || err != nil {
		t.Errorf("compression accepted: %d, %v, %v, want %d", n, compressed, err, len(deflate))
	}
	takeover := strings.Replace(deflate, "; server_no_context_takeover", "", 1)
	if _, _, err := checkUpgradeResponse([]byte(takeover), 7, true); err == nil {
		t.Error("compression with context takeover was not offered, and taken")
	}
	for n := range len(good) {
		if got, _, err := checkUpgradeResponse([]byte(good[:n]), 7, false); got != 0 || err != nil {
			t.Fatalf("%d bytes of a response: %d, %v, want 0, nil", n, got, err)
		}
	}
	for name, response := range map[string]string{
		"another's key": good[:len(good)-4-28] + acceptKey(upgradeKey(8)) + "\r\n\r\n",
		"refused":       "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n",
		"no upgrade":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
		"extension":     good[:len(good)-2] + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	} {
		if _, _, err := checkUpgradeResponse([]byte(response), 7, false); err == nil {
			t.Errorf("%s: taken for an upgrade", name)
		}
	}
	// RFC 6455, section 1.3.
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("acceptKey = %s", got)
	}
}

func TestPerConn(t *testing.T) {
	pc, err := newPerConn(`{"type":"join","channel":"c{{.N}}"}`, tokens{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pc.expand(12); got != `{"type":"join","channel":"c12"}` || err != nil {
		t.Errorf("expand(12) = %s, %v", got, err)
	}
	for _, bad := range []string{"{{.Nope}}", "{{"} {
		if _, err := newPerConn(bad, tokens{}); err == nil {
			t.Errorf("template %q was accepted", bad)
		}
	}
}

func TestSplitURL(t *testing.T) {
	for _, tc := range []struct {
		url, to, host, name, path string
		secure                    bool
	}{
		{"ws://127.0.0.1:8080/ws?user=u{{.N}}", "127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1", "/ws?user=u{{.N}}", false},
		{"ws://[::1]", "[::1]:80", "[::1]", "::1", "/", false},
		{"wss://[::1]", "[::1]:443", "[::1]", "::1", "/", true},
		{"wss://127.0.0.1:8443/a", "127.0.0.1:8443", "127.0.0.1:8443", "127.0.0.1", "/a", true},
	} {
		e, err := splitURL(tc.url)
		want := endpoint{netip.MustParseAddrPort(tc.to), tc.host, tc.name, tc.path, tc.secure}
		if err != nil || e != want {
			t.Errorf("splitURL(%q) = %+v, %v, want %+v", tc.url, e, err, want)
		}
	}
	// An error names what to type.
	for bad, want := range map[string]string{
		"ws://127.0.0.1:99999/": "port", "::": "ws://::", "ws://": "ws://HOST", "ws://:9000/": "ws://HOST",
		"127.0.0.1:9000":         "type ws://127.0.0.1:9000, or wss://127.0.0.1:9000 for TLS",
		"localhost:9000/a":       "type ws://localhost:9000/a, or wss://localhost:9000/a",
		"example.com":            "type ws://example.com",
		"http://127.0.0.1:9000/": "type ws://127.0.0.1:9000/, or wss://127.0.0.1:9000/",
	} {
		if _, err := splitURL(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("splitURL(%q) = %v, want an error with %q", bad, err, want)
		}
	}
	cfg := &BroadcastConfig{PublishURL: "127.0.0.1:9001/publish"}
	if _, err := newHTTPPublisher(cfg); err == nil || !strings.Contains(err.Error(), "type http://127.0.0.1:9001/publish") {
		t.Errorf("a publish URL without a scheme: %v", err)
	}
}

// Each connection's token has a user and an expiry of its own, and is signed
// with the first line of the secret file.
func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("0123456789abcdef0123456789abcdef\nanother\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Native: `a "channel" {{.N}}`, TokenSecretFile: file, TokenUserPrefix: "u", TokenLifetime: time.Minute}
	signer, err := o.tokens()
	if err != nil {
		t.Fatal(err)
	}
	if replies := o.native(); replies != 2 || len(o.Subscribe) != 2 || o.Headers[0] != "Sec-WebSocket-Protocol: roost.v1.json" {
		t.Fatalf("native = %d, headers %q, messages %q", replies, o.Headers, o.Subscribe)
	}
	expiries := make(map[int64]bool)
	for n := range 3 {
		connect, err := newPerConn(o.Subscribe[0], signer)
		if err != nil {
			t.Fatal(err)
		}
		text, err := connect.expand(n)
		if err != nil {
			t.Fatal(err)
		}
		var command struct{ Connect struct{ Token string } }
		if err := json.Unmarshal([]byte(text), &command); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var claims jwt.RegisteredClaims
		if _, err := jwt.ParseWithClaims(command.Connect.Token, &claims, func(*jwt.Token) (any, error) {
			return []byte("0123456789abcdef0123456789abcdef"), nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("u%d", n); claims.Subject != want {
			t.Errorf("user %q, want %q", claims.Subject, want)
		}
		expiries[claims.ExpiresAt.Unix()] = true
	}
	if len(expiries) != 3 {
		t.Errorf("%d expiries for three tokens", len(expiries))
	}
	subscribe, err := newPerConn(o.Subscribe[1], signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := subscribe.expand(7); got != `{"id":2,"subscribe":{"channel":"a \"channel\" 7"}}` {
		t.Errorf("subscribe = %s", got)
	}
	for name, bad := range map[string]Options{
		"no secret": {TokenUserPrefix: "u"}, "no file": {TokenSecretFile: "/nonexistent"}, "an empty file": {TokenSecretFile: os.DevNull},
	} {
		if _, err := bad.tokens(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := newPerConn("{{.Token}}", tokens{}); err == nil {
		t.Error("{{.Token}} without a secret was accepted")
	}
}

func TestTrust(t *testing.T) {
	for _, file := range []string{"/nonexistent", "payload_test.go"} {
		if _, err := (&Options{CAFile: file}).trust(); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("CA file %s: %v, want an error that names it", file, err)
		}
	}
}
