// Package pusher is the Pusher Channels protocol, version 7, and the HTTP API and web
// hooks that go with it: client libraries and back ends that were written for Pusher talk
// to Roost as they are.
//
//	app.go        apps: key, secret, limits
//	server.go     Server: the protocol's part of a server.Server
//	codec.go      what is published, as the clients of an app see it
//	names.go      channels of an app are channels of the server
//	packet.go     messages of clients, and messages to one of them
//	conn.go       one connection: opening, messages, end
//	subscribe.go  channels of all kinds, signatures
//	roll.go       who is in a presence channel, on all servers
//	user.go       pusher:signin
//	counts.go     subscription counts
//	api.go        the HTTP API: routes, signatures, errors
//	events.go     its POST events and batch_events
//	query.go      its questions about channels and users
//	hooks.go      web hooks
package pusher
