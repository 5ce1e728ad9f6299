// Package socketio lets clients of Socket.IO 4 (protocol 5, over Engine.IO 4) connect to
// a server as they are: over WebSockets, or polling and then upgrading.
//
//	io := socketio.New(socketio.Options{})
//	io.OnConnection(func(s *socketio.Socket) {
//		s.Join("everybody")
//		s.On("message", func(e *socketio.Event) {
//			s.To("everybody").Emit("message", e.Values()...)
//			e.Ack("done")
//		})
//	})
//	cfg := server.Config{Listen: []string{":8080"}}
//	io.Configure(&cfg)
//	srv, err := server.New(cfg)
//
// Handlers run on the event loops, in the order of a client's messages, and must not
// block; what takes time goes to a goroutine, and all methods of Socket, Namespace and
// Event may be called there.
//
// A namespace and each of its rooms are channels of the server: the namespace /chat is
// "io:/chat", its room a is "io:/chat#a". What is published there in another way, by the
// publish API for instance, is an event if it is a JSON array that begins with a name.
//
//	packet.go     packets on the wire
//	value.go      arguments, and binary data in them
//	server.go     Server, Namespace: the application's side
//	socket.go     Socket, Event
//	client.go     what a client says
//	broadcast.go  who gets an event
//	id.go         the IDs of sockets
//	recovery.go   clients that come back
//	codec.go      how a publication looks to clients
package socketio
