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
// good a check and cheaper.
type lastMessage struct {
	bytes []byte
	m     message
}

// OnData takes the upgrade response first, frames after it.
func (g *generator) OnData(id netpoll.ID, p []byte) {
	i := g.slots[id.Slot()]
	c := &g.conns[i]
	if len(g.held) > 0 {
		if held, ok := g.held[i]; ok {
			delete(g.held, i)
			p = append(held, p...)
		}
	}
	if c.state == connConnecting {
		n, err := checkUpgradeResponse(p, g.first+int(i))
		if err != nil {
			g.openFailed(c, err)
			resetOnClose(g.loop.FD(id))
			g.loop.Abort(id)
			return
		}
		if n > 0 {
			p = p[n:]
			g.upgraded(i)
		}
	}
	if c.state == connOpen {
		p = g.frames(i, c, p)
	}
	if len(p) > 0 && (c.state == connOpen || c.state == connConnecting) {
		g.held[i] = bytes.Clone(p)
	}
}

// frames serves the whole frames in p and answers the rest.
func (g *generator) frames(i int32, c *conn, p []byte) []byte {
	now := nowNs()
	for c.state == connOpen && len(p) > 0 {
		h, n, err := frame.ParseHeader(p)
		if err == nil && (h.Masked || h.Rsv != 0 || (h.Opcode.IsControl() && (!h.Fin || h.Length > 125))) {
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
		g.received(i, c, h, p[n:n+int(h.Length)], now)
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
		g.data(i, c, payload, now)
	}
}

func (g *generator) data(i int32, c *conn, payload []byte, now int64) {
	m := g.last.m
	if !bytes.Equal(payload, g.last.bytes) {
		var err error
		m, err = parsePayload(payload)
		switch err {
		case nil:
		case errNoPayload:
			g.view.Others++
			return
		default:
			g.view.Arrivals.Damaged++
			g.fault("connection %d: damaged message %s", g.first+int(i), describePayload(payload))
			return
		}
		if m.stream&publishStream != 0 {
			g.last.bytes, g.last.m = append(g.last.bytes[:0], payload...), m
		}
	}
	if m.stream&publishStream != 0 {
		g.published(i, c, m, now)
	} else {
		g.echoed(i, c, m, now)
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
// answers false when too much is waiting.
func (g *generator) write(i int32, p []byte) bool {
	if waiting, ok := g.pending[i]; ok {
		if len(waiting)+len(p) > pendingMaxBytes {
			return false
		}
		g.pending[i] = append(waiting, p...)
		return true
	}
	n, err := g.loop.Write(g.conns[i].id, p)
	if err == nil && n < len(p) {
		g.pending[i] = bytes.Clone(p[n:])
	}
	return true // an error is followed by OnClose
}

// OnWritable goes on with what a socket did not take.
func (g *generator) OnWritable(id netpoll.ID) {
	i := g.slots[id.Slot()]
	p, ok := g.pending[i]
	if !ok {
		return
	}
	n, err := g.loop.Write(id, p)
	if err != nil || n == len(p) {
		delete(g.pending, i)
		return
	}
	g.pending[i] = p[n:]
}
