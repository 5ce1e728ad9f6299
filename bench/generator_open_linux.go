package bench

import (
	"crypto/tls"
	"errors"
	"io"
	"net/netip"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// openSlice is how many connects one turn of the loop starts before the
// sockets have theirs.
const openSlice = 64

// opening is a request to connect that is under way.
type opening struct {
	request int
	open    openRequest
	endpoint
	tls      *tls.Config // nil for ws://
	path     perConn
	headers  []perConn
	channel  perConn   // of clients of a fallback
	messages []perConn // sent after the upgrade
	next     int       // the next to connect
	inFlight int
	settled  int // no connection before this one is being opened
	reply    openReply
	noticed  int // what the last notice said
}

func (g *generator) startOpening(id int, r *openRequest) {
	o, err := newOpening(id, r)
	if err != nil {
		g.reply(reply{ID: id, Error: err.Error()})
		return
	}
	if more := r.Count - len(g.conns); r.Grow && more >= 0 && g.first == r.First {
		// A connection that was closed since the last step must not be forgotten.
		g.conns = append(g.conns, make([]conn, more)...)
	} else {
		if more != 0 || g.first != r.First {
			g.conns, g.first = make([]conn, r.Count), r.First
		}
		g.view = newGeneratorView()
	}
	g.stream = streamState{}
	g.last = lastMessage{}
	g.json, g.native, g.transport = r.JSON, r.Native, r.Transport
	g.stopPolling()
	g.fallback = newFallback(o, len(g.conns))
	g.opening = o
}

func newOpening(id int, r *openRequest) (*opening, error) {
	e, err := splitURL(r.URL)
	if err != nil {
		return nil, err
	}
	o := &opening{request: id, open: *r, endpoint: e}
	if e.secure {
		o.tls = r.Trust.config(e.name)
	}
	o.reply = openReply{Failed: make(map[string]int), Latency: newHistogram()}
	if o.path, err = newPerConn(e.path, r.Tokens); err != nil {
		return nil, err
	}
	if o.channel, err = newPerConn(r.Channel, r.Tokens); err != nil {
		return nil, err
	}
	for _, text := range r.Subscribe {
		pc, err := newPerConn(text, r.Tokens)
		if err != nil {
			return nil, err
		}
		o.messages = append(o.messages, pc)
	}
	headers := r.Headers
	if r.Compression {
		headers = append([]string{"Sec-WebSocket-Extensions: " + compressionOffer}, headers...)
	}
	for _, h := range headers {
		pc, err := newPerConn(h, r.Tokens)
		if err != nil {
			return nil, err
		}
		o.headers = append(o.headers, pc)
	}
	return o, nil
}

// openMore connects as many as may be in flight, a slice at a time.
func (g *generator) openMore() (again bool) {
	o := g.opening
	if o == nil {
		return false
	}
	for n := 0; o.next < len(g.conns) && o.inFlight < o.open.InFlight; n++ {
		if n == openSlice {
			return true
		}
		i := o.next
		o.next++
		if g.conns[i].state == connOpen {
			o.reply.Opened++
			continue
		}
		g.connect(o, i)
	}
	g.openingDone()
	return false
}

func (g *generator) connect(o *opening, i int) {
	c := &g.conns[i]
	*c = conn{state: connConnecting, started: nowNs()}
	g.forget(int32(i))
	var source netip.Addr
	if o.open.LocalSources {
		source = localSource(g.first + i)
	}
	o.inFlight++
	fd, err := dial(o.to, source)
	if err == nil {
		if err = g.loop.Attach(fd, netpoll.AttachTag+uint64(i)); err != nil {
			closeFD(fd)
		}
	}
	if err != nil {
		g.openFailed(c, err)
	}
}

// OnOpen sends the upgrade request, or begins the TLS handshake before it.
func (g *generator) OnOpen(id netpoll.ID, tag uint64) {
	i := int32(tag - netpoll.AttachTag)
	for int(id.Slot()) >= len(g.slots) {
		g.slots = append(g.slots, -1)
	}
	g.slots[id.Slot()] = i
	c := &g.conns[i]
	c.id = id
	o := g.opening
	if o == nil || c.state != connConnecting {
		g.loop.Abort(id)
		return
	}
	if o.tls != nil {
		g.beginTLS(i, o.tls)
		return
	}
	g.requestUpgrade(i, o)
}

func (g *generator) requestUpgrade(i int32, o *opening) {
	if g.transport.fallback() {
		g.ask(i)
		return
	}
	n := g.first + int(i)
	path, _ := o.path.expand(n)
	headers := make([]string, len(o.headers))
	for k, h := range o.headers {
		headers[k], _ = h.expand(n)
	}
	g.frame = appendUpgradeRequest(g.frame[:0], path, o.host, n, headers)
	g.write(i, g.frame)
}

// upgraded is called when connection i's response was right.
func (g *generator) upgraded(i int32) {
	c, o := &g.conns[i], g.opening
	c.state = connOpen
	if o == nil {
		return
	}
	o.inFlight--
	o.reply.Opened++
	o.reply.Latency.record(nowNs() - c.started)
	opcode := frame.OpText
	if o.open.Binary {
		opcode = frame.OpBinary
	}
	for _, m := range o.messages {
		text, _ := m.expand(g.first + int(i)) // newPerConn has tried it
		g.send(i, opcode, []byte(text))
	}
	g.openMoreSoon(o)
}

// openFailed counts a connection that was never open.
func (g *generator) openFailed(c *conn, err error) {
	c.state = connNone
	if o := g.opening; o != nil {
		o.inFlight--
		o.reply.Failed[err.Error()]++
		g.openMoreSoon(o)
	}
}

// openMoreSoon lets the next connects start in a turn of their own: this one
// may be deep inside a callback.
func (g *generator) openMoreSoon(o *opening) { g.loop.Wake() }

func (g *generator) openingDone() {
	o := g.opening
	if o.inFlight == 0 && o.next == len(g.conns) {
		g.opening = nil
		g.startPolling()
		g.reply(reply{ID: o.request, Open: &o.reply})
	}
}

var errUpgradeTimeout = errors.New("no upgrade in time")

func (g *generator) openingTick() {
	o := g.opening
	if o == nil {
		return
	}
	if o.reply.Opened != o.noticed {
		o.noticed = o.reply.Opened
		g.reply(reply{Notice: &notice{Opened: o.reply.Opened}})
	}
	oldest := nowNs() - o.open.TimeoutNs
	for o.settled < o.next && g.conns[o.settled].state != connConnecting {
		o.settled++
	}
	for i := o.settled; i < o.next; i++ {
		c := &g.conns[i]
		if c.state == connConnecting && c.started < oldest && c.id != 0 {
			g.openFailed(c, errUpgradeTimeout)
			resetOnClose(g.loop.FD(c.id))
			g.loop.Abort(c.id)
		}
	}
	g.openMoreSoon(o)
}

// OnClose notes that a connection was closed, and why.
func (g *generator) OnClose(id netpoll.ID, err error) {
	i := g.slots[id.Slot()]
	if int(i) >= len(g.conns) || g.conns[i].id != id {
		return // of an earlier opening
	}
	g.forget(i)
	c := &g.conns[i]
	switch c.state {
	case connConnecting:
		if err == io.EOF {
			err = errors.New("closed before the upgrade")
		}
		g.openFailed(c, err)
	case connOpen:
		g.view.Closed++
		g.view.ClosedBy[err.Error()]++
	}
	*c = conn{}
}
