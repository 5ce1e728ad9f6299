package shard

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/netpolltest"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
)

// The promise of resume, on a large scale: clients are cut, stalled and come
// back at random while messages are published, and each of them ends with exactly
// the right sequence in each of its channels, or was told of the gap. Now and then a
// channel loses its history, and has a new epoch.
//
//	go test -run TestExactness -v ./server/internal/shard -clients 10000 -messages 100000 -channels 1000 -seed 17
//
// Without these flags it is a tenth of that.
var (
	exactClients  = flag.Int("clients", 1000, "clients of TestExactness")
	exactMessages = flag.Int("messages", 10_000, "messages of TestExactness")
	exactChannels = flag.Int("channels", 100, "channels of TestExactness")
)

// An exactClient has one connection after the other.
type exactClient struct {
	name     int
	stream   bool   // it is an EventSource, and remembers nothing but cursor
	polls    bool   // it polls, with nothing but cursor
	cursor   string // the last ID
	channels []string
	// position is that of the last message it has, by channel; none before it is
	// subscribed for the first time.
	position map[string]history.Position

	id      netpoll.ID
	loop    *netpolltest.FakeLoop
	online  bool
	head    bool
	dec     frame.Decoder
	inbuf   []byte
	stalled bool
}

type exactness struct {
	t         *testing.T
	rng       *rand.Rand
	now       time.Duration
	pub       *hub.Hub
	loops     [2]*netpolltest.FakeLoop
	shards    [2]*Shard
	clients   []*exactClient
	published map[string]history.Position // where each channel stands

	got, answers, cuts, stalls, resumed, told, kicked, resets, pushed int
}

// exactHooks let everybody in, and tell of a new epoch.
type exactHooks struct{ rigHooks }

func (h *exactHooks) Upgrade(_ *Shard, u *Upgrade) { u.Grant.Protocol = 1 }
func (h *exactHooks) Fallback(r *handshake.Request) *Fallback {
	f := h.rigHooks.Fallback(r)
	if f != nil {
		f.Protocol = 1
	}
	return f
}

// exactReset is what clients get.
func exactReset(channel string, at history.Position) []byte {
	return fmt.Appendf(nil, "reset %s %d %s", channel, at.Offset, at.Epoch)
}

var exactProtocol = Protocol{Encode: func(m *hub.Message) *frame.Prepared {
	if m.Resets() {
		return frame.Prepare(frame.OpText, exactReset(m.Channel, history.Position{Epoch: m.Epoch, Offset: m.Offset}))
	}
	return m.Raw()
}}

func (h *exactHooks) Reset(s *Shard, id netpoll.ID, channel string, at history.Position) {
	s.Reply(id, frame.OpText, exactReset(channel, at))
}

// Message subscribes: CHANNEL, or CHANNEL EPOCH OFFSET to resume.
func (h *exactHooks) Message(s *Shard, id netpoll.ID, _ frame.Opcode, p []byte) {
	fields := strings.Fields(string(p))
	var resume *history.Position
	if channel := fields[0]; len(fields) > 1 {
		resume = &history.Position{Epoch: fields[1]}
		if _, err := fmt.Sscan(fields[2], &resume.Offset); err != nil {
			panic(channel + ": " + err.Error())
		}
	}
	var at history.Position
	var recovered bool
	var err error
	if user, ok := strings.CutPrefix(fields[0], hub.UserPrefix); ok {
		at, recovered = s.SetUser(id, user, resume)
	} else {
		at, recovered, err = s.Subscribe(id, fields[0], resume)
	}
	if err == nil {
		s.Hush(id, recovered)
		s.Reply(id, frame.OpText, fmt.Appendf(nil, "subscribed %s %d %s %v", fields[0], at.Offset, at.Epoch, recovered))
		s.Hush(id, false)
	}
}
func (h *exactHooks) Closed(*Shard, netpoll.ID, Closed)                      {}
func (h *exactHooks) OpFailed(_ *Shard, _ netpoll.ID, _ string, err error)   { panic(err) }
func (h *exactHooks) Gap(*Shard, netpoll.ID, string, string, uint64, uint64) {}
func (h *exactHooks) Open(s *Shard, id netpoll.ID, _ *Grant)                 { s.Ready(id) }

func TestExactness(t *testing.T) {
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	t.Logf("seed %d", seed)
	defer func() {
		if t.Failed() {
			t.Logf("rerun with: -run TestExactness -seed %d -clients %d -messages %d -channels %d", seed, *exactClients, *exactMessages, *exactChannels)
		}
	}()
	e := &exactness{t: t, rng: rand.New(rand.NewPCG(seed, 2)), published: map[string]history.Position{}}
	cfg := testConfig()
	cfg.Clock = func() time.Duration { return e.now }
	cfg.Seed, cfg.MaxConnections = seed, 2**exactClients+100
	cfg.InboxMaxEntries, cfg.LagMaxBytes = 1<<20, 1<<16
	cfg.Protocols = []Protocol{exactProtocol}
	cfg.Hub = hub.Config{
		HistoryMaxBytes: 1 << 30, LagMaxBytes: cfg.LagMaxBytes,
		Namespaces: map[string]*hub.Namespace{"": {Messages: 30, Age: time.Hour}, "user": {Messages: 30, Age: time.Hour}},
	}
	group := NewGroup(cfg.MaxConnections)
	for i := range e.loops {
		e.loops[i] = netpolltest.NewLoop(netpolltest.Options{Seed: seed + uint64(i), Index: i, MaxConns: cfg.MaxConnections, Faults: netpolltest.Faults{ShortWrite: 0.02}})
		e.loops[i].Start(func(l netpoll.Loop) netpoll.Handler {
			sh, err := New(cfg, group, l, &exactHooks{})
			if err != nil {
				t.Fatal(err)
			}
			e.shards[i] = sh
			t.Cleanup(sh.Free)
			return sh
		})
	}
	e.pub = group.SetShards(e.shards[:], cfg.Hub)
	for i := range *exactClients {
		c := &exactClient{name: i, stream: i%3 == 1, polls: i%3 == 2, position: map[string]history.Position{}}
		channels := 3
		if i%4 == 3 {
			channels = 1 // the IDs of its events are other subscribers', too
		}
		for len(c.channels) < channels {
			if name := fmt.Sprintf("c%d", e.rng.IntN(*exactChannels)); !strings.Contains(fmt.Sprint(c.channels, " "), name+" ") {
				c.channels = append(c.channels, name)
			}
		}
		if channels > 1 {
			c.channels = append(c.channels, fmt.Sprintf("user:u%d", e.rng.IntN(3)))
		}
		e.clients = append(e.clients, c)
	}
	const rounds = 200
	for range rounds {
		e.round(*exactMessages / rounds)
	}
	e.calm()
	t.Logf("%d clients got %d messages; %d polls; %d cuts, %d stalls, %d disconnected as slow; of the subscriptions %d were resumed exactly and %d told of a gap; %d new epochs, told %d times",
		len(e.clients), e.got, e.answers, e.cuts, e.stalls, e.kicked, e.resumed, e.told, e.resets, e.pushed)
	if e.resumed == 0 || e.told == 0 || e.kicked == 0 || e.pushed == 0 {
		t.Error("not everything that can happen has happened: choose other numbers")
	}
}

// round lets things happen, and the loops act on them in between.
func (e *exactness) round(messages int) {
	for part := range 4 {
		for range messages / 4 {
			if e.rng.IntN(10) == 0 {
				e.publish(fmt.Sprintf("user:u%d", e.rng.IntN(3)))
				continue
			}
			e.publish(fmt.Sprintf("c%d", e.rng.IntN(*exactChannels)))
		}
		if e.rng.IntN(10) == 0 { // a burst that is longer than the history
			busy := fmt.Sprintf("c%d", e.rng.IntN(*exactChannels))
			for range e.rng.IntN(100) {
				e.publish(busy)
			}
		}
		if e.rng.IntN(4) == 0 {
			e.reset([]string{fmt.Sprintf("c%d", e.rng.IntN(*exactChannels)), fmt.Sprintf("user:u%d", e.rng.IntN(3))}[e.rng.IntN(2)])
		}
		for range len(e.clients) / 20 {
			e.disturb(e.clients[e.rng.IntN(len(e.clients))])
		}
		e.loops[part%2].Turn()
		if e.rng.IntN(2) == 0 {
			e.loops[(part+1)%2].Turn()
		}
		e.readAll()
	}
	e.now += 100 * time.Millisecond
	for _, l := range e.loops {
		l.Tick()
	}
}

// at is where a channel stands.
func (e *exactness) at(channel string) history.Position {
	if _, ok := e.published[channel]; !ok {
		e.published[channel] = e.pub.Place(channel).Position
	}
	return e.published[channel]
}

// reset lets a channel go on at a position of another epoch.
func (e *exactness) reset(channel string) {
	e.at(channel)
	e.resets++
	to := history.Position{Epoch: fmt.Sprint("e", e.resets), Offset: []uint64{0, uint64(e.rng.IntN(100)), 1<<40 + e.rng.Uint64N(1<<40)}[e.rng.IntN(3)]}
	e.pub.Reset(channel, to)
	e.published[channel] = to
}

func (e *exactness) publish(channel string) {
	pad := strings.Repeat("x", e.rng.IntN(300))
	now := e.at(channel)
	m := hub.NewMessage(frame.OpText, fmt.Appendf(nil, "m %s %d %s %s", channel, now.Offset+1, now.Epoch, pad))
	publish := e.pub.Channel
	if user, ok := strings.CutPrefix(channel, hub.UserPrefix); ok {
		channel, publish = user, e.pub.User
	}
	_, err := publish(channel, m, nil)
	for tries := 0; err == hub.ErrBusy && tries < 1000; tries++ {
		// As a publisher does: it waits until the loops have made room.
		e.loops[0].Turn()
		e.loops[1].Turn()
		_, err = publish(channel, m, nil)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	now.Offset++
	e.published[m.Channel] = now
}

// disturb makes something happen to a client.
func (e *exactness) disturb(c *exactClient) {
	switch p := e.rng.IntN(10); {
	case !c.online:
		e.connect(c)
	case p < 3:
		e.cuts++
		c.loop.PeerReset(c.id, syscall.ECONNRESET)
		e.gone(c)
	case p < 6:
		e.stalls++
		c.stalled = true
		c.loop.SetRoom(c.id, e.rng.IntN(500))
	default:
		c.stalled = false
		c.loop.SetRoom(c.id, -1)
	}
}

// gone forgets a connection, with what is on its way: that is what resume is for.
func (e *exactness) gone(c *exactClient) {
	c.online, c.stalled, c.inbuf = false, false, nil
}

func (e *exactness) connect(c *exactClient) {
	i := e.rng.IntN(2)
	c.loop, c.online, c.head = e.loops[i], true, false
	c.dec.Reset(&frame.DecoderConfig{MaxMessageBytes: 1 << 20})
	c.id = c.loop.Open(0)
	if e.rng.IntN(4) == 0 { // it may be cut before it has all replies
		c.stalled = true
		c.loop.SetRoom(c.id, e.rng.IntN(1000))
	}
	e.ask(c)
}

// ask says on a new connection, or for the next poll, where the client is.
func (e *exactness) ask(c *exactClient) {
	if c.stream || c.polls {
		e.setBack(c)
	}
	var commands strings.Builder
	for _, channel := range c.channels {
		commands.WriteString(channel)
		if at, ok := c.position[channel]; ok {
			fmt.Fprintf(&commands, " %s %d", at.Epoch, at.Offset)
		}
		commands.WriteByte('\n')
	}
	if c.polls {
		c.head = false
		c.loop.Deliver(c.id, []byte("GET /poll/?"+url.QueryEscape(commands.String())+" HTTP/1.1\r\nHost: x\r\nPrefer: wait=20\r\nLast-Event-ID: "+c.cursor+"\r\n\r\n"))
		return
	}
	if c.stream {
		c.loop.Deliver(c.id, []byte("GET /sse/?"+url.QueryEscape(commands.String())+" HTTP/1.1\r\nHost: x\r\nLast-Event-ID: "+c.cursor+"\r\n\r\n"))
		return
	}
	c.loop.Deliver(c.id, []byte(exactUpgrade))
	for line := range strings.Lines(commands.String()) {
		c.loop.Deliver(c.id, frame.AppendMaskedFrame(nil, frame.OpText, [4]byte{}, []byte(line)))
	}
}

const exactUpgrade = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// setBack makes a client forget everything but the last event's ID, which must be where
// it was, or say that it has missed the end of an epoch.
func (e *exactness) setBack(c *exactClient) {
	position := map[string]history.Position{}
	for part := range strings.SplitSeq(c.cursor, ",") {
		channel, text, ok := strings.Cut(part, "@")
		if !ok {
			continue
		}
		dot := strings.LastIndexByte(text, '.')
		offset, err := strconv.ParseUint(text[dot+1:], 10, 64)
		at := history.Position{Epoch: text[:max(dot, 0)], Offset: offset}
		was := c.position[channel]
		if lost := at.Epoch == lostEpoch && was.Epoch != e.published[channel].Epoch; err != nil || at != was && !lost {
			e.t.Fatalf("client %d has the ID %s, but is at %v; %s is at %v", c.name, c.cursor, c.position, channel, e.published[channel])
		}
		position[channel] = at
	}
	if len(position) != len(c.position) {
		e.t.Fatalf("client %d has the ID %s, but is at %v", c.name, c.cursor, c.position)
	}
	c.position = position
}

// readPoll takes a whole response, and asks again: mostly over the same connection.
func (e *exactness) readPoll(c *exactClient) {
	head, rest, ok := bytes.Cut(c.inbuf, []byte("\r\n\r\n"))
	length := 0
	if _, text, found := strings.Cut(string(head), "\r\nContent-Length: "); found {
		length, _ = strconv.Atoi(strings.TrimSpace(strings.SplitN(text, "\r\n", 2)[0]))
	}
	if !ok || len(rest) < length {
		return
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) || length < 2 || rest[0] != '[' || rest[length-1] != ']' {
		e.t.Fatalf("client %d got %q", c.name, c.inbuf)
	}
	e.answers++
	elements := string(rest[1 : length-1])
	c.inbuf = rest[length:]
	for element := range strings.SplitSeq(elements, ",") {
		if strings.HasPrefix(element, `{"close"`) {
			e.kicked++
			e.gone(c)
			break
		}
		if element != "" {
			e.take(c, element)
		}
	}
	if _, text, found := strings.Cut(string(head), "\r\nLast-Event-ID: "); found {
		c.cursor, _, _ = strings.Cut(text, "\r\n")
	}
	switch {
	case !c.online:
	case e.rng.IntN(10) == 0:
		c.loop.PeerClose(c.id)
		e.gone(c)
	default:
		e.ask(c)
	}
}

// readStream does what an EventSource does.
func (e *exactness) readStream(c *exactClient) {
	for c.online {
		block, rest, ok := bytes.Cut(c.inbuf, []byte("\n\n"))
		if !ok {
			return
		}
		c.inbuf = rest
		data, closed, id := "", false, ""
		for line := range strings.SplitSeq(string(block), "\n") {
			switch field, value, _ := strings.Cut(line, ": "); field {
			case "id":
				id = value
			case "data":
				data = value
			case "event":
				closed = true
			}
		}
		switch {
		case closed:
			e.kicked++
			e.gone(c)
		case data != "":
			e.take(c, data)
		}
		if id != "" {
			c.cursor = id
		}
	}
}

func (e *exactness) readAll() {
	for _, c := range e.clients {
		if !c.online {
			continue
		}
		if p := c.loop.TakeReceived(c.id); len(p) > 0 {
			c.inbuf = append(c.inbuf, p...)
			e.read(c)
		}
		if c.online && c.loop.Closed(c.id) {
			e.gone(c)
		}
	}
}

func (e *exactness) read(c *exactClient) {
	if c.polls {
		e.readPoll(c)
		return
	}
	if !c.head {
		_, rest, ok := bytes.Cut(c.inbuf, []byte("\r\n\r\n"))
		if !ok {
			return
		}
		c.head, c.inbuf = true, rest
	}
	if c.stream {
		e.readStream(c)
		return
	}
	for p := c.inbuf; c.online; {
		m, n, err := c.dec.Next(p)
		p = p[n:]
		switch {
		case err != nil:
			e.t.Fatalf("client %d: %v", c.name, err)
		case m.Opcode == 0:
			c.inbuf = c.inbuf[:0]
			return
		case m.Opcode == frame.OpText:
			e.take(c, string(m.Payload))
		case m.Opcode == frame.OpClose:
			e.kicked++
			c.loop.PeerClose(c.id)
			e.gone(c)
		case m.Opcode == frame.OpPing:
			c.loop.Deliver(c.id, frame.AppendMaskedFrame(nil, frame.OpPong, [4]byte{}, nil))
		}
	}
}

// take is what every client of Roost has to do.
func (e *exactness) take(c *exactClient, text string) {
	fields := strings.Fields(text)
	channel := fields[1]
	var n uint64
	if _, err := fmt.Sscan(fields[2], &n); err != nil {
		e.t.Fatal(err)
	}
	was, known := c.position[channel]
	at := history.Position{Epoch: fields[3], Offset: n}
	switch fields[0] {
	case "subscribed":
		switch {
		case fields[4] == "true" && was.Epoch != at.Epoch:
			e.t.Fatalf("client %d, %s: recovered at %v from %v, %v", c.name, channel, at, was, known)
		case fields[4] == "true":
			e.resumed++
			return
		case known:
			e.told++
		}
	case "reset":
		if !known || at.Epoch == was.Epoch {
			e.t.Fatalf("client %d, %s: reset from %v, %v to %v", c.name, channel, was, known, at)
		}
		e.pushed++
	default:
		if at.Epoch != was.Epoch || n != was.Offset+1 {
			e.t.Fatalf("client %d, %s: message %v came after %v", c.name, channel, at, was)
		}
		e.got++
	}
	c.position[channel] = at
}

// calm lets everybody come back and read, and compares.
func (e *exactness) calm() {
	for range 1000 {
		for _, c := range e.clients {
			switch {
			case !c.online:
				e.connect(c)
			case c.stalled:
				c.stalled = false
				c.loop.SetRoom(c.id, -1)
			}
		}
		busy := true
		for busy {
			busy = false
			for _, l := range e.loops {
				busy = l.Turn() || busy
			}
		}
		e.readAll()
		done := true
		for _, c := range e.clients {
			done = done && c.online && !c.stalled
		}
		if !done {
			continue
		}
		for range 10 { // polls
			for _, l := range e.loops {
				for l.Turn() {
				}
			}
			e.readAll()
		}
		for _, c := range e.clients {
			for _, channel := range c.channels {
				if c.online && c.position[channel] != e.at(channel) {
					e.t.Fatalf("client %d, %s: ends at %v, published were %v", c.name, channel, c.position[channel], e.published[channel])
				}
			}
		}
		return
	}
	e.t.Fatal("not everybody came to rest")
}
