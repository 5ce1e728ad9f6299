package bench

import "github.com/roostws/roost/frame"

// traffic is echo traffic that is under way: each message of a connection
// should come back to it, once, in order.
type traffic struct {
	request int
	trafficRequest
	classes []classState
	pacers  []*pacer
}

type classState struct {
	trafficClass
	started bool
	next    int64 // the number of the next paced message
	reply   classReply
}

func (g *generator) startTraffic(id int, r *trafficRequest) {
	t := &traffic{request: id, trafficRequest: *r}
	for k, spec := range r.Classes {
		cl := classState{trafficClass: spec}
		cl.reply = classReply{Name: spec.Name, Latency: newHistogram(), Lateness: newHistogram()}
		for _, n := range spec.Conns {
			c := &g.conns[n-g.first]
			c.class = int8(k + 1)
			c.track = newTracker(0)
			c.sendSeq = 0
		}
		t.classes = append(t.classes, cl)
		interval, end := spec.IntervalNs, r.EndNs
		if interval == 0 { // one wake-up, to start with
			interval, end = 1, r.StartNs
		}
		t.pacers = append(t.pacers, startPacer(r.StartNs, interval, end, g.loop.Wake))
	}
	g.traffic = t
}

// trafficDue sends the paced messages whose time has come.
func (g *generator) trafficDue() {
	t := g.traffic
	if t == nil {
		return
	}
	for k := range t.classes {
		cl := &t.classes[k]
		if cl.IntervalNs == 0 {
			g.startSaturating(t, cl)
			continue
		}
		for len(cl.Conns) > 0 {
			due := t.StartNs + cl.next*cl.IntervalNs
			now := nowNs()
			if due > now || due >= t.EndNs {
				break
			}
			cl.reply.Lateness.record(now - due)
			n := cl.Conns[cl.next%int64(len(cl.Conns))]
			cl.next++
			g.sendEcho(t, cl, int32(n-g.first), due)
		}
	}
}

func (g *generator) startSaturating(t *traffic, cl *classState) {
	if cl.started || nowNs() < t.StartNs {
		return
	}
	cl.started = true
	for _, n := range cl.Conns {
		g.sendEcho(t, cl, int32(n-g.first), nowNs())
	}
}

func (g *generator) sendEcho(t *traffic, cl *classState, i int32, due int64) {
	c := &g.conns[i]
	if c.state != connOpen {
		return // its loss is counted where it was closed
	}
	m := message{stream: uint32(g.first + int(i)), seq: c.sendSeq, sentNs: due}
	g.payload = appendPayload(g.payload[:0], m, t.Bytes, g.json)
	if !g.send(i, frame.OpText, g.payload) {
		cl.reply.Backlogged++
		return
	}
	c.sendSeq++
	cl.reply.Sent++
}

// echoed is called for each message of a connection that comes back.
func (g *generator) echoed(i int32, c *conn, m message, now int64) {
	t := g.traffic
	if t == nil || c.class == 0 || m.stream != uint32(g.first+int(i)) {
		g.view.Arrivals.Foreign++
		g.fault("connection %d got message %d of connection %d", g.first+int(i), m.seq, m.stream)
		return
	}
	cl := &t.classes[c.class-1]
	cl.reply.Received++
	v := c.track.observe(m.seq)
	cl.reply.Arrivals.count(v)
	if v == inOrder && m.sentNs >= t.RecordNs {
		cl.reply.Latency.record(now - m.sentNs)
	}
	if cl.IntervalNs == 0 {
		if now := nowNs(); now < t.EndNs {
			g.sendEcho(t, cl, i, now)
		}
	}
}

// trafficTick ends the traffic when its time is over and everything has come
// back, or too much time has passed.
func (g *generator) trafficTick() {
	t := g.traffic
	if t == nil {
		return
	}
	g.trafficDue() // what became due while the loop was held up
	now := nowNs()
	if now < t.EndNs {
		return
	}
	for k := range t.classes {
		if cl := &t.classes[k].reply; cl.Received < cl.Sent && now < t.EndNs+t.DrainNs {
			return
		}
	}
	r := reply{ID: t.request, Traffic: make([]classReply, len(t.classes))}
	for k := range t.classes {
		t.pacers[k].stop()
		r.Traffic[k] = t.classes[k].reply
	}
	for i := range g.conns {
		g.conns[i].class = 0
	}
	g.traffic = nil
	g.reply(r)
}
