// Package roost is the root of Roost, a WebSocket server on event loops for
// very many mostly idle connections, and pushes to them. An application imports
// nothing from here but from:
//
//	server       the library: embed a server in an application
//	client       the Go client of the native protocol: reconnects, resumes
//	cmd/roost    the binary: serve, publish, subscribe, token, bench, doctor
//	frame        RFC 6455's framing as functions on byte slices
//	netpoll      sockets and event loops, and nothing of WebSocket
//	bench        measures any WebSocket server over the wire
//	web          the pages that the binary carries
//
// README.md starts, server's documentation has the map.
package roost
