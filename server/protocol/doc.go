// Package protocol is what clients may do, whatever protocol they speak:
// connect with a token, subscribe with resume, publish, ask for presence and
// history, call the application. A protocol adds a Codec, which translates bytes
// into Commands, and Results and pushes into bytes; every rule is here.
//
// For applications:
//
//	application.go   what the application decides and answers
//	access.go        rules of namespaces, permissions of clients
//	error.go         errors that clients are told
//	event.go         what happened
//
// For protocols:
//
//	codec.go         Codec, Packets, Ending
//	command.go       Command
//	result.go        Result and pushes
//
// The server's part, one Sessions for each event loop:
//
//	sessions.go      what is remembered of a connection, deadlines
//	waiting.go       questions to the application, commands that wait meanwhile
//	task.go          one command: decoded, admitted, carried out, explained
//	connect.go, channels.go, commands.go   the commands
//	grants.go        subscriptions of the application that clients may resume
//	host.go          what the sessions need of the server
//
// Package protocol/native is the codec of the native protocol.
package protocol
