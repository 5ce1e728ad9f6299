// Package hub gives published messages their order, keeps the recent ones, and
// hands them to the inboxes of the shards.
//
//	hub.go          Hub: the settings, stripes and inboxes; publishing
//	audience.go     which shards a publication concerns
//	message.go      Message, shared by all shards and by its channel's history
//	history.go      History: the ring of a channel's last messages
//	reader.go       Reader: a place in a history from which a connection reads on
//	query.go        answering a Query; where a channel stands; resuming
//	mirror.go       a channel of a broker
//	pages.go        reads of a broker, as many at a time as there is room for
//	remote.go       the hub beside its broker: publications on their way
//	reset.go        Reset: a channel goes on in another epoch
//	tally.go        Tally: what shards count for a publisher that wants a receipt
//	repetitions.go  idempotency keys
//
// # Order
//
// Channels are spread over 64 stripes by a hash of their names. A publication
// holds its stripe's lock while the message gets its offset, goes into the
// history and then into the inbox of each shard that it concerns, so the offsets, the histories and all
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
// # With a broker
//
// Without a broker the hub numbers the messages, in memory. With one (Config.Broker) it is
// a window on the broker's order (mirror.go):
//
//   - Publish sends the message away, and its position comes later. What the broker delivers
//     goes into the history and the inboxes under the stripe's lock, as what the hub has
//     numbered does. A message at or below the tip is a repetition and is left out; a hole is
//     read from the broker before anything behind it is delivered.
//   - Interest says which channels this node has subscribers of: those are attached. Want
//     attaches one before the first subscriber comes, so that it can resume.
//   - A channel's history is a mirror of what the broker keeps of it, so resuming, lagging and
//     questions are as without a broker.
//   - If the broker's epoch changes, or a hole cannot be read, subscribers are told (Reset).
//     Who was subscribed before the mirror was there is told, too: its position was one of
//     the hub's own.
package hub
