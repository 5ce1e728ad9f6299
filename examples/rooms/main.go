// Command rooms is a chat with rooms: a client says "join NAME", "leave NAME",
// or "NAME: text", and every client in the room gets "NAME: text".
//
// It shows what the 25 lines of examples/embed leave out: a blocking check of
// the client before the upgrade, channels, and a graceful end.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/roostws/roost/server"
)

func main() {
	addr := flag.String("addr", ":8080", "address to listen on")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))

	s, err := server.New(server.Config{
		Listen:  []string{*addr},
		Logger:  logger,
		Handler: server.Handler{Authorize: authorize, Message: message},
		// A client that types faster than this is not a person.
		Limits: server.Limits{MessageRate: 20},
	})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		logger.Error("no server", "err", err)
		os.Exit(1)
	}
	logger.Info("rooms", "addr", s.Addrs()[0].String())

	signals, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-signals.Done()
	// Every client gets a Close frame, and five seconds to reply.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		logger.Warn("some clients did not answer", "err", err)
	}
}

// authorize runs on a goroutine of its own, so it may ask a database.
func authorize(_ context.Context, r *server.UpgradeRequest) error {
	name, found := strings.CutPrefix(r.RawQuery(), "name=")
	if !found || name == "" {
		return &server.Rejection{Status: 401, Reason: "say who you are: ?name=anna"}
	}
	r.User = name
	r.Channels = []string{"lobby"}
	return nil
}

// message runs on an event loop and must not block.
func message(m *server.Message) {
	text := string(m.Payload)
	var err error
	if room, found := strings.CutPrefix(text, "join "); found {
		err = m.Conn().Join(room)
	} else if room, found := strings.CutPrefix(text, "leave "); found {
		err = m.Conn().Leave(room)
	} else if room, _, found := strings.Cut(text, ": "); found {
		err = m.Publish(room, server.Text, m.Payload)
	} else {
		err = errors.New(`say "join NAME", "leave NAME" or "NAME: text"`)
	}
	if err != nil {
		m.Reply(server.Text, []byte(err.Error()))
	}
}
