package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// A logger is a slog.Logger as the NATS server wants one. What it does is for its own people;
// what goes wrong is ours to say.
type logger struct {
	to *slog.Logger

	mu sync.Mutex
	// Guarded by mu.
	problem string
	died    string // why the server does not start
}

func (l *logger) log(level slog.Level, format string, v []any) {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	if level >= slog.LevelError {
		l.mu.Lock()
		l.problem = text
		l.mu.Unlock()
	}
	l.to.Log(context.Background(), level, "nats server", "message", text)
}

// last returns the last error.
func (l *logger) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem
}

// fatal returns why the server does not start, or nothing.
func (l *logger) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.died
}

// Fatalf takes the error with which the server gives up starting. The server does not say so
// in any other way.
func (l *logger) Fatalf(format string, v ...any) {
	l.log(slog.LevelError, format, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.died = l.problem
}

// Warnf logs a warning, but for the one about passwords: ours are random, or from a file.
func (l *logger) Warnf(format string, v ...any) {
	if !strings.HasPrefix(format, "Plaintext passwords") {
		l.log(slog.LevelWarn, format, v)
	}
}

func (l *logger) Noticef(format string, v ...any) { l.log(slog.LevelDebug, format, v) }
func (l *logger) Errorf(format string, v ...any)  { l.log(slog.LevelError, format, v) }
func (l *logger) Debugf(string, ...any)           {}
func (l *logger) Tracef(string, ...any)           {}
