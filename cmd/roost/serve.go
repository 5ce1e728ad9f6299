package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/roostws/roost/internal/procs"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// Run serves until a signal or the server's own end.
func (s *ServeCmd) Run(out streams) error {
	logger, lines := newLogger(out.err, s.LogLevel, s.LogFormat)
	defer lines.flush()
	return s.run(logger)
}

func (s *ServeCmd) run(logger *slog.Logger) error {
	// Signals are caught before the first client can come: one that follows
	// the start-up line is always handled gracefully.
	signals := catchSignals()
	defer signals.stop()
	s.setGCPercent()
	if !s.AdminPprof {
		// Its table of call sites is 1.4 MiB, touched here and there: a storm of ten
		// thousand clients with tokens cost 24 bytes for each of them.
		runtime.MemProfileRate = 0
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
	var adminListener net.Listener
	var adminShared bool
	if s.AdminAddr != "" {
		if adminListener, adminShared, err = s.AdminFlags.listen(activated, s.ReusePort); err != nil {
			return explainStart("--admin-addr", err)
		}
		defer adminListener.Close()
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
	if asked, fit := s.Limits.MaxConnections, config.Limits.MaxConnections; asked > fit {
		logger.Warn("the descriptor limit leaves room for fewer connections than --max-connections",
			"asked", asked, "max_connections", fit, "nofile", nofile, "to_have_them_all", moreDescriptors(asked))
	}
	if config.Engine.Loops == 0 {
		config.Engine.Loops = procs.Own()
	}
	var reload reloaders
	if s.TLSCert != "" {
		cert, err := loadCertificate(s.TLSCert, s.TLSKey, logger)
		if err != nil {
			return usagef("--tls-cert, --tls-key: %w", err)
		}
		config.TLS = cert.config()
		if s.TLSClientCA != "" {
			if err := demandClients(config.TLS, s.TLSClientCA, s.TLSClientAll); err != nil {
				return usagef("--tls-client-ca: %w", err)
			}
		}
		reload = append(reload, cert.reload)
	}
	if err := s.BrokerFlags.configure(&config, logger); err != nil {
		return err
	}
	verifier, err := s.NativeFlags.configure(&config, s.SocketIO, logger)
	if err != nil {
		return err
	}
	if verifier != nil {
		defer verifier.Close()
		config.Stats = append(config.Stats, verifier.Counters)
		reload.add(logger, "token keys", func() error { return s.NativeFlags.reload(verifier) })
	}
	hooks, err := s.WebhookFlags.configure(&config, logger)
	if err != nil {
		return err
	}
	defer hooks.end()
	if hooks.sender != nil || hooks.asker != nil {
		reload.add(logger, "webhook secrets", func() error { return s.WebhookFlags.reload(hooks) })
	}
	chosen := s.behaviour()
	chosen.Configure(&config)
	s.SocketIOFlags.configure(&config, s.Native || s.Demo, s.WebhookFlags.tells(protocol.EventCalled))
	apps, err := s.PusherFlags.configure(&config, logger)
	if err != nil {
		return err
	}
	if apps != nil {
		defer endHooks(apps, logger)
		if s.PusherAPI != "public" {
			s.AdminFlags.apps = apps
		}
	}

	srv, err := server.New(config)
	if err != nil {
		return err
	}
	admin, err := s.AdminFlags.open(srv, adminListener, adminShared, s.shutdownTime(), logger)
	if err != nil {
		return err
	}
	defer admin.close()
	if s.APIKeysFile != "" {
		reload.add(logger, "API keys", admin.load)
	}
	chosen.Begin(srv, admin.addr())
	if err := srv.Start(); err != nil {
		return explainStart("--addr", err)
	}
	running, stop := context.WithCancel(context.Background())
	defer stop()
	go chosen.Run(running)
	go keepMemory(running, func() uint64 { return uint64(srv.Stats().Get("accepted")) })
	s.announce(logger, srv, admin, chosen, nofile)
	if err := tellSystemd("READY=1"); err != nil {
		logger.Warn("systemd cannot be told that the server is ready", "err", err)
	}

	for {
		select {
		case sig := <-signals.c:
			switch sig {
			case syscall.SIGTERM, syscall.SIGINT:
				return s.shutdown(srv, admin, hooks, logger, sig, signals.c)
			case syscall.SIGHUP:
				reload.all(logger)
			default:
				logger.Info("the signal has no meaning here", "signal", sig.String())
			}
		case <-admin.drains():
			return s.shutdown(srv, admin, hooks, logger, nil, signals.c)
		case <-srv.Done():
			hooks.flush()
			return fmt.Errorf("the event loops have ended by themselves: %w", srv.Err())
		}
	}
}

// announce logs the start-up line, and what a first user wants to know.
func (s *ServeCmd) announce(logger *slog.Logger, srv *server.Server, admin *adminPort, chosen behaviour, nofile uint64) {
	config := srv.Config()
	attrs := []any{"addr", strings.Join(addrs(srv), ",")}
	if admin != nil {
		attrs = append(attrs, "admin_addr", admin.addr())
	}
	name := chosen.Name()
	if s.Native {
		name += " and native protocol"
	}
	if len(s.PusherApps) > 0 {
		name += " and Pusher"
	}
	if s.SocketIO {
		name += " and Socket.IO"
	}
	name = strings.TrimPrefix(name, "none (messages are ignored) and ")
	attrs = append(attrs, "behaviour", name, "engine", config.Engine.Driver.Name(), "loops", config.Engine.Loops,
		"nofile", nofile, "max_connections", config.Limits.MaxConnections, "version", version())
	logger.Info("roost serves", attrs...)
	if s.Demo {
		logger.Info("open it in a browser", "page", page(srv))
	}
	if len(s.Addr) == 0 && len(s.TLSAddr) == 0 {
		logger.Info("only this machine can connect: --addr :8080 lets others in")
	}
}

// repeatedSignal is how soon a second signal of one kind belongs to the first:
// timeout(1), shells and container runtimes send it to the process and to its
// group. Tests change it.
var repeatedSignal = 500 * time.Millisecond

// shutdown closes the clients, and sends the last events to the application. It takes
// shutdownTime at most; a second signal ends it at once. sig is nil if roost drain asked
// for it.
func (s *ServeCmd) shutdown(srv *server.Server, admin *adminPort, hooks *webhooks, logger *slog.Logger, sig os.Signal, again <-chan os.Signal) error {
	first := time.Now()
	state, reason := "STOPPING=1", "roost drain"
	if s.DrainDelay+s.DrainOver > 0 {
		state += fmt.Sprintf("\nEXTEND_TIMEOUT_USEC=%d", (s.shutdownTime() + 5*time.Second).Microseconds())
	}
	_ = tellSystemd(state) // the end shows it as well
	if sig != nil {
		reason = sig.String()
	}
	logger.Info("shutting down", "signal", reason, "connections", srv.Stats().Get("connections"), "drain_delay", s.DrainDelay, "drain_over", s.DrainOver, "timeout", s.ShutdownTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), s.shutdownTime())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		err := srv.Shutdown(ctx)
		hooks.flush()
		ended <- err
	}()
	admin.leave()
	for {
		select {
		case err := <-ended:
			if err != nil {
				// The deadline was asked for, and it was kept.
				logger.Warn("some clients did not close in time", "err", err)
			}
			logger.Info("shut down")
			return nil
		case second := <-again:
			if second != syscall.SIGTERM && second != syscall.SIGINT || second == sig && time.Since(first) < repeatedSignal {
				continue
			}
			logger.Warn("ended at once by a second signal", "signal", second.String())
			return exitCode(128 + int(second.(syscall.Signal)))
		}
	}
}

// shutdownTime is the longest time from the first signal to the end.
func (s *ServeCmd) shutdownTime() time.Duration {
	return s.DrainDelay + s.DrainOver + s.ShutdownTimeout
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

// explainStart adds what to do to errors of listening that are common. flag is
// the one that names the address.
func explainStart(flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %w\nAnother program listens there. Choose another %[1]s, or end that program (ss -ltnp names it)", flag, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: %w\nPorts below 1024 need root, or: setcap cap_net_bind_service=+ep $(command -v roost)", flag, err)
	}
	return err
}
