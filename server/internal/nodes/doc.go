// Package nodes lets the servers on one broker know each other, tell each other something,
// and ask each other questions. The broker needs nothing new for that: what nodes say to
// each other are messages without history in channels of their own, whose names begin with
// a zero byte, so that none of them is a client's.
//
//	nodes.go     Nodes: Tell, Ask, Handle, All
//	lease.go     who is there: beats, leases, goodbyes
//	receive.go   what arrives: the seam to the broker, the queue, the handlers
//	wire.go      how it is written: a header in JSON, and a body, cut into parts
//
// # Leases
//
// Each node says every 3 s that it is there: one publication, whatever the number of its
// clients. A node that was silent for 10 s is gone. These 10 s are counted in time during
// which this node hears itself: while the broker is away, or this process stands still,
// nobody's lease runs out.
//
// # Order
//
// What one node tells another keeps its order, and so does what it tells to all; the one
// and the other are not ordered against each other. A question is worked on after what was
// told before it in the same way. What is lost (broker away, queue full) is counted and
// not repeated: a handler that needs a whole picture asks for it when a node comes up.
//
// # Versions
//
// A header has a version, which is raised only where an older node must not even try to
// read what comes. Members that a node does not know are ignored; a kind of question that
// it does not know is answered so, and counts as missing.
package nodes
