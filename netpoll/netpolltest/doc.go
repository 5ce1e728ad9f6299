// Package netpolltest tests the promises of package netpoll: [TestContract] is
// the test that every engine passes. [FakeLoop] is a loop without a kernel that
// keeps the same promises; a test drives it by hand on one goroutine, and a seed
// decides how it misbehaves within the contract.
//
// Files: contract*.go are the contract test, fake*.go the fake loop.
package netpolltest
