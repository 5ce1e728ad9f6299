// Package netpolltest holds what keeps the promises of package netpoll honest:
// [TestContract], the one test that every engine passes, and [FakeLoop], a loop
// without a kernel that keeps the same promises, is driven by hand on one
// goroutine, and misbehaves within the contract as a seed tells it to.
//
// Files: contract*.go are the contract test, fake*.go the fake loop.
package netpolltest
