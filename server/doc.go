// Package server holds very many WebSocket connections on a few event loops
// and pushes to them.
//
//	s, err := server.New(server.Config{
//		Listen:  []string{":8080"},
//		Handler: server.Handler{Message: func(m *server.Message) { m.Reply(m.Type, m.Payload) }},
//	})
//	err = s.Start()
//
// # The map
//
//	            kernel                one event loop = one shard                  any goroutine
//	client ──► socket ──► netpoll.Loop ──► head, frames ──► shard ◄── inbox ◄── Server.Publish, Conn.Send
//	client ◄── socket ◄── Loop.Write   ◄── one write per subscriber and turn ◄── a frame encoded once
//
// Package netpoll owns sockets and loops, package frame knows RFC 6455 as
// functions on bytes, server/internal/handshake the HTTP request before it.
// server/internal/shard puts them together: one Shard per loop owns its
// connections, its part of each channel's subscribers, and its deadlines, and
// except where noted only the loop's goroutine touches it. This package is the
// public face: Config, Server, Conn, and the callbacks of Handler.
//
// For notifications there are channels with history (Config.Namespaces), receipts
// (Server.PublishMessage), questions (History, Presence, Channels, Connections),
// what happened (Config.Events), and a protocol with tokens and resume for clients
// (Config.Application, docs/protocol.md), which server/protocol carries out and
// server/protocol/native reads and writes. Package history has the types of
// Server.History, package token checks JSON Web Tokens, package webhook tells and asks
// an application over HTTP, package api is the publish API. What is promised is in
// docs/guarantees.md.
//
// # Goroutines
//
//   - One for each loop. Everything that happens to a connection happens on
//     its loop: decoding, callbacks, fan-out, deadlines.
//   - A few for Authorize calls, functions of the Application and plain HTTP
//     requests; more while these block, at most Limits.AuthorizeMaxPending.
//   - Nothing else. An idle connection has no goroutine, no timer, no buffer.
//
// The only way into a shard from elsewhere is its inbox: ordered, bounded, one
// wake-up for any number of entries. Conn and Server methods put notes there.
//
// # Delivery
//
// A publish puts a reference to one encoded frame into the inbox of each loop,
// under a lock for its channel, so that every subscriber on every loop sees
// the channel's messages in the same order. A loop that is busy finds several:
// what gathered for a channel goes to each subscriber as one write. An idle
// server adds no delay, a saturated one sends many messages with one system
// call; there is nothing to tune. A fan-out pauses after 512 writes so that the
// sockets have their turn.
//
// A client whose socket is full gets nothing written until it has drained, and
// no queue grows for it: it keeps one number, the place in its loop's journal
// to go on from. The journal keeps what was published, once for all clients that lag,
// as long as one does, at most Limits.LagMaxBytes. A client that lags by more is a
// slow consumer: disconnected with 1013, or left without some messages, as
// Limits.SlowConsumer says, and counted either way. What is meant for one client
// alone (replies, Conn.Send) waits in its own queue of Limits.PendingMaxBytes; a
// client that does not read its own replies is not read either. A client that
// publishes faster than the loops deliver is not read until they have caught up
// (Message.Publish); publishers in the process get ErrBusy.
//
// On Linux a slice of a fan-out is one system call, through io_uring, where the
// system allows that.
//
// # Bytes per idle connection
//
// The budget, designed from the kernel's 3.8 KB a socket downwards: user space
// shall be small beside that. All of it is in tables without pointers, outside
// the Go heap or in large chunks, so the garbage collector has nothing to do
// per connection and adds no headroom.
//
//	 12  netpoll's epoll engine: descriptor, generation, interest
//	 44  shard.slot: state, identity, subscriptions, ages
//	  4  its deadline
//	 20  each subscription: 12 for the connection's list, 8 in the channel's
//	~40  an identity of its own: 16 in the table of users, some 6 of index, the name
//	---
//	 60  upgraded; 120 with an identity and one subscription
//
// A half-received frame or message, waiting output, and a closing handshake are
// rare, and cost only the connections that have them (shard.ext).
package server
