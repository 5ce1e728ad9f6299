// Package netpolltest has [FakeLoop], a loop without a kernel that keeps the
// promises of package netpoll: a test drives it by hand on one goroutine, and a
// seed decides how it misbehaves within the contract. The tests of this package
// hold the fake loop and every engine to the contract: contract*_test.go.
package netpolltest
