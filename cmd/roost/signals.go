package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// signals are those that roost serve handles.
type signals struct{ c chan os.Signal }

// catchSignals takes the signals over that would end or stop a server which did
// not ask for it. SIGQUIT still ends it with a dump of all goroutines, and SIGTSTP
// (Ctrl-Z) stops it: both are only sent on purpose.
func catchSignals() signals {
	// A terminal that stops background output, and a limit on the size of files,
	// cost log lines and not the server. (SIGPIPE is ignored in main.)
	signal.Ignore(syscall.SIGTTOU, syscall.SIGTTIN, syscall.SIGXFSZ)
	s := signals{make(chan os.Signal, 16)}
	signal.Notify(s.c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM)
	return s
}

func (s signals) stop() {
	signal.Stop(s.c)
	signal.Reset(syscall.SIGTTOU, syscall.SIGTTIN, syscall.SIGXFSZ)
}

// reloaders read files again, on SIGHUP.
type reloaders []func()

// add appends a reloader that logs its outcome. A file that is wrong changes
// nothing.
func (r *reloaders) add(logger *slog.Logger, what string, read func() error) {
	*r = append(*r, func() {
		if err := read(); err != nil {
			logger.Error("the "+what+" stay as they were", "err", err)
			return
		}
		logger.Info("the " + what + " were read again")
	})
}

func (r reloaders) all(logger *slog.Logger) {
	if len(r) == 0 {
		logger.Info("SIGHUP: there are no files to read again")
	}
	for _, reload := range r {
		reload()
	}
}
