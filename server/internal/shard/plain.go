package shard

import (
	"github.com/roostws/roost/server/internal/handshake"

	"github.com/roostws/roost/server/internal/counters"
)

var (
	errLengthRequired = &handshake.Error{Status: 411, Reason: "a chunked request body is not taken here", Advice: "Send Content-Length."}
	errBodyTooLarge   = &handshake.Error{Status: 413, Reason: "the request body is too large"}
)

// handlePlain handles a request that does not ask for a WebSocket: p begins with
// its head, of end bytes, which is parsed.
func (c conn) handlePlain(p []byte, end int) {
	s := c.s
	if !s.hooks.ServesHTTP() {
		c.handleHealth()
		return
	}
	body := s.intake.request.BodyBytes
	switch {
	case body == handshake.BodyChunked:
		c.refuse(errLengthRequired)
		return
	case body > int64(s.cfg.MessageMaxBytes):
		c.refuse(errBodyTooLarge)
		return
	case int64(len(p)-end) >= body:
		c.servePlain(p[:end+int(body)])
		return
	}
	if s.intake.request.HasToken("Expect", "100-continue") {
		c.send([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
	c.setState(statePlain)
	if c.input() == nil {
		c.hold(p)
	}
	c.ext().requestBytes = end + int(body)
	c.takePlace()
}

// awaitsBody reports whether a part of the request's body is still to come.
func (c conn) awaitsBody() bool {
	return c.state == statePlain && c.ext() != nil && c.ext().requestBytes > 0
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
		return // behind the request nothing is wanted: the response ends the connection
	}
	c.hold(p)
	if x := c.ext(); len(x.input) >= x.requestBytes {
		c.servePlain(x.input[:x.requestBytes])
	}
}

// servePlain gives a whole request to the application.
func (c conn) servePlain(request []byte) {
	request = append([]byte(nil), request...)
	c.park(nil, statePlain)
	c.s.count.Inc(counters.PlainRequests)
	if err := c.s.hooks.HTTP(c.s, c.id, request); err != nil {
		c.refuse(err)
	}
}
