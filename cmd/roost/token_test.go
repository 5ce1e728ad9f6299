package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testSecret = "a secret of at least thirty-two bytes"

// roost runs a command as a shell does.
func roost(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = run(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// made is the token that roost token makes, alone on standard output.
func made(t *testing.T, args ...string) (token, hint string) {
	t.Helper()
	code, out, errs := roost("", append([]string{"token"}, args...)...)
	if code != exitOK || strings.Count(out, ".") != 2 || strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
		t.Fatalf("roost token %q: exit code %d, %q, %q; want a token", args, code, out, errs)
	}
	return strings.TrimSpace(out), errs
}

func TestTokenIsMadeAndInspected(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "secret", testSecret+"\n")
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	key := writeFile(t, "private.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(private))})))
	public := writeFile(t, "public.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(private.Public()))})))

	claims := []string{"--user", "42", "--channels", "news,team:7", "--allow-subscribe", "chat:*", "--allow-publish", "chat:1",
		"--rate", "5", "--info", `{"name":"Ann"}`, "--issuer", "app", "--audience", "roost", "--kid", "k1", "--expires", "2h"}
	text, hint := made(t, append(claims, "--secret-file", secret)...)
	if !strings.Contains(hint, `a connection of user "42", until 2`) {
		t.Errorf("the hint is %q", hint)
	}
	code, out, errs := roost("", "token", "--inspect", text, "--secret-file", secret)
	if code != exitOK || errs != "valid\n" {
		t.Errorf("inspected: exit code %d, %q", code, errs)
	}
	var shown struct {
		Header struct{ Alg, Kid string }
		Claims map[string]any
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if shown.Header.Alg != "HS256" || shown.Header.Kid != "k1" {
		t.Errorf("the header is %+v", shown.Header)
	}
	issued, _ := shown.Claims["iat"].(float64)
	expires, _ := shown.Claims["exp"].(float64)
	if lasts := time.Duration(expires-issued) * time.Second; lasts != 2*time.Hour || time.Since(time.Unix(int64(issued), 0)) > time.Minute {
		t.Errorf("it was made at %v and lasts %v", issued, lasts)
	}
	delete(shown.Claims, "iat")
	delete(shown.Claims, "exp")
	want := `{"allow":{"publish":["chat:1"],"subscribe":["chat:*"]},"aud":["roost"],"channels":["news","team:7"],"info":{"name":"Ann"},"iss":"app","rate":5,"sub":"42"}`
	if got := string(must(json.Marshal(shown.Claims))); got != want {
		t.Errorf("the claims are %s\nwant %s", got, want)
	}

	// With a key, for a channel, read from standard input.
	text, hint = made(t, "--key", key, "--user", "42", "--channel", "chat:1", "--expires", "0")
	if !strings.Contains(hint, `channel "chat:1" of user "42", for ever`) {
		t.Errorf("the hint is %q", hint)
	}
	for _, file := range []string{key, public} {
		code, out, errs := roost(text+"\n", "token", "--inspect", "-", "--key", file)
		if code != exitOK || errs != "valid\n" || !strings.Contains(out, `"channel": "chat:1"`) || strings.Contains(out, "exp") {
			t.Errorf("inspected with %s: exit code %d, %q, %q", file, code, out, errs)
		}
	}
	if code, _, errs := roost("", "token", "--inspect", text, "--secret-file", secret); code != exitFailed || !strings.Contains(errs, `algorithm is "ES256"`) {
		t.Errorf("inspected with another key: exit code %d, %q", code, errs)
	}
	if code, _, errs := roost("", "token", "--inspect", text, "--key", public, "--issuer", "app"); code != exitFailed || !strings.Contains(errs, `want "app"`) {
		t.Errorf("inspected for another issuer: exit code %d, %q", code, errs)
	}
	if code, out, errs := roost("", "token", "--inspect", text); code != exitOK || !strings.Contains(errs, "not checked") || !strings.Contains(out, "ES256") {
		t.Errorf("inspected without a key: exit code %d, %q, %q", code, out, errs)
	}
}

func TestTokenSecrets(t *testing.T) {
	t.Setenv("ROOST_TOKEN_SECRET", testSecret)
	text, hint := made(t)
	if !strings.Contains(hint, "--anonymous") {
		t.Errorf("the hint for a token without a user is %q", hint)
	}
	// The first line signs, all check.
	rotated := writeFile(t, "secret", "another secret, which has 32 bytes or more\n\n"+testSecret+"\r\n")
	if code, _, errs := roost("", "token", "--inspect", text, "--secret-file", rotated); code != exitOK {
		t.Errorf("the second line does not check: exit code %d, %q", code, errs)
	}
	code, first, _ := roost("", "token", "--new-secret")
	_, second, _ := roost("", "token", "--new-secret")
	if code != exitOK || len(strings.TrimSpace(first)) < 32 || first == second {
		t.Errorf("exit code %d, secrets %q and %q", code, first, second)
	}
}

// What must stay secret is written to a file that only its owner reads.
func TestTokenFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	secret, text := filepath.Join(folder, "secret"), filepath.Join(folder, "token")
	private := func(name string) string {
		info := must(os.Stat(name))
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v, want 0600", name, info.Mode())
		}
		return string(must(os.ReadFile(name)))
	}
	if code, out, errs := roost("", "token", "--new-secret", "--out", secret); code != exitOK || out != "" || errs != "" {
		t.Fatalf("exit code %d, %q, %q", code, out, errs)
	}
	first := private(secret)
	if len(strings.TrimSpace(first)) < 32 {
		t.Errorf("the secret is %q", first)
	}
	// A secret is not replaced, a token is.
	if code, _, errs := roost("", "token", "--new-secret", "--out", secret); code != exitUsage || !strings.Contains(errs, "there already") || private(secret) != first {
		t.Errorf("over another secret: exit code %d, %q", code, errs)
	}
	for _, user := range []string{"1", "2"} {
		if code, out, errs := roost("", "token", "--secret-file", secret, "--user", user, "--out", text); code != exitOK || out != "" {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
		if code, out, _ := roost(private(text), "token", "--inspect", "-", "--secret-file", secret); code != exitOK || !strings.Contains(out, `"sub": "`+user+`"`) {
			t.Errorf("user %s: exit code %d, %s", user, code, out)
		}
	}
	if names := must(os.ReadDir(folder)); len(names) != 2 {
		t.Errorf("it leaves %v", names)
	}
	// With > FILE the shell makes the file.
	for mode, warns := range map[os.FileMode]bool{0o644: true, 0o640: true, 0o600: false} {
		file := must(os.OpenFile(filepath.Join(folder, mode.String()), os.O_CREATE|os.O_WRONLY, mode))
		_ = file.Chmod(mode)
		var errs strings.Builder
		code := run([]string{"token", "--new-secret"}, strings.NewReader(""), file, &errs)
		file.Close()
		if code != exitOK || strings.Contains(errs.String(), "chmod 600") != warns {
			t.Errorf("mode %v: exit code %d, %q; want a warning: %v", mode, code, errs.String(), warns)
		}
	}
}

func TestTokenUsageErrors(t *testing.T) {
	t.Setenv("ROOST_TOKEN_SECRET", "")
	empty := writeFile(t, "empty", "\n \n")
	public := writeFile(t, "public.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})))
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"--secret-file", "--new-secret"}},
		{[]string{"--secret-file", "/nothing/here"}, []string{"--secret-file", "/nothing/here"}},
		{[]string{"--secret-file", empty}, []string{"holds no secret"}},
		{[]string{"--key", "/nothing/here"}, []string{"--key", "/nothing/here"}},
		{[]string{"--key", public}, []string{"--key", "no private key"}},
		{[]string{"--secret", "short"}, []string{"the secret has 5 bytes", "32", "--new-secret"}},
		{[]string{"--inspect", "x", "--out", "token"}, []string{"--out", "--inspect"}},
		{[]string{"--secret", testSecret, "--out", "/nothing/here"}, []string{"--out", "/nothing"}},
		{[]string{"--secret", testSecret, "--expires=-1s"}, []string{"--expires is -1s"}},
		{[]string{"--secret", testSecret, "--rate", "70000"}, []string{"--rate is 70000", "65535"}},
		{[]string{"--secret", testSecret, "--info", "Ann"}, []string{"--info", "JSON"}},
		{[]string{"--secret", testSecret, "--channel", "a", "--channels", "b"}, []string{"--channel makes a token for that channel"}},
		{[]string{"--secret", testSecret, "--user", strings.Repeat("x", 20000)}, []string{"the server takes 16384"}},
		{[]string{"--inspect", "hello"}, []string{"--inspect", "no JWT"}},
		{[]string{"--inspect", "e30.e30.", "--key", public}, []string{"--key", "cannot be read"}},
	} {
		code, out, errs := roost("", append([]string{"token"}, tc.args...)...)
		if code != exitUsage || out != "" && tc.args[0] != "--inspect" {
			t.Errorf("%.100q: exit code %d, %q", tc.args, code, out)
		}
		for _, want := range tc.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%.100q: %q lacks %q", tc.args, errs, want)
			}
		}
		if strings.Contains(errs, testSecret) {
			t.Errorf("%.100q: the secret is told: %q", tc.args, errs)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
