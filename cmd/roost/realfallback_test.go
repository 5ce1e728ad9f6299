//go:build realclients

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fallbackFlags let anybody in and publish to "news:…".
var fallbackFlags = []string{"--addr", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1", "--native", "--anonymous",
	"--namespaces", `[{"name":"news","history-messages":10,"publish":"anyone"}]`}

// pollThrough sends one poll and returns its array and its cursor.
func pollThrough(t *testing.T, ctx context.Context, base, query, commands string) (elements, cursor string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/poll?"+query, strings.NewReader(commands))
	if err != nil {
		t.Fatal(err)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", w.Status, body, err)
	}
	return string(body), w.Header.Get("Last-Event-ID")
}

// fallbacksThrough streams with curl, and polls, through whatever serves at base: each
// event must come before the next is published, so nothing may gather them.
func fallbacksThrough(t *testing.T, base, channel string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "curl", "-sN", base+"/v1/sse?channel="+channel)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewScanner(out)
	id := ""
	event := func(part string) {
		t.Helper()
		for lines.Scan() {
			if value, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = value
			}
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if !strings.Contains(data, part) {
					t.Fatalf("%s: got %s, want %s", base, data, part)
				}
				return
			}
		}
		t.Fatalf("%s: the stream has ended: %v", base, lines.Err())
	}
	event(`"connect"`)
	event(`"subscribe"`)
	for i := range 3 {
		said, _ := pollThrough(t, ctx, base, "", fmt.Sprintf(`{"connect":{}}`+"\n"+`{"id":1,"publish":{"channel":%q,"data":%d}}`, channel, i))
		if !strings.HasPrefix(said, `[{"id":1,"publish":{"epoch":`) {
			t.Fatalf("%s: got %s", base, said)
		}
		event(fmt.Sprintf(`"data":%d}}`, i))
	}

	name, at, _ := strings.Cut(id, "@")
	epoch, offset, _ := strings.Cut(at, ".")
	if name != channel || offset != "3" {
		t.Fatalf("%s: the ID is %s", base, id)
	}
	resume := fmt.Sprintf(`{"connect":{}}`+"\n"+`{"subscribe":{"channel":%q,"resume":{"epoch":%q,"offset":3}}}`, channel, epoch)
	answered := make(chan string, 1)
	go func() {
		said, _ := pollThrough(t, ctx, base, "wait=50", resume)
		answered <- said
	}()
	// Whether it is there before the poll or after, the poll gets it.
	pollThrough(t, ctx, base, "", fmt.Sprintf(`{"connect":{}}`+"\n"+`{"publish":{"channel":%q,"data":"late"}}`, channel))
	if said := <-answered; !strings.HasPrefix(said, `[{"pub":{"channel":"`+channel+`","offset":4,"data":"late"}}`) {
		t.Errorf("%s: got %s", base, said)
	}
}

func TestRealFallbackNginx(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, engine string) {
		p, dir, _ := proxied(t, engine, fallbackFlags...)
		plain, secure := freeAddr(t), freeAddr(t)
		runNginx(t, dir, plain, "http", deployed(t, "nginx/roost.conf", map[string]string{
			// Connections to roost are used again, by other clients; and nginx buffers,
			// as it does unless it is told otherwise.
			`server 127\.0\.0\.1:8080;`:    "server " + p.addr + "; keepalive 4;",
			`proxy_buffering off;`:         "",
			`listen 80;`:                   "listen " + plain + ";",
			`listen 443 ssl;`:              "listen " + secure + " ssl;",
			`/etc/roost/tls/fullchain.pem`: filepath.Join(dir, "roost.pem"),
			`/etc/roost/tls/privkey.pem`:   filepath.Join(dir, "roost.key"),
		}))
		fallbacksThrough(t, "http://"+plain, "news:nginx")
		fallbacksThrough(t, "http://"+p.addr, "news:direct")
	})
}

func TestRealFallbackHAProxy(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, engine string) {
		p, dir, _ := proxied(t, engine, fallbackFlags...)
		plain := freeAddr(t)
		conf := deployed(t, "haproxy/haproxy.cfg", map[string]string{
			`server roost 127\.0\.0\.1:8080`: "server roost " + p.addr,
			`bind :80$`:                      "bind " + plain,
			`(?m)^\s*bind :443 .*$`:          "",
			`bind :8443`:                     "bind " + freeAddr(t),
			`maxconn 100000`:                 "maxconn 100",
		})
		file := filepath.Join(dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		runProgram(t, plain, "haproxy", "-f", file, "-db")
		fallbacksThrough(t, "http://"+plain, "news:haproxy")
	})
}
