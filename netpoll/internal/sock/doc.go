// Package sock holds what the engines of package netpoll do with descriptors
// outside of an event loop: opening listeners, accepting, setting options, the
// system calls of the data path, the doorbell that interrupts a wait, and the
// spare descriptors for refusing clients when the process has no other left.
//
// What differs between systems is in file pairs with the same list of
// functions: listen_linux.go and listen_bsd.go, sys_linux.go and sys_bsd.go.
package sock
