package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/api"
	"github.com/roostws/roost/server/metrics"
	"github.com/roostws/roost/web"
)

// AdminFlags are those of roost serve for the admin port.
type AdminFlags struct {
	AdminAddr           string `group:"admin" help:"Address of the admin port, with the publish API (docs/api.md): host:port, a port alone for 127.0.0.1, or systemd:NAME. Beyond loopback it needs --api-keys-file. Without it there is no admin port." placeholder:"ADDR"`
	APIKeysFile         string `name:"api-keys-file" group:"admin" help:"Who may use it: lines of name, scopes and key. Read again on SIGHUP." placeholder:"FILE"`
	AdminPprof          bool   `group:"admin" help:"Serve Go's profiles there, under /debug/pprof/."`
	PublishBodyMaxBytes int    `group:"admin"`
	BatchMaxItems       int    `group:"admin"`

	apps http.Handler // the HTTP API of the apps of Pusher; nil: not here
}

// check is called by the command line's parser.
func (f *AdminFlags) check() error {
	switch {
	case f.AdminAddr == "" && (f.APIKeysFile != "" || f.AdminPprof):
		return errors.New("--api-keys-file and --admin-pprof are about the admin port: add --admin-addr 127.0.0.1:8081")
	case f.AdminAddr == "":
		return nil
	}
	if _, err := adminAddr(f.AdminAddr); err != nil {
		return err
	}
	return nil
}

// adminAddr is what to listen on: without a host, loopback.
func adminAddr(text string) (string, error) {
	if name, _, _ := strings.Cut(text, ":"); name == "systemd" {
		return text, nil
	}
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf("--admin-addr %q: want host:port, or a port: %w", text, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// adminPort is the admin port of a server; nil where there is none.
type adminPort struct {
	flags    *AdminFlags
	srv      *server.Server
	logger   *slog.Logger
	metrics  http.Handler
	listener net.Listener
	shared   bool // another process may listen there, too
	within   time.Duration
	http     http.Server

	// Atomic: any goroutine.
	handler atomic.Pointer[http.Handler] // replaced when keys are read again
	drain   chan struct{}                // gets a value when roost drain asks for the end
}

// listen opens the listener. shared reports whether another process may have it, too.
func (f *AdminFlags) listen(activated *activation, reusePort bool) (l net.Listener, shared bool, err error) {
	addr, err := adminAddr(f.AdminAddr)
	if err != nil {
		return nil, false, usageError{err}
	}
	addrs, err := activated.resolve("--admin-addr", []string{addr})
	if err != nil {
		return nil, false, err
	}
	if len(addrs) != 1 {
		return nil, false, usagef("--admin-addr %s: systemd has opened %d such sockets, want one", f.AdminAddr, len(addrs))
	}
	if text, ok := strings.CutPrefix(addrs[0], "fd:"); ok {
		fd, _ := strconv.Atoi(text) // resolve has made it
		file := os.NewFile(uintptr(fd), f.AdminAddr)
		defer file.Close()
		l, err = net.FileListener(file)
		return l, true, err
	}
	config := net.ListenConfig{}
	if reusePort {
		config.Control = func(_, _ string, conn syscall.RawConn) (err error) {
			if controlErr := conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); controlErr != nil {
				return controlErr
			}
			return err
		}
	}
	l, err = config.Listen(context.Background(), "tcp", addrs[0])
	return l, reusePort, err
}

// open answers on l. Until srv runs, the answer is that it does not. within is the
// longest time that the server takes to end.
func (f *AdminFlags) open(srv *server.Server, l net.Listener, shared bool, within time.Duration, logger *slog.Logger) (*adminPort, error) {
	if f.AdminAddr == "" {
		return nil, nil
	}
	a := &adminPort{flags: f, srv: srv, logger: logger, listener: l, shared: shared, within: within, drain: make(chan struct{}, 1)}
	a.metrics = metrics.New(srv, map[string]string{"version": version(), "engine": srv.Config().Engine.Driver.Name()})
	if err := a.load(); err != nil {
		return nil, err
	}
	if tcp, ok := a.listener.Addr().(*net.TCPAddr); f.APIKeysFile == "" && (!ok || !tcp.IP.IsLoopback()) {
		return nil, usagef("--admin-addr %s can be reached from other machines, and nothing keeps them out: add --api-keys-file, or use 127.0.0.1", f.AdminAddr)
	}
	a.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*a.handler.Load()).ServeHTTP(w, r) }),
		// A slow sender holds a goroutine and a buffer, no more and no longer.
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute + api.WaitMax,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := a.http.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) && !srv.Stopping() {
			logger.Error("the admin port has ended by itself", "err", err)
		}
	}()
	return a, nil
}

// load reads the keys and puts the handler together.
func (a *adminPort) load() error {
	config := api.Config{
		PublishBodyMaxBytes: a.flags.PublishBodyMaxBytes,
		BatchMaxItems:       a.flags.BatchMaxItems,
		Healthy:             a.healthy,
		Ready:               a.ready,
		Logger:              a.logger,
	}
	if a.flags.APIKeysFile != "" {
		var err error
		if config.Keys, err = readKeys(a.flags.APIKeysFile, a.logger); err != nil {
			return usagef("--api-keys-file: %w", err)
		}
	}
	handler, err := api.New(a.srv, config)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle("/dashboard/", http.StripPrefix("/dashboard", web.Dashboard()))
	mux.Handle("GET /{$}", http.RedirectHandler("/dashboard/", http.StatusSeeOther))
	mux.Handle("GET /metrics", handler.Require(api.ScopeStats, a.metrics))
	mux.Handle("POST /drain", handler.Require(api.ScopeDrain, http.HandlerFunc(a.beginDrain)))
	if a.flags.AdminPprof {
		for path, profile := range map[string]http.HandlerFunc{
			"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
			"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
		} {
			mux.Handle(path, handler.Require(api.ScopeDebug, profile))
		}
	}
	if a.flags.apps != nil {
		mux.Handle("/apps/", a.flags.apps) // its requests are signed
	}
	var whole http.Handler = mux
	a.handler.Store(&whole)
	return nil
}

func readKeys(name string, logger *slog.Logger) ([]api.Key, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Mode().Perm()&0o004 != 0 {
		logger.Warn("everybody on this machine may read the API keys: chmod o-r", "file", name)
	}
	keys, err := api.ParseKeys(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}

// healthy responds to GET /healthz: whether the server lives. It does while it drains,
// so that no supervisor kills it then.
func (a *adminPort) healthy() error {
	select {
	case <-a.srv.Done():
		return server.ErrServerClosed
	default:
	}
	return nil
}

// ready responds to GET /readyz: the server has started, is healthy and not to stop, and
// its broker is healthy.
func (a *adminPort) ready() error {
	if err := a.healthy(); err != nil {
		return err
	}
	if a.srv.Stopping() {
		return errors.New("the server is shutting down")
	}
	if len(a.srv.Addrs()) == 0 {
		return errors.New("the server has not started yet")
	}
	health, _ := a.srv.BrokerHealth()
	what, err := "publishing", health.Publishing
	switch {
	case err == nil && health.Receiving == nil:
		return nil
	case err == nil:
		what, err = "receiving", health.Receiving
	case health.Receiving != nil:
		what = "publishing and receiving"
	}
	return fmt.Errorf("the broker has failed for %v: %s: %w", time.Since(health.Since).Round(time.Second), what, err)
}

// addr is for the start-up line.
func (a *adminPort) addr() string {
	if a == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// leave leaves a listener that is shared to the next process: what is asked there is not
// about this one any more.
func (a *adminPort) leave() {
	if a != nil && a.shared {
		_ = a.listener.Close()
	}
}

// drains gets a value when roost drain asks for the end; nil without an admin port.
func (a *adminPort) drains() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.drain
}

// close lets requests under way have their answers, and ends.
func (a *adminPort) close() {
	if a == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.http.Shutdown(ctx) != nil {
		_ = a.http.Close() // a stream goes on for as long as its client likes
	}
}
