// Package api is the publish API: HTTP and JSON, for the application's back end
// and for operators. docs/api.md shows every endpoint with a request and its
// answer, openapi.json says the same to programs.
//
// The handler belongs on the admin port, not on the port of the clients. Without keys
// it serves every program that can reach it under a loopback host name; the program that
// opens a listener beyond loopback has to set Config.Keys.
//
// A request goes through Handler.serve: cross-site requests are refused, then keys.go
// finds the key and checks its scope, then one function per route does the work. A
// response other than 2xx is a Problem; problem.go maps every error to one. decode.go
// reads request bodies without reflection: publishing is the one request that has to be
// cheap.
package api
