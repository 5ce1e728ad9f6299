package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Clients of a fallback ask by a GET request, as an EventSource or curl does: the
// query names the channel, a header has the token. Those that poll ask again and
// again over one connection, and say by Last-Event-ID what they have.

// fallback is what they need once they are open.
type fallback struct {
	opening *opening
	// cursors are the last Last-Event-ID of each connection that polls.
	cursors [][]byte
	// Clients that poll at an interval take turns: the next is number next, at
	// startNs + next x intervalNs.
	startNs, intervalNs, next int64
	pacer                     *pacer
}

func newFallback(o *opening, conns int) fallback {
	f := fallback{opening: o}
	if o.open.Transport == TransportPoll {
		f.cursors = make([][]byte, conns)
	}
	return f
}

// ask sends connection i's request.
func (g *generator) ask(i int32) {
	c, o, n := &g.conns[i], g.fallback.opening, g.first+int(i)
	path, _ := o.path.expand(n) // newPerConn has tried them
	if path == "/" {
		path = g.transport.path()
	}
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	channel, _ := o.channel.expand(n)
	b := append(g.frame[:0], "GET "...)
	b = append(append(append(append(b, path...), separator...), "channel="...), url.QueryEscape(channel)...)
	if g.transport == TransportPoll && c.state == connOpen && o.open.PollEveryNs == 0 {
		b = strconv.AppendInt(append(b, "&wait="...), int64(pollWait.Seconds()), 10)
	}
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), o.host...), "\r\n"...)
	if len(o.open.Tokens.Secret) > 0 {
		token, err := o.open.Tokens.sign(n)
		if err != nil {
			g.fault("connection %d: %v", n, err)
		}
		b = append(append(append(b, "Authorization: Bearer "...), token...), "\r\n"...)
	}
	if g.transport == TransportPoll {
		if last := g.fallback.cursors[i]; len(last) > 0 {
			b = append(append(append(b, "Last-Event-ID: "...), last...), "\r\n"...)
		}
		g.view.Requests++
	}
	for _, h := range o.headers {
		line, _ := h.expand(n)
		b = append(append(b, line...), "\r\n"...)
	}
	g.frame = append(b, "\r\n"...)
	c.asking = true
	g.write(i, g.frame)
}

// startPolling lets connections that poll at an interval begin to do so, evenly
// spread.
func (g *generator) startPolling() {
	f := &g.fallback
	if g.transport != TransportPoll || f.opening.open.PollEveryNs == 0 || len(g.conns) == 0 {
		return
	}
	g.stopPolling()
	f.startNs, f.next = nowNs(), 0
	f.intervalNs = max(f.opening.open.PollEveryNs/int64(len(g.conns)), 1)
	f.pacer = startPacer(f.startNs, f.intervalNs, 1<<62, g.loop.Wake)
}

func (g *generator) stopPolling() {
	if f := &g.fallback; f.pacer != nil {
		f.pacer.stop()
		f.pacer = nil
	}
}

// pollsDue sends the polls whose time has come. One whose last poll has no response
// yet waits for its next turn.
func (g *generator) pollsDue() {
	f := &g.fallback
	if f.pacer == nil {
		return
	}
	for now := nowNs(); f.startNs+f.next*f.intervalNs <= now; f.next++ {
		i := int32(f.next % int64(len(g.conns)))
		if c := &g.conns[i]; c.state == connOpen && !c.asking {
			g.ask(i)
		}
	}
}

// checkStreamHead looks for the whole head of an event stream in p and returns its
// length, 0 while it is not whole.
func checkStreamHead(p []byte) (length int, err error) {
	length, header, err := parseHead(p)
	if length == 0 || err != nil {
		return 0, err
	}
	if t := header("Content-Type"); !strings.HasPrefix(t, "text/event-stream") {
		return 0, fmt.Errorf("the content is %q, no event stream", t)
	}
	if header("Transfer-Encoding") != "" || header("Content-Length") != "" {
		return 0, errors.New("an event stream with a length or in chunks, which this client does not read")
	}
	return length, nil
}

// parseHead looks for the whole head of a response with status 200 in p. It returns its
// length, 0 while it is not whole, and what finds the value of a header.
func parseHead(p []byte) (length int, header func(name string) string, err error) {
	if n := min(len(p), len(headStart)); !bytes.HasPrefix(p[:n], headStart[:n]) {
		return 0, nil, fmt.Errorf("no response: %s", describePayload(p))
	}
	end := bytes.Index(p, headEnd)
	if end < 0 {
		if len(p) > maxResponseBytes {
			err = fmt.Errorf("the head of the response is longer than %d bytes", maxResponseBytes)
		}
		return 0, nil, err
	}
	status, rest, _ := strings.Cut(string(p[:end]), "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.1 200") {
		return 0, nil, fmt.Errorf("answer %.60q", status)
	}
	return end + len(headEnd), func(name string) string {
		for line := range strings.SplitSeq(rest, "\r\n") {
			if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, name) {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}, nil
}

var (
	headStart = []byte("HTTP/1.")
	headEnd   = []byte("\r\n\r\n")
	blockEnd  = []byte("\n\n")
)

// events serves the whole events in p and returns the rest.
func (g *generator) events(i int32, c *conn, p []byte) []byte {
	now := nowNs()
	for c.state == connOpen && len(p) > 0 {
		end := bytes.Index(p, blockEnd)
		if end < 0 && len(p) > 2*MaxPayloadBytes {
			g.malformed(i, c, "an event of more than %d bytes", len(p))
			return nil
		}
		if end < 0 {
			return p
		}
		g.frameBytes = end + len(blockEnd)
		g.event(i, c, p[:end], now)
		p = p[g.frameBytes:]
	}
	return nil
}

// event serves one block of an event stream.
func (g *generator) event(i int32, c *conn, block []byte, now int64) {
	if len(block) == 1 && block[0] == ':' {
		g.view.Pings++
		return
	}
	var data []byte
	closing := false
	for line := range bytes.SplitSeq(block, blockEnd[:1]) {
		field, value, _ := bytes.Cut(line, fieldEnd)
		switch string(field) {
		case "", "id", "retry":
		case "event":
			closing = string(value) == "close"
		case "data":
			if data != nil {
				g.malformed(i, c, "an event of the native protocol in several lines")
				return
			}
			data = value
		default:
			g.malformed(i, c, "line %q in an event stream", describePayload(line))
			return
		}
	}
	switch {
	case closing:
		g.closedByServer(i, c, data)
	case data != nil:
		g.data(i, c, data, false, now)
	}
}

var fieldEnd = []byte(": ")

// responses serves the whole responses in p and returns the rest.
func (g *generator) responses(i int32, c *conn, p []byte) []byte {
	now := nowNs()
	for (c.state == connOpen || c.state == connConnecting) && len(p) > 0 {
		head, header, err := parseHead(p)
		if head == 0 && err == nil {
			return p
		}
		length := -1
		if err == nil {
			if length, err = strconv.Atoi(header("Content-Length")); err != nil || length < 0 || length > 2*MaxPayloadBytes {
				err = fmt.Errorf("a response with Content-Length %q", header("Content-Length"))
			}
		}
		if err == nil && !c.asking {
			err = errors.New("a response that nothing was asked for")
		}
		if err != nil {
			if c.state == connConnecting {
				g.refuseHead(c, err)
			} else {
				g.malformed(i, c, "%v", err)
			}
			return nil
		}
		if len(p) < head+length {
			return p
		}
		c.asking = false
		if last := header("Last-Event-ID"); last != "" {
			g.fallback.cursors[i] = append(g.fallback.cursors[i][:0], last...)
		}
		if c.state == connConnecting {
			g.upgraded(i)
		}
		g.answered(i, c, p[head:head+length], now)
		p = p[head+length:]
	}
	return nil
}

// answered serves the response to a poll. A client that waits at the server asks at
// once again.
func (g *generator) answered(i int32, c *conn, body []byte, now int64) {
	var elements []json.RawMessage
	if err := json.Unmarshal(body, &elements); err != nil {
		g.malformed(i, c, "a response that is no array: %v", err)
		return
	}
	for _, e := range elements {
		if bytes.HasPrefix(e, closeElement) {
			g.closedByServer(i, c, e)
			return
		}
		g.frameBytes = len(e) + 1
		g.data(i, c, e, false, now)
	}
	if g.fallback.opening.open.PollEveryNs == 0 && c.state == connOpen {
		g.ask(i)
	}
}

var closeElement = []byte(`{"close":`)

// closedByServer notes that the server has told why it ends the connection.
func (g *generator) closedByServer(i int32, c *conn, why []byte) {
	g.view.Closed++
	g.view.ClosedBy["close "+describePayload(why)]++
	c.state = connClosing
	g.loop.Close(c.id)
}

// malformed ends a connection on which came what no server may send.
func (g *generator) malformed(i int32, c *conn, format string, args ...any) {
	g.view.ProtocolErrors++
	g.fault("connection %d: %s", g.first+int(i), fmt.Sprintf(format, args...))
	c.state = connClosing
	g.loop.Abort(c.id)
}
