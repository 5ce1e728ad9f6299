package bench

import (
	"bytes"
	"encoding/binary"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// pendingMaxBytes bounds what a generator keeps for a server that does not
// read.
const pendingMaxBytes = 1 << 20

// lastMessage is the last payload that was checked byte by byte: in a
// broadcast, all connections receive the same bytes, and comparing them is as
// good a check and cheaper. That holds for deflated bytes, too, since nothing is
// agreed on that would let them refer to earlier ones.
type lastMessage struct {
	bytes    []byte // as they came
	deflated bool
	size     int // inflated
	m        message
}

// OnData takes the upgrade response first, frames after it.
func (g *generator) OnData(id netpoll.ID, p []byte) {
	i := g.slots[id.Slot()]
	g.view.BytesDown += uint64(len(p))
	if len(g.secure) > 0 {
		if c := g.secure[i]; c != nil {
			g.decrypt(c, p)
			return
		}
	}
	g.plainText(i, p)
}

// plainText handles what has come on connection i, without its TLS.
func (g *generator) plainText(i int32, p []byte) {
	c := &g.conns[i]
	if len(g.held) > 0 {
		if held, ok := g.held[i]; ok {
			delete(g.held, i)
			p = append(held, p...)
		}
	}
	if g.transport == TransportPoll {
		p = g.responses(i, c, p)
	} else {
		p = g.messages(i, c, p)
	}
	if len(p) > 0 && (c.state == connOpen || c.state == connConnecting) {
		g.held[i] = bytes.Clone(p)
	}
}

// messages takes the head of the response, then the frames or events after it, and
// returns what is not whole.
func (g *generator) messages(i int32, c *conn, p []byte) []byte {
	if c.state == connConnecting {
		n, compressed, err := g.checkHead(i, p)
		if err != nil {
			g.refuseHead(c, err)
			return nil
		}
		if n > 0 {
			p = p[n:]
			c.compressed = compressed
			g.upgraded(i)
		}
	}
	switch {
	case c.state != connOpen:
		return p
	case g.transport == TransportSSE:
		return g.events(i, c, p)
	}
	return g.frames(i, c, p)
}

// checkHead is checkUpgradeResponse for any transport but polls.
func (g *generator) checkHead(i int32, p []byte) (length int, compressed bool, err error) {
	if g.transport == TransportSSE {
		length, err = checkStreamHead(p)
		return length, false, err
	}
	return checkUpgradeResponse(p, g.first+int(i), g.opening != nil && g.opening.open.Compression)
}

// refuseHead ends a connection whose response is not the one that was wanted.
func (g *generator) refuseHead(c *conn, err error) {
	g.openFailed(c, err)
	resetOnClose(g.loop.FD(c.id))
	g.loop.Abort(c.id)
}

// frames serves the whole frames in p and returns the rest.
func (g *generator) frames(i int32, c *conn, p []byte) []byte {
	now := nowNs()
	for c.state == connOpen && len(p) > 0 {
		h, n, err := frame.ParseHeader(p)
		deflated := c.compressed && h.Rsv == rsvDeflated && h.Opcode.IsData()
		if err == nil && (h.Masked || (h.Rsv != 0 && !deflated) || (h.Opcode.IsControl() && (!h.Fin || h.Length > 125))) {
			err = &frame.ProtocolError{}
			g.fault("connection %d: frame header % x is not a server's", g.first+int(i), p[:n])
		}
		if err != nil || h.Length > 2*MaxPayloadBytes {
			g.view.ProtocolErrors++
			g.fault("connection %d: %v", g.first+int(i), err)
			g.loop.Abort(c.id)
			return nil
		}
		if n == 0 || len(p) < n+int(h.Length) {
			return p
		}
		g.frameBytes = n + int(h.Length)
		g.received(i, c, h, p[n:g.frameBytes], now)
		p = p[n+int(h.Length):]
	}
	return nil
}

func (g *generator) received(i int32, c *conn, h frame.Header, payload []byte, now int64) {
	switch {
	case h.Opcode == frame.OpPing:
		g.view.Pings++
		g.send(i, frame.OpPong, payload)
	case h.Opcode == frame.OpClose:
		g.view.Closed++
		reason := "close frame without a code"
		if len(payload) >= 2 {
			reason = "close " + frame.CloseCode(binary.BigEndian.Uint16(payload)).String() + " " + describePayload(payload[2:])
		}
		g.view.ClosedBy[reason]++
		c.state = connClosing
		g.send(i, frame.OpClose, payload)
		g.loop.Close(c.id)
	case h.Opcode.IsControl():
	case !h.Fin || h.Opcode == frame.OpContinuation:
		// No server needs to fragment messages of this size; none is known to.
		g.view.ProtocolErrors++
		g.fault("connection %d: fragmented message", g.first+int(i))
	default:
		g.data(i, c, payload, h.Rsv == rsvDeflated, now)
	}
}

func (g *generator) data(i int32, c *conn, payload []byte, deflated bool, now int64) {
	m := g.last.m
	if deflated != g.last.deflated || !bytes.Equal(payload, g.last.bytes) {
		came := payload
		var err error
		if deflated {
			if payload, err = g.inflater.inflate(payload); err != nil {
				g.view.ProtocolErrors++
				g.fault("connection %d: deflated message: %v", g.first+int(i), err)
				return
			}
		}
		m, err = parsePayload(payload)
		switch err {
		case nil:
		case errNoPayload:
			g.other(i, payload)
			return
		default:
			g.view.Arrivals.Damaged++
			g.fault("connection %d: damaged message %s", g.first+int(i), describePayload(payload))
			return
		}
		if m.stream&publishStream != 0 {
			g.last = lastMessage{append(g.last.bytes[:0], came...), deflated, len(payload), m}
		}
	}
	if m.stream&publishStream != 0 {
		g.published(i, c, m, now)
	} else {
		g.echoed(i, c, m, now)
	}
}

// other handles a message that is not the benchmark's own.
func (g *generator) other(i int32, payload []byte) {
	switch {
	case g.native && !g.transport.fallback() && bytes.Equal(payload, nativeHeartbeat):
		g.view.Pings++
		g.send(i, frame.OpText, nativeHeartbeat)
	case g.native && bytes.HasPrefix(payload, nativeReply):
		g.view.Replies++
		if bytes.Contains(payload, nativeError) {
			g.view.Refused++
			g.fault("connection %d: %s", g.first+int(i), describePayload(payload))
		}
	default:
		g.view.Others++
	}
}

// send frames payload and writes it.
func (g *generator) send(i int32, opcode frame.Opcode, payload []byte) bool {
	var key [4]byte
	binary.NativeEndian.PutUint32(key[:], g.rng.Uint32())
	g.frame = frame.AppendMaskedFrame(g.frame[:0], opcode, key, payload)
	return g.write(i, g.frame)
}

// write hands p to the kernel or keeps the rest until the socket has room. It
// returns false when too much is waiting.
func (g *generator) write(i int32, p []byte) bool {
	if waiting, ok := g.pending[i]; ok && len(waiting)+len(p) > pendingMaxBytes {
		return false
	}
	if len(g.secure) > 0 {
		if c := g.secure[i]; c != nil {
			p = g.encrypt(c, p)
		}
	}
	g.writeRaw(i, p)
	return true
}

// writeRaw is write without TLS and without a bound.
func (g *generator) writeRaw(i int32, p []byte) {
	if waiting, ok := g.pending[i]; ok {
		g.pending[i] = append(waiting, p...)
		return
	}
	n, err := g.loop.Write(g.conns[i].id, p)
	g.view.BytesUp += uint64(max(n, 0))
	if err == nil && n < len(p) {
		g.pending[i] = bytes.Clone(p[n:])
	} // an error is followed by OnClose
}

// OnWritable goes on with what a socket did not take.
func (g *generator) OnWritable(id netpoll.ID) {
	i := g.slots[id.Slot()]
	p, ok := g.pending[i]
	if !ok {
		return
	}
	n, err := g.loop.Write(id, p)
	g.view.BytesUp += uint64(max(n, 0))
	if err != nil || n == len(p) {
		delete(g.pending, i)
		return
	}
	g.pending[i] = p[n:]
}
