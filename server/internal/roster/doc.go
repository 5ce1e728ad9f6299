// Package roster lets the subscribers of a channel know who joins and leaves it on other
// nodes, where the channel's namespace has join and leave.
//
//	roster.go   Roster: this node's members, and how changes of them are sent
//	others.go   the members on other nodes, and what the subscribers are told of them
//	ask.go      asking other nodes for what is not known
//	wire.go     how it is written, as JSON
//
// # How it works
//
// Each node numbers the changes of its own members. It sends a change to the nodes that
// have attached the channel, through the broker and without a place in the channel's order;
// changes that come while some are under way go together with the next ones. A node that
// receives changes keeps the members of each other node, as of a version. Changes that do
// not follow that version show that some are missing: the node then asks for the whole list,
// as it does when it attaches a channel, also after an interruption, and when a node comes.
// Whatever is lost on the way, what the lists differ in is told: each join and leave that a
// client has not been told of, once. So a client that keeps a list by presence, join and
// leave has the right one again.
//
// When a node goes, its members leave. They are known, so nothing has to be asked.
//
// What is kept is bounded by the namespace's bound for join and leave: members of larger
// channels are told to nobody, and are not kept.
package roster
