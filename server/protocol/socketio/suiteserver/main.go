// Suiteserver is what the test suites of Engine.IO and Socket.IO expect of a server: see
// scripts/socketio.sh.
package main

import (
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/engineio"
	"github.com/roostws/roost/server/protocol/socketio"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address")
	engine := flag.Bool("engine", false, "Engine.IO alone, which echoes")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	// The suite sleeps for 300 + 200 ms and looks whether the session is gone: it has to
	// be by then, whatever the ticks of the loops add.
	options := engineio.Options{Path: "/engine.io/", PingInterval: 300 * time.Millisecond, PingTimeout: 200 * time.Millisecond}
	cfg := server.Config{
		Listen: []string{*addr}, Logger: logger,
		Limits:      server.Limits{MessageMaxBytes: 1_000_000},
		Timeouts:    server.Timeouts{PingInterval: 150 * time.Millisecond, PongTimeout: 150 * time.Millisecond},
		Handshake:   server.Handshake{Origins: []string{"*"}},
		Application: &protocol.Application{},
	}
	if *engine {
		cfg.Application.Protocols = []protocol.Codec{engineio.NewEchoProtocol(options)}
	}
	if !*engine {
		io := socketio.New(socketio.Options{PingInterval: options.PingInterval, PingTimeout: options.PingTimeout, ConnectTimeout: time.Second})
		connected := func(s *socketio.Socket) {
			_ = s.Emit("auth", s.Handshake().Auth)
			s.On("message", func(e *socketio.Event) { _ = s.Emit("message-back", e.Values()...) })
			s.On("message-with-ack", func(e *socketio.Event) { _ = e.Ack(e.Values()...) })
		}
		io.OnConnection(connected)
		io.Of("/custom").OnConnection(connected)
		io.Configure(&cfg)
	}
	srv, err := server.New(cfg)
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		logger.Error("no start", "err", err)
		os.Exit(1)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	_ = srv.Close()
}
