// Command socketio is a chat with rooms for unchanged clients of Socket.IO 4:
//
//	import { io } from "socket.io-client";
//	const socket = io("http://localhost:8080");
//	socket.emit("join", "kitchen", () => socket.emit("say", "kitchen", "tea?"));
//	socket.on("said", (room, who, text) => console.log(room, who, text));
package main

import (
	"flag"
	"log/slog"
	"os"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/socketio"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))

	io := socketio.New(socketio.Options{})
	chat := io.Of("/")
	// A handler of the namespace costs a socket nothing.
	chat.On("join", func(s *socketio.Socket, e *socketio.Event) {
		_ = s.Join(e.Arg(0).String())
		_ = e.Ack()
	})
	chat.On("say", func(s *socketio.Socket, e *socketio.Event) {
		room := e.Arg(0).String()
		_ = s.To(room).Emit("said", room, s.ID(), e.Arg(1)) // all but the sender
	})
	chat.OnConnection(func(s *socketio.Socket) {
		s.OnDisconnect(func(reason string) { logger.Info("a client is gone", "id", s.ID(), "reason", reason) })
	})

	cfg := server.Config{
		Listen: []string{*addr}, Logger: logger,
		Handshake: server.Handshake{Origins: []string{"*"}}, // for a try from any page
	}
	io.Configure(&cfg)
	srv, err := server.New(cfg)
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		logger.Error("no server", "err", err)
		os.Exit(1)
	}
	logger.Info("socketio", "addr", srv.Addrs()[0].String())
	<-srv.Done()
}
