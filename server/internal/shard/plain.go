package shard

import (
	"fmt"

	"github.com/roostws/roost/server/internal/handshake"

	"github.com/roostws/roost/server/internal/counters"
)

// A body is one of a plain request of which a part is still to come. The head, and a
// body whose length is known, are in ext.input.
type body struct {
	head     int   // the head's length
	length   int64 // the body's, or handshake.BodyChunked
	chunked  handshake.Chunked
	decoded  []byte
	fallback *Fallback // what the request is for; nil: Config.HTTP
}

// handlePlain handles a request that does not ask for a WebSocket: p begins with
// its head, of end bytes, which is parsed.
func (c conn) handlePlain(p []byte, end int) {
	if c.s.group.stopping.Load() && string(c.s.intake.request.Path) == "/readyz" {
		c.respond(handshake.AppendUnavailable(c.s.output.replies[:0], c.s.comeBackAfter(), c.envelope()))
		return
	}
	if !c.s.hooks.ServesHTTP() {
		if c.forwarded() {
			c.handleHealth()
		}
		return
	}
	c.readBody(p, end, nil)
}

// readBody serves the request when its body has arrived.
func (c conn) readBody(p []byte, end int, f *Fallback) {
	s := c.s
	b := body{head: end, length: s.intake.request.BodyBytes, fallback: f}
	if b.length > int64(s.cfg.MessageMaxBytes) {
		c.refuse(handshake.ErrBodyTooLarge)
		return
	}
	rest, done, err := b.take(p[end:], s.cfg.MessageMaxBytes)
	switch {
	case err != nil:
		c.refuse(err)
		return
	case done:
		c.serveRequest(f, p[:end], b.of(p), rest)
		return
	}
	if s.intake.request.HasToken("Expect", "100-continue") {
		c.send([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
	c.setState(statePlain)
	if b.length == handshake.BodyChunked {
		p = p[:end]
	}
	if c.input() == nil {
		c.hold(p)
	}
	x := c.makeExt()
	x.input = x.input[:len(p)]
	x.body = &b
	c.takePlace()
}

// take takes more of the body, p, and returns what is behind its end. A body whose
// length is known stays where it is.
func (b *body) take(p []byte, limit int) (rest []byte, done bool, err error) {
	if b.length != handshake.BodyChunked {
		if int64(len(p)) < b.length {
			return nil, false, nil
		}
		return p[b.length:], true, nil
	}
	var n int
	b.decoded, n, done, err = b.chunked.Decode(b.decoded, p, limit)
	return p[n:], done, err
}

// of returns the body of a request which has arrived.
func (b *body) of(request []byte) []byte {
	if b.length == handshake.BodyChunked {
		return b.decoded
	}
	return request[b.head : b.head+int(b.length)]
}

// awaitsBody reports whether a part of the request's body is still to come.
func (c conn) awaitsBody() bool {
	return c.state == statePlain && c.ext() != nil && c.ext().body != nil
}

// isHealthPath reports whether a balancer asks there whether the server takes
// clients. While it stops or is full, handleHead has answered 503.
func isHealthPath(path []byte) bool { return string(path) == "/healthz" || string(path) == "/readyz" }

// handleHealth responds to a plain request where the application takes none.
func (c conn) handleHealth() {
	r := &c.s.intake.request
	if isHealthPath(r.Path) && (string(r.Method) == "GET" || c.flags&flagHEAD != 0) {
		c.respond(handshake.AppendHealthy(c.s.output.replies[:0], c.envelope()))
		return
	}
	c.refuse(handshake.RefusePlain(r))
}

// handlePlainBody takes a further piece of a request's body.
func (c conn) handlePlainBody(p []byte) {
	if !c.awaitsBody() {
		c.pipeline(p)
		return
	}
	x := c.ext()
	b := x.body
	if b.length != handshake.BodyChunked {
		c.hold(p)
		p = x.input[b.head:]
	}
	rest, done, err := b.take(p, c.s.cfg.MessageMaxBytes)
	switch {
	case err != nil:
		c.refuse(err)
	case done:
		x.body = nil
		if err := handshake.Parse(x.input[:b.head], &c.s.intake.request); err != nil {
			c.refuse(err) // it was valid before
			return
		}
		c.serveRequest(b.fallback, x.input[:b.head], b.of(x.input), rest)
	}
}

// serveRequest acts on a whole request. All of its parts may lie in ext.input; rest is
// what came behind it.
func (c conn) serveRequest(f *Fallback, head, body, rest []byte) {
	if f != nil {
		c.serveFallback(f, body, rest)
		return
	}
	request := append([]byte(nil), head...)
	if c.s.intake.request.BodyBytes == handshake.BodyChunked {
		// net/http reads the body once more.
		if len(body) > 0 {
			request = append(append(fmt.Appendf(request, "%x\r\n", len(body)), body...), "\r\n"...)
		}
		request = append(request, "0\r\n\r\n"...)
	} else {
		request = append(request, body...)
	}
	n := c.keep(rest)
	if !c.forwarded() {
		return
	}
	c.park(nil, statePlain)
	if n != nil {
		c.makeExt().next = n
	}
	c.s.count.Inc(counters.PlainRequests)
	if err := c.s.hooks.HTTP(c.s, c.id, request); err != nil {
		c.refuse(err)
	}
}

// respondPlain writes the response of Config.HTTP. If it says nothing of the end of the
// connection, as keep tells, the connection goes on with the next request.
func (c conn) respondPlain(response []byte, keep bool) {
	x := c.ext()
	if !keep || x == nil || x.next == nil || c.leaves() {
		c.respond(response)
		return
	}
	c.vacate()
	c.setState(stateAnswered)
	c.setDeadline(c.s.deadlines.tick + c.s.deadlines.after.close)
	if c.send(response); c.alive() {
		c.renewSoon()
	}
}
