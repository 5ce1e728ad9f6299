package shard

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// state is where a connection stands.
//
//	┌──────────────► plain ──────────────┐
//
// (tls ►) head ┼──► authorizing ──┐                 ├──► gone
//
//	└──────────────────┴──► open ──► closing ┘   (flushing comes before gone
//	                                              while output waits)
type state uint8

const (
	// stateFree: no connection in this slot.
	stateFree state = iota
	// stateProxy: waiting for a trusted balancer's PROXY header. Left by that,
	// by what is none, or the handshake deadline.
	stateProxy
	// stateTLS: a TLS handshake is under way on a goroutine of its own. Left by
	// opTLSDone or the handshake deadline.
	stateTLS
	// stateHead: reading the HTTP request head. Left by its end, an error, or
	// the handshake deadline.
	stateHead
	// stateAuthorizing: Hooks.Authorize works elsewhere; reading is paused.
	// Left by opAuthorized or the handshake deadline.
	stateAuthorizing
	// statePlain: a plain HTTP request waits for the rest of its body or for
	// its answer. Left by opRespond or the handshake deadline.
	statePlain
	// stateOpen: a WebSocket connection. Messages flow both ways.
	stateOpen
	// stateClosing: our Close frame is sent or waiting to be; we read on for
	// the peer's and drop its data (RFC 6455, section 7.1.1).
	stateClosing
	// stateFlushing: the last bytes wait for a full socket; what still arrives
	// is dropped. Left by OnWritable or the close deadline.
	stateFlushing
	// stateGone: the engine was told to close; only OnClose is to come.
	stateGone
)

// Flags of a slot.
const (
	// flagAwaitsPong: pinged, nothing arrived yet.
	flagAwaitsPong uint16 = 1 << iota
	// flagStalled: the socket is full; ext.pending holds what waits.
	flagStalled
	// flagLagging: something that was published is still to be read from the
	// journal (ext.lagJob).
	flagLagging
	// flagPausedOutput, flagPausedRate, flagPausedPublish, flagPausedWork,
	// flagPausedTurn:
	// reasons why the connection is not read: it does not read what we send; it
	// used up its message rate; what it published must reach the others first;
	// Authorize or an HTTP handler is at work; the others
	// have their turn.
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
	// flagNative: it speaks the native protocol.
	flagNative
	// flagUnready: and has not been let in there yet: nothing is published to it.
	flagUnready
	// flagHeartbeat: a heartbeat of ours waits for the answer.
	flagHeartbeat
	// flagPlaced: it counts against HandshakesMax.
	flagPlaced

	flagsPaused = flagPausedOutput | flagPausedRate | flagPausedPublish | flagPausedWork | flagPausedTurn
)

// A slot is what an open connection costs here: 44 bytes, and 4 for its
// deadline. Everything that most connections never need is in ext. A reference
// to a row of another table is its index, and 0 means none: row 0 is not used.
type slot struct {
	generation  uint32
	state       state
	windowBits  uint8 // permessage-deflate: the window of what we send; 0 is none
	flags       uint16
	user        uint32 // row in Shard.users
	userNext    uint32 // slot+1 of the next connection of the same user
	userPrev    uint32 // slot+1 of the previous one
	userFrom    uint32 // the offset in the user's channel from which on messages are for this connection
	subs        uint32 // first row in Shard.subs
	ext         uint32 // row in Shard.exts
	openedTick  uint32
	messageTick uint32 // when the last message came
	heardTick   uint32 // when anything came last; after a ping, PingInterval before it
}

// ext is a connection's rare state. It exists only while there is some.
type ext struct {
	// tls is the connection's TLS state, as long as it lives.
	tls *tlsConn
	// sent and received are the compression contexts, where context takeover
	// was negotiated: up to 32 KiB each, for as long as the connection lives.
	sent, received *frame.Window
	// decoder holds an incomplete frame or message, which has begun by
	// messageSince, a tick.
	decoder      *decoder
	messageSince uint32
	// input holds bytes to be looked at later: an incomplete request head or
	// body, or what arrived behind a pause.
	input []byte
	// headScanned is how much of input was searched for the head's end.
	headScanned int
	// pending is output that the socket did not take.
	pending pending
	// verdict is why the connection ends, once that is known.
	verdict Closed
	// decided: verdict is set.
	decided bool
	// With flagLagging: the job and its frame to go on with, the number of
	// frames before that one, and how to close when everything is read, readers included.
	lagJob    uint64
	lagFrame  uint32
	lagFrames uint64
	wish      *Closed
	// readers are the places in channels' histories to go on with.
	readers []reader
	// missed counts messages left out by SlowDrop.
	missed uint64
}

func (x *ext) empty() bool {
	return x.tls == nil && x.sent == nil && x.received == nil && x.decoder == nil && x.input == nil && x.readers == nil && len(x.pending.refs) == 0 && !x.decided && x.missed == 0
}

// slotOf answers the slot that id means, nil if it is stale.
func (s *Shard) slotOf(id netpoll.ID) *slot {
	i := id.Slot()
	if int(i) >= len(s.slots.rows) {
		return nil
	}
	if sl := &s.slots.rows[i]; sl.generation == id.Generation() {
		return sl
	}
	return nil
}

// idOf is the ID of the connection in slot i.
func (s *Shard) idOf(i uint32) netpoll.ID {
	return netpoll.MakeID(s.loop.Index(), i, s.slots.rows[i].generation)
}

// extOf answers the rare state of sl, made if need be.
func (s *Shard) extOf(sl *slot) *ext {
	if sl.ext != 0 {
		return s.exts[sl.ext]
	}
	if n := len(s.extFree); n > 0 {
		sl.ext = s.extFree[n-1]
		s.extFree = s.extFree[:n-1]
	} else {
		s.exts = append(s.exts, nil)
		sl.ext = uint32(len(s.exts) - 1)
	}
	x := s.spareExt
	if s.spareExt = nil; x == nil {
		x = &ext{}
	}
	s.exts[sl.ext] = x
	return x
}

// dropExt gives the rare state back if nothing is in it any more.
func (s *Shard) dropExt(sl *slot) {
	if sl.ext != 0 && sl.flags&(flagStalled|flagLagging) == 0 && s.exts[sl.ext].empty() {
		s.freeExt(sl)
	}
}

// freeExt ends the rare state of sl, whatever is in it.
func (s *Shard) freeExt(sl *slot) {
	if sl.ext == 0 {
		return
	}
	x := s.exts[sl.ext]
	if x.tls != nil && x.tls.handshake != nil {
		x.tls.handshake.end()
	}
	s.exts[sl.ext] = nil
	s.extFree = append(s.extFree, sl.ext)
	sl.ext = 0
	if x.decoder != nil {
		s.putDecoder(x.decoder)
	}
	s.putInput(x)
	*x = ext{}
	// One is kept: a connection that stalls, drains and stalls again allocates
	// nothing.
	s.spareExt = x
	if len(s.extFree) == len(s.exts)-1 && len(s.exts) > 1024 {
		// Everybody left; do not keep the peak's arrays.
		s.exts, s.extFree = make([]*ext, 1), nil
	}
}
