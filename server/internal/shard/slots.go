package shard

import (
	"fmt"
	"time"

	"github.com/roostws/roost/internal/offheap"
	"github.com/roostws/roost/server/internal/wire"
)

// state is where a connection stands. It moves to the right only:
//
//	           ┌──────► plain ────────┐
//	           │                      ▼
//	proxy ► tls ► head ► authorizing ► flushing ► gone
//	                │        │         ▲
//	                └────────┴► open ► closing
//
//	a poll, a plain request:  open, plain ► answered ► kept ► head
//
// A plain request for a fallback opens a connection, too (plain ► open, authorizing),
// and that of a poll goes on with another request under another ID, as after a plain
// request. proxy and tls are for listeners that ask for them, authorizing is for upgrades
// that the application decides on elsewhere, and flushing is skipped if no output
// waits. Every state may also end at once (gone). setState is the only writer and
// legal is the diagram in full.
type state uint8

const (
	// stateFree: no connection in this slot.
	stateFree state = iota
	// stateProxy: waiting for a trusted balancer's PROXY header. Left by that
	// header, by bytes that are not one, or by the handshake deadline.
	stateProxy
	// stateTLS: a TLS handshake waits for its first bytes, or for its turn, or runs
	// on a goroutine of its own. Left by doneTLS or the handshake deadline.
	stateTLS
	// stateHead: reading the HTTP request head. Left by its end, an error, or the
	// handshake deadline.
	stateHead
	// stateAuthorizing: Hooks.Upgrade has set Upgrade.Later; reading is paused. Left
	// by Shard.Authorized (opAuthorized) or the handshake deadline.
	stateAuthorizing
	// statePlain: a plain HTTP request waits for the rest of its body, or for its
	// response from Shard.Respond (opRespond). Left by that or the handshake
	// deadline.
	statePlain
	// stateOpen: a WebSocket connection. Messages flow both ways.
	stateOpen
	// stateClosing: our Close frame is written or waits to be; the peer's is awaited
	// and its data is dropped (RFC 6455, section 7.1.1). Left by the peer's Close
	// frame or the close deadline.
	stateClosing
	// stateFlushing: the last bytes wait until the socket has room; input is dropped.
	// Left by OnWritable or the close deadline.
	stateFlushing
	// stateAnswered: the response of a poll, or of Config.HTTP to a client that wants
	// its connection to go on, is written or waits to be. Left by renew, for the next
	// request, or the close deadline.
	stateAnswered
	// stateKept: the connection has had a request, and the next one has not begun. Left
	// by its first bytes, or after keepAlive.
	stateKept
	// stateGone: the engine was told to close the connection; only OnClose follows.
	stateGone
)

// legal has a bit for each state that may follow a state. From any state OnClose
// frees the row.
var legal = [...]uint16{
	stateFree:        1<<stateProxy | 1<<stateTLS | 1<<stateHead,
	stateProxy:       1<<stateTLS | 1<<stateHead | 1<<stateFlushing | 1<<stateGone,
	stateTLS:         1<<stateHead | 1<<stateFlushing | 1<<stateGone,
	stateHead:        1<<stateAuthorizing | 1<<statePlain | 1<<stateOpen | 1<<stateFlushing | 1<<stateGone,
	stateAuthorizing: 1<<stateOpen | 1<<statePlain | 1<<stateFlushing | 1<<stateGone,
	statePlain:       1<<statePlain | 1<<stateAuthorizing | 1<<stateOpen | 1<<stateAnswered | 1<<stateFlushing | 1<<stateGone,
	stateOpen:        1<<stateClosing | 1<<stateAnswered | 1<<stateFlushing | 1<<stateGone,
	stateClosing:     1<<stateAnswered | 1<<stateFlushing | 1<<stateGone,
	stateFlushing:    1<<stateFlushing | 1<<stateGone,
	stateKept:        1<<stateHead | 1<<stateFlushing | 1<<stateGone,
	stateAnswered:    1<<stateKept | 1<<stateFlushing | 1<<stateGone,
	stateGone:        0,
}

// checkStates makes setState panic on a transition that is not legal. Tests set
// it; a server in production serves on.
var checkStates = false

// setState moves the connection to another state.
func (c conn) setState(to state) {
	if checkStates && legal[c.state]&(1<<to) == 0 {
		panic(fmt.Sprintf("shard: connection %v: illegal transition from state %d to %d", c.id, c.state, to))
	}
	c.slot.state = to
}

// Flags of a slot. All 16 bits are in use. The next one has room in the byte of state,
// of which four bits are free, or in that of a flag that no open connection has:
// flagRefused, flagHEAD, flagPlaced.
const (
	// flagAwaitsPong: pinged, nothing arrived yet.
	flagAwaitsPong uint16 = 1 << iota
	// flagStalled: the socket is full; ext.pending holds what waits.
	flagStalled
	// flagLagging: something that was published is still to be read from the
	// journal (ext.lagJob).
	flagLagging
	// flagPausedOutput, flagPausedRate, flagPausedPublish, flagPausedWork,
	// flagPausedTurn: reasons why the connection is not read: it does not read what we
	// send; it used up its message rate; what it published must reach the others
	// first; Authorize or an HTTP handler is at work; the others have their turn.
	flagPausedOutput
	flagPausedRate
	flagPausedPublish
	flagPausedWork
	flagPausedTurn
	// flagRefused: accepted beyond MaxConnections, to be told 503.
	flagRefused
	// flagTLS: the bytes on the socket are TLS records (ext.tls).
	flagTLS
	// flagOpened: Hooks.Open was called, so Hooks.Closed is due.
	flagOpened
	// flagUnready: it speaks a protocol in which it has not connected yet: nothing is
	// published to it.
	flagUnready
	// flagHeartbeat: a heartbeat of ours waits for the answer.
	flagHeartbeat
	// flagHEAD: its request is HEAD, so that the response has no content.
	flagHEAD
	// flagPlaced: it counts against HandshakesMax.
	flagPlaced
	// flagLeaving: it is to be closed behind what was published before.
	flagLeaving

	flagsPaused = flagPausedOutput | flagPausedRate | flagPausedPublish | flagPausedWork | flagPausedTurn
)

// slotTable is the connections' rows, by netpoll's slot.
type slotTable struct {
	offheap.Table[slot]
	high uint32 // rows [0, high) were used since the last trim
	used int    // connections
}

// A slot is what an open connection costs here: 40 bytes, and 4 for its
// deadline. Everything that most connections never need is in ext. A reference
// to a row of another table is its index, and 0 means none: row 0 is not used.
type slot struct {
	generation uint32
	state      state
	form       uint8 // see windowBits and protocol
	flags      uint16
	user       uint32 // row in Shard.users
	userNext   uint32 // slot+1 of the next connection of the same user
	userPrev   uint32 // slot+1 of the previous one
	userFrom   uint32 // the offset in the user's channel from which on messages are for this connection
	subs       uint32 // first row in Shard.subs
	rare       uint32 // row in Shard.exts, in 24 bits, and the wire.Kind above them: see extRow and kind
	openedTick uint32
	// heardTick is when anything came last; after a ping, PingInterval before it; until
	// the connection is open, micros at its first callback.
	heardTick uint32
}

// micros returns a time in microseconds, in 32 bits: only differences of less than an
// hour count.
func micros(t time.Duration) uint32 { return uint32(t.Microseconds()) }

// windowBits returns the window of permessage-deflate for what we send; 0 is none.
func (sl *slot) windowBits() int { return int(sl.form & 15) }

// protocol returns the number of the connection's protocol: its place in
// Application.Protocols, from 1, or 0 for raw messages.
func (sl *slot) protocol() int { return int(sl.form >> 4) }

func (sl *slot) setWindowBits(bits int) { sl.form = sl.form&^15 | uint8(bits) }

func (sl *slot) setProtocol(number int) { sl.form = sl.form&15 | uint8(number)<<4 }

// extRow returns the connection's row in Shard.exts. A loop has at most 2^24
// connections (netpoll.MaxSlots).
func (sl *slot) extRow() uint32 { return sl.rare & (1<<24 - 1) }

func (sl *slot) setExtRow(row uint32) { sl.rare = sl.rare&^(1<<24-1) | row }

// kind returns how messages travel on the connection once it is open.
func (sl *slot) kind() wire.Kind { return wire.Kind(sl.rare >> 24) }

func (sl *slot) setKind(k wire.Kind) { sl.rare = sl.rare&(1<<24-1) | uint32(k)<<24 }
