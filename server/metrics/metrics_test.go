package metrics

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/token"
	"github.com/roostws/roost/server/webhook"
)

func TestNameOf(t *testing.T) {
	for _, test := range []struct {
		name string
		kind counters.Kind
		want string
	}{
		{"connections", counters.Gauge, "roost_connections"},
		{"delivered", counters.Total, "roost_delivered_total"},
		{"pending_bytes", counters.Gauge, "roost_pending_bytes"},
		{"bytes_received", counters.Total, "roost_received_bytes_total"},
		{"message_bytes_received", counters.Total, "roost_message_received_bytes_total"},
	} {
		if got := nameOf(counters.Info{Name: test.name, Kind: test.kind}); got != test.want {
			t.Errorf("nameOf(%s) = %s, want %s", test.name, got, test.want)
		}
	}
}

// newServer returns a server with all the parts that have counters of their own.
func newServer(t *testing.T) *server.Server {
	t.Helper()
	tokens, err := token.New(token.Config{Secrets: [][]byte{[]byte(strings.Repeat("s", token.SecretMinBytes))}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	secrets := []string{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))}
	asker, err := webhook.NewAsker(webhook.AskerConfig{URL: "http://127.0.0.1:1/", Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(asker.Close)
	sender, err := webhook.NewSender(webhook.SenderConfig{URL: "http://127.0.0.1:1/", Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close(t.Context()) })
	srv, err := server.New(server.Config{
		Listen: []string{"127.0.0.1:0"}, Stats: []func() server.Stats{tokens.Counters, asker.Counters, sender.Counters},
	})
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

// A scrape shows the whole table with today's values, and nothing that Prometheus'
// own linter would mind.
func TestScrape(t *testing.T) {
	srv := newServer(t)
	err := srv.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	// One request that is refused: it is counted, and its connection has ended.
	c, err := net.Dial("tcp", srv.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	for srv.Stats().Get("handshakes_refused") == 0 {
		time.Sleep(time.Millisecond) // the loop shows it at the end of its callback
	}
	handler := New(srv, map[string]string{"version": "v1", "engine": "epoll"})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{
		`roost_build_info{engine="epoll",version="v1"} 1`, "roost_accepted_total 1\n", "roost_handshakes_refused_total 1\n",
		"# TYPE roost_connections gauge\n", "# TYPE roost_turn_seconds histogram\n", `roost_publish_seconds_bucket{le="+Inf"} 0`,
		"roost_token_jwks_keys 0\n", "roost_ask_questions_total 0\n", "roost_webhook_sent_connected_total 0\n", "# TYPE roost_webhook_queued_bytes gauge\n",
		`roost_loop_connections{loop="0"} 0`, `roost_loop_delivered_total{loop="0"} 0`, `roost_loop_inbox_entries{loop="0"} 0`,
		"# HELP roost_stalled Connections with output waiting for a full socket.\n", "process_cpu_seconds_total ", "go_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the scrape lacks %q", want)
		}
	}
	seen := map[string]bool{}
	for _, stat := range srv.Stats() {
		if seen[stat.Name] {
			t.Errorf("two counters are called %s", stat.Name)
		}
		seen[stat.Name] = true
		if !strings.Contains(body, "\n"+nameOf(stat.Info)+" ") {
			t.Errorf("the scrape lacks %s", nameOf(stat.Info))
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	problems = slices.DeleteFunc(problems, func(p promlint.Problem) bool { return strings.HasPrefix(p.Metric, "go_") })
	if len(problems) > 0 {
		t.Errorf("promlint: %v", problems)
	}
}

// Dashboard and alert rules ask for metrics that there are.
func TestDeployFiles(t *testing.T) {
	srv := newServer(t)
	if err := srv.Start(); err != nil { // before that it has no loops
		t.Fatal(err)
	}
	defer srv.Close()
	w := httptest.NewRecorder()
	New(srv, nil).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	known := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^[a-z]\w*`).FindAllString(w.Body.String(), -1) {
		known[line] = true
	}
	for _, file := range []string{"../../deploy/grafana/roost.json", "../../deploy/prometheus/alerts.yml", "../../docs/metrics.md", "../../docs/operate.md", "../../web/dashboard/figures.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(text) {
			t.Errorf("%s is not JSON", file)
		}
		names := regexp.MustCompile(`\b(roost|process|go)_\w*[a-z]\b`).FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !known[name] && !known[name+"_count"] && name != "process_open_fds" {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
}
