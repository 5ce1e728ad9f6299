package bench

import "github.com/roostws/roost/frame"

// streamState is the one publisher's stream that is being watched.
type streamState struct {
	id uint32
	// probing: a connection that receives the stream and has none yet becomes a member.
	probing bool
	// members are those that each message should reach: stalled ones are left
	// out.
	members int
	first   uint64
	// progress is that of message first+k.
	progress []messageProgress
}

type messageProgress struct {
	arrived                 int
	firstNs, lastNs, sentNs int64
}

// members counts the receivers of stream and finds a connection that receives
// no stream yet; noConn where there is none.
func (g *generator) members(stream uint32) (count, free int) {
	free = noConn
	for i := range g.conns {
		c := &g.conns[i]
		switch {
		case c.state != connOpen:
		case c.stream == stream:
			count++
		case c.stream == 0 && !c.publisher && free == noConn:
			free = g.first + i
		}
	}
	return count, free
}

// arm makes the members expect sequence numbers from seq on, and forgets what
// was counted before.
func (g *generator) arm(stream uint32, seq uint64) {
	g.stream = streamState{id: stream, first: seq}
	for i := range g.conns {
		if c := &g.conns[i]; c.stream == stream && c.state == connOpen {
			c.track = newTracker(seq)
			if !c.stalled {
				g.stream.members++
			}
		}
	}
	g.view.Arrivals = Arrivals{}
	g.view.Backlogged = 0
	g.view.FrameBytes, g.view.MessageBytes = 0, 0
	g.view.Latency.reset()
	g.view.Lateness.reset()
}

// published is called for each message of a publisher that arrives.
func (g *generator) published(i int32, c *conn, m message, now int64) {
	s := &g.stream
	if s.probing && s.id == m.stream && c.stream == 0 {
		c.stream = s.id
		return
	}
	if c.stream != m.stream || s.id != m.stream {
		g.view.Arrivals.Foreign++
		g.fault("connection %d, a receiver of stream %x, got message %d of stream %x", g.first+int(i), c.stream, m.seq, m.stream)
		return
	}
	if c.stalled || s.probing {
		return
	}
	v := c.track.observe(m.seq)
	g.view.Arrivals.count(v)
	g.view.FrameBytes += uint64(g.frameBytes)
	g.view.MessageBytes += uint64(g.last.size)
	switch v {
	case inOrder, late:
		g.view.Latency.record(now - m.sentNs)
		g.progress(m, now)
	default:
		g.fault("connection %d got message %d twice or long after its successors", g.first+int(i), m.seq)
	}
}

// progress tells the parent when the last member has m.
func (g *generator) progress(m message, now int64) {
	s := &g.stream
	if m.seq < s.first {
		return
	}
	k := int(m.seq - s.first)
	for len(s.progress) <= k {
		s.progress = append(s.progress, messageProgress{})
	}
	p := &s.progress[k]
	if p.arrived == 0 {
		p.firstNs, p.sentNs = now, m.sentNs
	}
	p.lastNs = max(p.lastNs, now)
	if p.arrived++; p.arrived == s.members {
		g.reply(reply{Notice: &notice{Stream: s.id, Seq: m.seq, FirstNs: p.firstNs, LastNs: p.lastNs, SentNs: p.sentNs}})
	}
}

// publishing is a publishRequest of which some messages are still to be sent.
type publishing struct {
	publishRequest
	sent  int
	pacer *pacer
}

func (g *generator) startPublishing(r *publishRequest) {
	p := &publishing{publishRequest: *r}
	if r.IntervalNs > 0 {
		end := r.StartNs + int64(r.Count)*r.IntervalNs
		p.pacer = startPacer(r.StartNs, r.IntervalNs, end, g.loop.Wake)
	}
	g.queue = append(g.queue, p)
}

// publishDue sends what is due now.
func (g *generator) publishDue() {
	if len(g.queue) == 0 {
		return
	}
	kept := g.queue[:0]
	for _, p := range g.queue {
		if g.publishSome(p); p.sent < p.Count {
			kept = append(kept, p)
		} else if p.pacer != nil {
			p.pacer.stop()
		}
	}
	clear(g.queue[len(kept):])
	g.queue = kept
}

func (g *generator) publishSome(p *publishing) {
	i := int32(p.Conn - g.first)
	if i < 0 || int(i) >= len(g.conns) || g.conns[i].state != connOpen {
		g.fault("publisher's connection %d is gone", p.Conn)
		p.sent = p.Count
		return
	}
	g.conns[i].publisher = true
	for p.sent < p.Count {
		now := nowNs()
		due := now
		if p.StartNs > 0 {
			if due = p.StartNs + int64(p.sent)*p.IntervalNs; due > now {
				return
			}
			g.view.Lateness.record(now - due)
		}
		m := message{stream: p.Stream, seq: p.Seq + uint64(p.sent), sentNs: due}
		g.payload = appendPayload(g.payload[:0], m, p.Bytes, g.json)
		if !g.send(i, frame.OpText, g.payload) {
			g.view.Backlogged++
		}
		p.sent++
	}
}
