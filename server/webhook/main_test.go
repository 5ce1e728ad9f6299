package webhook

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roostws/roost/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// The secrets of these tests.
var (
	testSecret = "whsec_" + strings.Repeat("QUJD", 8)
	oldSecret  = "whsec_" + strings.Repeat("eHl6", 8)
)

// received is one request.
type received struct {
	header http.Header
	body   []byte
	batch  Batch
}

// receiver is an application that keeps what it is sent. answer writes its
// response to the n-th request, counted from 0; if nil, a plain 200.
type receiver struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter, r *http.Request)

	mu       sync.Mutex
	requests []received // guarded by mu
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	rec := &receiver{answer: answer}
	rec.Server = httptest.NewServer(rec)
	t.Cleanup(rec.Close)
	return rec
}

func (rec *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	one := received{header: r.Header.Clone(), body: body}
	_ = json.Unmarshal(body, &one.batch) // questions are none
	rec.mu.Lock()
	n := len(rec.requests)
	rec.requests = append(rec.requests, one)
	rec.mu.Unlock()
	if rec.answer != nil {
		rec.answer(n, w, r)
	}
}

// all returns the requests so far.
func (rec *receiver) all() []received {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]received(nil), rec.requests...)
}

// waitFor polls until done, for much longer than a loaded machine needs.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// logBuffer is a log to look at.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
