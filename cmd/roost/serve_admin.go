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
	"strings"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/api"
	"github.com/roostws/roost/server/metrics"
	"github.com/roostws/roost/web"
)

// AdminFlags are those of roost serve for the admin port.
type AdminFlags struct {
	AdminAddr           string `group:"admin" help:"Address of the admin port, with the publish API (docs/api.md): host:port, or a port alone for 127.0.0.1. Beyond loopback it needs --api-keys-file. Without it there is no admin port." placeholder:"ADDR"`
	APIKeysFile         string `name:"api-keys-file" group:"admin" help:"Who may use it: lines of name, scopes and key. Read again on SIGHUP." placeholder:"FILE"`
	AdminPprof          bool   `group:"admin" help:"Serve Go's profiles there, under /debug/pprof/."`
	PublishBodyMaxBytes int    `group:"admin"`
	BatchMaxItems       int    `group:"admin"`
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
	http     http.Server

	// Atomic: any goroutine.
	handler atomic.Pointer[http.Handler] // replaced when keys are read again
	ending  atomic.Bool
}

// open listens and answers. Until srv runs, the answer is that it does not.
func (f *AdminFlags) open(srv *server.Server, logger *slog.Logger) (*adminPort, error) {
	if f.AdminAddr == "" {
		return nil, nil
	}
	a := &adminPort{flags: f, srv: srv, logger: logger}
	a.metrics = metrics.New(srv, map[string]string{"version": version(), "engine": srv.Config().Engine.Driver.Name()})
	if err := a.load(); err != nil {
		return nil, err
	}
	addr, err := adminAddr(f.AdminAddr)
	if err != nil {
		return nil, usageError{err}
	}
	if a.listener, err = net.Listen("tcp", addr); err != nil {
		return nil, explainStart("--admin-addr", err)
	}
	if tcp, ok := a.listener.Addr().(*net.TCPAddr); f.APIKeysFile == "" && (!ok || !tcp.IP.IsLoopback()) {
		a.listener.Close()
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
		if err := a.http.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
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
	if a.flags.AdminPprof {
		for path, profile := range map[string]http.HandlerFunc{
			"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
			"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
		} {
			mux.Handle(path, handler.Require(api.ScopeDebug, profile))
		}
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

// healthy responds to GET /healthz: a load balancer stops sending clients here
// when the end has begun.
func (a *adminPort) healthy() error {
	select {
	case <-a.srv.Done():
		return server.ErrServerClosed
	default:
	}
	if a.ending.Load() {
		return errors.New("the server is shutting down")
	}
	return nil
}

// ready responds to GET /readyz: the server has started, is healthy, and so is its broker.
func (a *adminPort) ready() error {
	if err := a.healthy(); err != nil {
		return err
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

// end lets /healthz tell that the end has begun.
func (a *adminPort) end() {
	if a != nil {
		a.ending.Store(true)
	}
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
