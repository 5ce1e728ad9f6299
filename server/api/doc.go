// Package api is the publish API: HTTP and JSON, for the application's back end
// and for operators. docs/api.md shows every endpoint with a request and its
// answer, openapi.json says the same to programs.
//
// The handler belongs on the admin port, not on the port of the clients. Without
// keys it is open to whoever can reach it, under a loopback host name only; a
// listener beyond loopback needs Config.Keys, which whoever listens must see to.
//
// A request goes through Handler.serve: cross-site requests are refused, then
// keys.go says who asks and what for, then one function answers. An answer other
// than 2xx is a Problem, and problem.go maps every error to one. decode.go reads
// request bodies without reflection: publishing is the one request that has to be cheap.
package api
