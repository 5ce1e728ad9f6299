// Package engineio is Engine.IO 4 without what lies above it: how clients of Socket.IO
// open a connection, poll, upgrade to a WebSocket and show that they are there.
//
// A client that polls is a connection without a socket (shard.Mailboxes): it has a
// heartbeat, limits and subscriptions as a WebSocket has. When it upgrades, that moves to
// its WebSocket as it is.
//
//	packet.go   packets, payloads, the query
//	engine.go   the protocol's part of a server: opening, probe, upgrade
//	conn.go     one client
//	table.go    the clients of a loop
package engineio
