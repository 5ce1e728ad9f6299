// Package protocol is what clients may do, whatever protocol they speak:
// connect with a token, subscribe with resume, publish, ask for presence and
// history, call the application.
//
//	application.go   what the application decides and answers
//	access.go        rules of namespaces, permissions of clients
//	error.go         errors that clients are told
//
// Package protocol/native is the codec of the native protocol.
package protocol
