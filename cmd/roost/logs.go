package main

import (
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// Log lines wait in a queue for a goroutine that writes them, so that a pipe
// that is not read (journald hangs, say) never holds up an event loop.
const (
	logQueueLines = 4096
	// logFlushTimeout limits the wait for the last lines at the end.
	logFlushTimeout = time.Second
)

// logWriter writes lines on a goroutine of its own. Lines that find the queue
// full, and lines that cannot be written, are lost and counted; the next line
// that can be written says how many.
type logWriter struct {
	handler func(io.Writer) slog.Handler
	out     io.Writer
	linec   chan []byte
	endedc  chan struct{}

	// Atomic: any goroutine.
	lost atomic.Uint64
}

// newLogger returns a logger that writes to w, and the writer that its user must
// close.
func newLogger(w io.Writer, level slog.Level, format string) (*slog.Logger, *logWriter) {
	options := &slog.HandlerOptions{Level: level}
	l := &logWriter{out: w, linec: make(chan []byte, logQueueLines), endedc: make(chan struct{})}
	l.handler = func(w io.Writer) slog.Handler {
		if format == "json" {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	go l.run()
	return slog.New(l.handler(l)), l
}

// Write queues one line. It never blocks and never fails. Any goroutine.
func (l *logWriter) Write(line []byte) (int, error) {
	select {
	case l.linec <- append([]byte(nil), line...):
	default:
		l.lost.Add(1)
	}
	return len(line), nil
}

func (l *logWriter) run() {
	defer close(l.endedc)
	for line := range l.linec {
		if line == nil {
			return
		}
		if lost := l.lost.Load(); lost > 0 {
			failed := false
			report := slog.New(l.handler(writerFunc(func(p []byte) (int, error) {
				n, err := l.out.Write(p)
				failed = err != nil
				return n, err
			})))
			if report.Warn("log lines were lost", "lines", lost); !failed {
				l.lost.Add(-lost)
			}
		}
		if _, err := l.out.Write(line); err != nil {
			l.lost.Add(1)
		}
	}
}

// flush waits until the lines of before are written, for logFlushTimeout at most,
// and ends the writer. Later lines are lost.
func (l *logWriter) flush() {
	timeout := time.NewTimer(logFlushTimeout)
	defer timeout.Stop()
	select {
	case l.linec <- nil:
	case <-timeout.C:
		return
	}
	select {
	case <-l.endedc:
	case <-timeout.C:
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
