package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"github.com/roostws/roost/internal/procs"
	"github.com/roostws/roost/server"
)

// Run serves until a signal or the server's own end.
func (s *ServeCmd) Run(out streams) error {
	logger := newLogger(out.err, s.LogLevel, s.LogFormat)
	if percent := s.gcPercent(); percent > 0 {
		debug.SetGCPercent(percent)
	}
	nofile, err := raiseNofile()
	if err != nil {
		return err
	}
	config := s.config(logger)
	activated, err := systemdSockets()
	if err != nil {
		return err
	}
	if config.Listen, err = activated.resolve("--addr", config.Listen); err != nil {
		return err
	}
	if config.ListenTLS, err = activated.resolve("--tls-addr", config.ListenTLS); err != nil {
		return err
	}
	if config.Limits.MaxConnections, err = fitConnections(s.Limits.MaxConnections, nofile); err != nil {
		return err
	}
	if config.Loops == 0 {
		config.Loops = procs.Own()
	}
	reload := make(chan os.Signal, 1)
	var cert *certificate
	if s.TLSCert != "" {
		if cert, err = loadCertificate(s.TLSCert, s.TLSKey, logger); err != nil {
			return usagef("--tls-cert, --tls-key: %w", err)
		}
		config.TLS = cert.config()
		if s.TLSClientCA != "" {
			if err := demandClients(config.TLS, s.TLSClientCA, s.TLSClientAll); err != nil {
				return usagef("--tls-client-ca: %w", err)
			}
		}
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)
	}
	chosen := s.behaviour()
	chosen.configure(&config)
	endNative, err := s.NativeFlags.configure(&config, logger)
	if err != nil {
		return err
	}
	defer endNative()
	hooks, err := s.WebhookFlags.configure(&config, logger)
	if err != nil {
		return err
	}
	defer hooks.end()

	// Signals are caught before the first client can come: one that follows
	// the start-up line always finds the graceful way.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	srv, err := server.New(config)
	if err != nil {
		return err
	}
	admin, err := s.AdminFlags.open(srv, s.moreStats(hooks), logger)
	if err != nil {
		return err
	}
	defer admin.close()
	chosen.begin(srv)
	if err := srv.Start(); err != nil {
		return explainStart(err)
	}
	running, stop := context.WithCancel(context.Background())
	defer stop()
	go chosen.run(running)
	go keepMemory(running, func() uint64 { return uint64(srv.Stats().Get("accepted")) })
	logger.Info("roost serves",
		"addr", strings.Join(addrs(srv), ","),
		"admin_addr", admin.addr(),
		"behaviour", chosen.name(),
		"engine", srv.Config().Engine.Name(),
		"loops", config.Loops,
		"nofile", nofile,
		"max_connections", config.Limits.MaxConnections,
		"version", version())
	if err := tellSystemd("READY=1"); err != nil {
		logger.Warn("systemd could not be told", "err", err)
	}
	if s.Demo {
		logger.Info("open it in two windows", "page", page(srv))
	}

	for {
		select {
		case <-reload:
			cert.reload()
		case sig := <-signals:
			_ = tellSystemd("STOPPING=1") // the end shows it as well
			admin.end()
			return s.shutdown(srv, hooks, logger, sig, signals)
		case <-srv.Done():
			hooks.flush()
			return fmt.Errorf("the event loops have ended by themselves: %w", srv.Err())
		}
	}
}

// moreStats are the counters that /v1/stats has beside the server's.
func (s *ServeCmd) moreStats(hooks *webhooks) map[string]func() any {
	stats := map[string]func() any{}
	if v := s.verifier; v != nil {
		stats["token"] = func() any { return v.Stats() }
	}
	if hooks.sender != nil {
		stats["webhook"] = func() any { return hooks.sender.Stats() }
	}
	if hooks.asker != nil {
		stats["ask"] = func() any { return hooks.asker.Stats() }
	}
	return stats
}

// shutdown says goodbye to the clients, at most for ShutdownTimeout, and tells
// the application; a second signal ends it at once.
func (s *ServeCmd) shutdown(srv *server.Server, hooks *webhooks, logger *slog.Logger, sig os.Signal, again <-chan os.Signal) error {
	before := srv.Stats()
	logger.Info("shutting down", "signal", sig.String(), "connections", before.Get("connections"), "timeout", s.ShutdownTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), s.ShutdownTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := srv.Shutdown(ctx)
		hooks.flush()
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			// The deadline was asked for, and it was kept.
			logger.Warn("some clients did not say goodbye in time", "err", err)
		}
		logger.Info("shut down")
		return nil
	case second := <-again:
		logger.Warn("ended at once by a second signal", "signal", second.String())
		if number, ok := second.(syscall.Signal); ok {
			return exitCode(128 + int(number))
		}
		return exitCode(exitFailed)
	}
}

func newLogger(w io.Writer, level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// addrs are the listeners' addresses, as --addr takes them.
func addrs(srv *server.Server) []string {
	var list []string
	for _, a := range srv.Addrs() {
		if a.Network() == "unix" {
			list = append(list, "unix:"+a.String())
		} else {
			list = append(list, a.String())
		}
	}
	return list
}

// page is where a browser on this machine finds the first TCP listener.
func page(srv *server.Server) string {
	plain := len(srv.Config().Listen)
	for i, a := range srv.Addrs() {
		scheme := "http://"
		if i >= plain {
			scheme = "https://"
		}
		if tcp, ok := a.(*net.TCPAddr); ok {
			host := "localhost"
			if !tcp.IP.IsUnspecified() {
				host = tcp.IP.String()
			}
			return scheme + net.JoinHostPort(host, strconv.Itoa(tcp.Port)) + "/"
		}
	}
	return "(no TCP address)"
}

// explainStart adds what to do to the errors that everybody meets.
func explainStart(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w\nAnother program listens there. Choose another --addr, or end that program (ss -ltnp tells which it is)", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w\nPorts below 1024 need root, or: setcap cap_net_bind_service=+ep $(command -v roost)", err)
	}
	return err
}
