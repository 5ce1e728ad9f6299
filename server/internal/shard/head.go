package shard

import (
	"errors"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
)

// retryAfter is what a client refused for lack of room is told.
const retryAfter = 5 * time.Second

// An Upgrade is a request for a WebSocket on its way through the hooks.
type Upgrade struct {
	ID netpoll.ID
	// Request is valid until Hooks.Upgrade returns.
	Request *handshake.Request
	// Grant is the answer, to be filled in.
	Grant Grant
	// Later, if the hook sets it, means that the answer comes by
	// Shard.Authorized; the connection is parked until then.
	Later bool
}

// A Grant is the application's answer to an upgrade.
type Grant struct {
	// Err refuses the upgrade; a *handshake.Error says with which status.
	Err error
	// User is the identity of the connection; may be empty.
	User string
	// Subprotocol replaces the one that the policy chose, if not empty.
	Subprotocol string
	// Header are more lines for the 101 response.
	Header []handshake.Header
	// Channels are joined before Hooks.Open is called, but by native clients.
	Channels []string
	// Native: the connection speaks the native protocol.
	Native bool

	result  handshake.Result
	deflate frame.DeflateParams
}

// handleHead gathers the request head and acts when it is complete.
func (s *Shard) handleHead(id netpoll.ID, sl *slot, p []byte) {
	scanned := 0
	if sl.ext != 0 && s.exts[sl.ext].input != nil {
		// The head comes in pieces.
		x := s.exts[sl.ext]
		scanned = x.headScanned
		s.hold(sl, p)
		p = x.input
	}
	end := handshake.HeadEnd(p, scanned)
	if end == 0 && len(p) < s.cfg.HandshakeMaxBytes {
		if scanned == 0 {
			if err := handshake.CheckStart(p); err != nil {
				s.refuse(id, sl, err)
				return
			}
		}
		if sl.ext == 0 || s.exts[sl.ext].input == nil {
			s.hold(sl, p)
		}
		s.extOf(sl).headScanned = len(p)
		s.takePlace(id, sl)
		return
	}
	if end == 0 || end > s.cfg.HandshakeMaxBytes {
		s.refuse(id, sl, handshake.ErrHeadTooLarge)
		return
	}
	if err := handshake.Parse(p[:end], &s.request); err != nil {
		s.refuse(id, sl, err)
		return
	}
	if sl.flags&flagRefused != 0 || s.draining {
		s.count.RefusedFull.Add(1)
		s.respond(id, sl, handshake.AppendUnavailable(s.replies[:0], retryAfter))
		return
	}
	if !s.forwarded(id, sl) {
		return
	}
	if !handshake.IsUpgrade(&s.request) {
		s.handlePlain(id, sl, p, end)
		return
	}
	s.handleUpgrade(id, sl, p, end)
}

func (s *Shard) handleUpgrade(id netpoll.ID, sl *slot, p []byte, end int) {
	s.offered = frame.DeflateParams{}
	result, err := handshake.Upgrade(&s.request, &s.policy)
	if err != nil {
		s.refuse(id, sl, err)
		return
	}
	u := &s.upgrade
	*u = Upgrade{ID: id, Request: &s.request, Grant: Grant{result: result, deflate: s.offered}}
	if !s.callUpgrade(id, u) {
		return
	}
	if u.Later {
		s.park(id, sl, p[end:], stateAuthorizing)
		return
	}
	s.finishUpgrade(id, sl, &u.Grant, p[end:])
}

// callUpgrade asks the application. A panic there is a 500.
func (s *Shard) callUpgrade(id netpoll.ID, u *Upgrade) (ok bool) {
	defer s.recoverHook(id, "Upgrade")
	s.hooks.Upgrade(s, u)
	return true
}

// park waits for an answer from elsewhere, unread, with rest for later.
func (s *Shard) park(id netpoll.ID, sl *slot, rest []byte, in state) {
	sl.state = in
	rest = append([]byte(nil), rest...)
	if sl.ext != 0 {
		s.putInput(s.exts[sl.ext])
	}
	if len(rest) > 0 {
		s.extOf(sl).input = rest
	}
	s.dropExt(sl)
	s.vacate(sl)
	s.pause(id, sl, flagPausedWork)
}

// authorized acts on the answer to a parked upgrade.
func (s *Shard) authorized(id netpoll.ID, g *Grant) {
	sl := s.slotOf(id)
	if sl == nil || sl.state != stateAuthorizing {
		return // it timed out or left
	}
	var rest []byte
	if sl.ext != 0 {
		x := s.exts[sl.ext]
		rest, x.input = x.input, nil
	}
	if s.draining && g.Err == nil {
		// The drain has passed: nobody would close it again.
		s.count.RefusedFull.Add(1)
		s.respond(id, sl, handshake.AppendUnavailable(nil, retryAfter))
		return
	}
	s.finishUpgrade(id, sl, g, rest)
	if sl := s.slotOf(id); sl != nil {
		s.resume(id, sl, flagPausedWork)
	}
}

// joinAll joins the channels that the application gave with the upgrade.
func (s *Shard) joinAll(id netpoll.ID, channels []string) {
	for _, name := range channels {
		if _, err := s.join(id, name, s.group.publisher.Position(name).Offset); err != nil {
			s.Refuse(id, name, err)
			return
		}
	}
}

// finishUpgrade answers the request and opens the connection. rest is what the
// client sent behind the head.
func (s *Shard) finishUpgrade(id netpoll.ID, sl *slot, g *Grant, rest []byte) {
	if g.Err != nil {
		s.refuse(id, sl, g.Err)
		return
	}
	if g.Subprotocol != "" {
		g.result.Subprotocol = g.Subprotocol
	}
	answer, err := handshake.AppendResponse(s.replies[:0], &g.result, g.Header)
	s.replies = answer[:0]
	if err != nil {
		s.log.Error("the application's answer to an upgrade cannot be sent", "err", err)
		s.refuse(id, sl, err)
		return
	}
	if len(rest) > 0 {
		// It may lie in ext.input, which ends now.
		rest = append([]byte(nil), rest...)
	}
	if sl.ext != 0 {
		s.putInput(s.exts[sl.ext])
		s.dropExt(sl)
	}
	s.setDeflate(sl, &g.deflate)
	sl.state = stateOpen
	sl.openedTick, sl.messageTick = s.tick, s.tick
	// Whoever has seen the 101 is where the application has put it: what is
	// published then must not miss it.
	s.setUser(id, sl, g.User)
	if g.Native {
		sl.flags |= flagNative | flagUnready // Ready and Subscribe follow
	} else {
		s.joinAll(id, g.Channels)
	}
	n, err := s.write(id, sl, answer)
	if err != nil {
		return // OnClose follows
	}
	sl.flags |= flagOpened
	s.vacate(sl)
	s.deadlines.rows[id.Slot()] = 0
	if s.ticks.ping > 0 {
		first := s.firstPing()
		sl.heardTick = first - s.ticks.ping
		s.dueBy(id.Slot(), first)
	}
	if s.ticks.idle > 0 {
		s.dueBy(id.Slot(), s.tick+s.ticks.idle)
	}
	if n < len(answer) {
		s.stall(id, sl, piece{answer, n}, false)
	}
	s.count.Open.Add(1)
	s.count.Opened.Add(1)
	s.replyTo = id
	s.callOpen(id, g)
	if sl.generation == id.Generation() && sl.state != stateGone {
		s.flushReplies(id, sl)
	}
	s.replies, s.replyTo = s.replies[:0], 0
	if len(rest) > 0 && sl.generation == id.Generation() && sl.state == stateOpen {
		s.handleFrames(id, sl, rest)
	}
}

func (s *Shard) callOpen(id netpoll.ID, g *Grant) {
	defer s.recoverHook(id, "Open")
	s.hooks.Open(s, id, g)
}

// Subprotocol is the one that was agreed on.
func (g *Grant) Agreed() string { return g.result.Subprotocol }

// refuse answers with an HTTP error and closes.
func (s *Shard) refuse(id netpoll.ID, sl *slot, err error) {
	s.count.HandshakesRefused.Add(1)
	s.decide(sl, Closed{Code: frame.CloseAbnormal, Reason: "handshake refused", Err: err})
	var known *handshake.Error
	if !errors.As(err, &known) {
		s.log.Debug("an upgrade was refused", "conn_id", id.String(), "err", err)
	}
	s.respond(id, sl, handshake.AppendError(s.replies[:0], err))
}

// respond writes a whole HTTP response and closes.
func (s *Shard) respond(id netpoll.ID, sl *slot, response []byte) {
	s.vacate(sl)
	s.send(id, sl, response)
	s.shutWhenFlushed(id, sl)
}

// respondTimeout tells a client that was too slow, or waited too long for us.
func (s *Shard) respondTimeout(id netpoll.ID, sl *slot) {
	if sl.state != stateHead || s.queued(sl) {
		s.respond(id, sl, handshake.AppendUnavailable(nil, retryAfter))
		return
	}
	if sl.ext == 0 || s.exts[sl.ext].input == nil {
		s.shut(id, sl) // it never said a word
		return
	}
	s.respond(id, sl, handshake.AppendError(nil, handshake.ErrTimeout))
}

// handlePlain gives a plain HTTP request to the application when its body has
// come too.
func (s *Shard) handlePlain(id netpoll.ID, sl *slot, p []byte, end int) {
	if !s.hooks.ServesHTTP() {
		s.refuse(id, sl, handshake.ErrUpgradeRequired)
		return
	}
	body := s.request.BodyBytes
	switch {
	case body == handshake.BodyChunked:
		s.refuse(id, sl, errLengthRequired)
		return
	case body > int64(s.cfg.MessageMaxBytes):
		s.refuse(id, sl, errBodyTooLarge)
		return
	case int64(len(p)-end) < body:
		first := sl.ext == 0 || s.exts[sl.ext].input == nil
		if sl.state == stateHead && s.request.HasToken("Expect", "100-continue") {
			s.send(id, sl, []byte("HTTP/1.1 100 Continue\r\n\r\n"))
		}
		sl.state = statePlain
		if first {
			s.hold(sl, p)
		}
		return
	}
	whole := append([]byte(nil), p[:int64(end)+body]...)
	s.park(id, sl, nil, statePlain)
	s.count.PlainRequests.Add(1)
	if err := s.hooks.HTTP(s, id, whole); err != nil {
		s.refuse(id, sl, err)
	}
}

// handlePlainBody adds to a request whose body was incomplete.
func (s *Shard) handlePlainBody(id netpoll.ID, sl *slot, p []byte) {
	if sl.flags&flagPausedWork != 0 {
		return
	}
	s.hold(sl, p)
	p = s.exts[sl.ext].input
	end := handshake.HeadEnd(p, 0)
	if err := handshake.Parse(p[:end], &s.request); err != nil {
		s.refuse(id, sl, err)
		return
	}
	s.handlePlain(id, sl, p, end)
}

var (
	errLengthRequired = &handshake.Error{Status: 411, Reason: "a chunked request body is not taken here", Advice: "Send Content-Length."}
	errBodyTooLarge   = &handshake.Error{Status: 413, Reason: "the request body is too large"}
)
