// Package hub gives published messages their order, keeps the recent ones, and
// hands them to the inboxes of the shards.
//
//	hub.go          Hub: the settings, stripes and inboxes; publishing
//	message.go      Message, shared by all shards and by its channel's history
//	history.go      History: the ring of a channel's last messages
//	reader.go       Reader: a place in a history from which a connection reads on
//	query.go        answering a Query; where a channel stands; resuming
//	reset.go        Reset: a channel goes on in another epoch
//	tally.go        Tally: what shards count for a publisher that wants a receipt
//	repetitions.go  idempotency keys
//
// # Order
//
// Channels are spread over 64 stripes by a hash of their names. A publication
// holds its stripe's lock while the message gets its offset, goes into the
// history and then into every inbox, so the offsets, the histories and all
// inboxes agree on one order, and nothing has to go round the loops. The lock is
// the only one on the path, the rest of which does not allocate.
//
// The hub knows shards as a list of [Inbox], which tests replace by fakes.
//
// # Epochs
//
// Each history has an epoch. A channel of which nothing is kept has no history
// and takes no memory: its name hashes to one of 4,096 floors, each the highest
// offset that a forgotten history had there, and the next history begins behind
// the floor, with an epoch made of the process's random part and the floor. A
// forgotten history raises its floor, so a channel that comes back never has an
// epoch that it had before, nor an offset that its subscribers have passed.
//
// A connection that is subscribed while its channel is silent may have been told
// an epoch that another channel's end has replaced since. It learns the right one
// from the first message of the new history ([Message.Begins]), and nothing is
// missing between the two.
//
// # Where a broker plugs in
//
// Today the hub itself orders messages, in memory. A broker outside of the
// process takes over exactly what happens in Hub.publish before the message
// goes into the history:
//
//   - Publish sends the message away instead of numbering it, and returns without
//     a position; Position comes later, as Tally does.
//   - What the broker delivers, in order and with positions, goes to Hub.deliver
//     under the stripe's lock: the history and the inboxes do not know who
//     numbered it. A message at or below the tip is a repetition and is left out;
//     a hole is filled from the broker before anything behind it is delivered.
//   - Hub.Occupy reports a channel's first subscriber and the end of the last one:
//     the interest that a broker subscribes by.
//   - Resume and Query answer from the history if it covers the position, as
//     today. If it does not, the subscription waits ("recovering") while the
//     broker is asked.
//   - The broker's epoch replaces the hub's. If it changes while connections are
//     subscribed and a hole may lie between, they are told to load their state
//     anew; the offsets that shards compare ([History]) must then begin again
//     above those that they have, as floors see to today.
//
// There is no interface for that yet: one that has no second implementation would
// be a guess. The hub does all of it without a call more than it needs.
package hub
