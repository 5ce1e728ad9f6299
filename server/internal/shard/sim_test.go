package shard

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/netpolltest"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/internal/counters"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/hub"
)

// The simulation drives two shards on fake loops through long random lives:
// requests cut into pieces, joins, leaves, publishes to channels, users and
// all, with history and without, resumes, replies, peers that stop reading,
// vanish, or are closed in the middle of a fan-out, event streams, polls (sim_poll_test.go),
// short writes, spurious events, late closes. After each life it checks the rules of
// delivery (see check) and that nothing is left behind.
//
//	go test -run TestSimulation ./server/internal/shard -seed 17 -lives 1
var (
	simSeed  = flag.Uint64("seed", 0, "seed of the first life; 0 takes a random one")
	simLives = flag.Int("lives", 75, "number of lives")
)

func TestSimulation(t *testing.T) {
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64() >> 1
	}
	for i := range *simLives {
		if !t.Run(fmt.Sprintf("seed=%d", seed+uint64(i)), func(t *testing.T) { newSim(t, seed+uint64(i)).live() }) {
			t.Fatalf("rerun with: go test -run TestSimulation ./server/internal/shard -seed %d -lives 1", seed+uint64(i))
		}
	}
}

// span is a time in a channel, seen from one client: what was published after
// it joined and before it left. Messages are numbered per target.
type span struct {
	from, to int // to < 0: it is still there
	got      []int
}

// simClient is the model of one client.
type simClient struct {
	id      netpoll.ID
	loop    *netpolltest.FakeLoop
	user    string
	dec     frame.Decoder
	stream  bool // an event stream, which only listens
	polls   *simPolls
	opened  bool
	head    bool // the 101 was seen
	spans   map[string][]*span
	current map[string]int // the first span that still counts, by channel
	sent    int            // messages sent, to be echoed
	echoed  int
	closed  bool // the client sent Close, or vanished, or saw the end
	code    frame.CloseCode
	reading bool
	inbuf   []byte
	deflate frame.DeflateParams
	sent15  *frame.Window // the client's compression context
}

type sim struct {
	t       *testing.T
	rng     *rand.Rand
	cfg     *Config
	now     time.Duration
	group   *Group
	pub     *hub.Hub
	loops   [2]*netpolltest.FakeLoop
	shards  [2]*Shard
	clients []*simClient
	byID    map[netpoll.ID]*simClient
	epochs  []string       // those that were seen
	numbers map[string]int // messages published so far, by target
	opens   map[netpoll.ID]bool
	drop    bool
	history *hub.Namespace
	policy  hub.Policy // of channels with history: "h:…", and users' in every other life
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), byID: map[netpoll.ID]*simClient{},
		numbers: map[string]int{}, opens: map[netpoll.ID]bool{}, drop: seed%2 == 0,
	}
	s.cfg = testConfig()
	s.cfg.Clock = func() time.Duration { return s.now }
	s.cfg.Seed, s.cfg.SlowDrop = seed, s.drop
	s.cfg.LagMaxBytes = 1 << (11 + s.rng.IntN(8))
	s.cfg.PendingMaxBytes = 1 << (10 + s.rng.IntN(6))
	s.policy = hub.Policy(s.rng.IntN(3))
	s.history = &hub.Namespace{Messages: 1 + s.rng.IntN(30), Age: []time.Duration{time.Hour, 3 * time.Second}[s.rng.IntN(2)], Policy: s.policy}
	s.cfg.Hub = hub.Config{
		Namespaces:      map[string]*hub.Namespace{"h": s.history},
		HistoryMaxBytes: 1 << 24, LagMaxBytes: s.cfg.LagMaxBytes,
		Now: func() time.Time { return time.Unix(1_800_000_000, 0).Add(s.now) },
	}
	if s.rng.IntN(2) == 0 {
		s.cfg.Hub.Namespaces["user"] = s.history
	}
	s.cfg.PublishPauseBytes = 1 << (8 + s.rng.IntN(8))
	takeover := s.rng.IntN(2) == 0
	s.cfg.Deflate = &frame.DeflateConfig{ServerContextTakeover: takeover, ClientContextTakeover: takeover}
	s.cfg.DeflateDecoder = &frame.DecoderConfig{ExpectMasked: true, MaxMessageBytes: 4096, MaxFragments: 16, AllowRSV1: true}
	s.cfg.FanoutSlice = 1 + s.rng.IntN(5)
	s.cfg.FrameSlice = 1 + s.rng.IntN(5)
	s.cfg.SliceInterval = []time.Duration{0, 300 * time.Millisecond}[s.rng.IntN(2)]
	s.cfg.MessageRate = []int{0, 20}[s.rng.IntN(2)]
	s.group = NewGroup(s.cfg.MaxConnections)
	faults := netpolltest.Mischief()
	if s.drop {
		faults.SpuriousWritable, faults.SpuriousWake = 0, 0 // then every write to a full socket is our mistake
	}
	for i := range s.loops {
		s.loops[i] = netpolltest.NewLoop(netpolltest.Options{
			Seed: seed + uint64(i), Index: i, Faults: faults, MaxConns: s.cfg.MaxConnections,
			RoomBytes: []int{0, 300, 3000}[s.rng.IntN(3)],
		})
		s.loops[i].Start(func(l netpoll.Loop) netpoll.Handler {
			sh, err := New(s.cfg, s.group, l, (*simHooks)(s))
			if err != nil {
				t.Fatal(err)
			}
			s.shards[i] = sh
			t.Cleanup(sh.Free)
			return sh
		})
	}
	s.pub = s.group.SetShards(s.shards[:], s.cfg.Hub)
	return s
}

// testConfig is a small configuration for tests.
func testConfig() *Config {
	return &Config{
		MaxConnections: 1000, HandshakesMax: 1000, HandshakeMaxBytes: 1024, HandshakeTimeout: 10 * time.Second,
		Decoder:         &frame.DecoderConfig{ExpectMasked: true, MaxMessageBytes: 4096, MaxFragments: 16},
		MessageMaxBytes: 4096, PendingMaxBytes: 4096, LagMaxBytes: 8192, SubscriptionsMax: 8, InboxMaxEntries: 1000, InboxMaxBytes: 1 << 20,
		PublishPauseBytes: 4096, FanoutSlice: FanoutSlice, FrameSlice: FrameSlice, PingInterval: 20 * time.Second, PongTimeout: 10 * time.Second, WriteStallTimeout: 30 * time.Second,
		CloseTimeout: 5 * time.Second, TickInterval: 250 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Clock: func() time.Duration { return 0 }, Seed: 1,
		After: func(time.Duration, func()) {}, // ticks do
	}
}

// simHooks is the application: it echoes, and publishes what it is told to.
type simHooks sim

func (h *simHooks) Upgrade(_ *Shard, u *Upgrade) {
	u.Grant.User = pathUser(u)
}
func (h *simHooks) Fallback(r *handshake.Request) *Fallback { return (&fallbackHooks{}).Fallback(r) }
func (h *simHooks) Commands(r *handshake.Request, f *Fallback, body []byte) (Said, error) {
	return (&fallbackHooks{}).Commands(r, f, body)
}
func (h *simHooks) Settled(netpoll.ID) bool                        { return true }
func (h *simHooks) Busy(dst []byte, _ int, _ time.Duration) []byte { return append(dst, "busy"...) }
func (h *simHooks) Open(_ *Shard, id netpoll.ID, _ *Grant)         { h.opens[id] = true }
func (h *simHooks) Message(s *Shard, id netpoll.ID, op frame.Opcode, p []byte) {
	if target, ok := bytes.CutPrefix(p, []byte("publish ")); ok {
		(*sim)(h).publish(strings.Fields(string(target))[0])
		s.HoldPublisher(id)
		return
	}
	s.Reply(id, op, p)
}
func (h *simHooks) Closed(_ *Shard, id netpoll.ID, c Closed) {
	if !h.opens[id] {
		h.t.Errorf("Closed(%v) without Open, or twice", id)
	}
	delete(h.opens, id)
}
func (h *simHooks) Reset(*Shard, netpoll.ID, string, history.Position)     {}
func (h *simHooks) Gap(*Shard, netpoll.ID, string, string, uint64, uint64) {}
func (h *simHooks) Tick(*Shard)                                            {}
func (h *simHooks) Expired(*Shard, netpoll.ID)                             {}
func (h *simHooks) Closing(*Shard, netpoll.ID, frame.CloseCode, string)    {}
func (h *simHooks) Occupied(*Shard, string, bool)                          {}
func (h *simHooks) Joined(*Shard, netpoll.ID, string, history.Position)    {}
func (h *simHooks) Left(*Shard, netpoll.ID, string)                        {}
func (h *simHooks) OpFailed(*Shard, netpoll.ID, string, error)             {}
func (h *simHooks) ServesHTTP() bool                                       { return false }
func (h *simHooks) HTTP(*Shard, netpoll.ID, []byte) error                  { return nil }

// publish sends the next number to a target: a channel "c…", a user "u…", or
// "all".
func (s *sim) publish(target string) {
	n := s.numbers[target]
	pad := strings.Repeat(fmt.Sprintf("%x.", s.rng.Uint64()), s.rng.IntN(3)*s.rng.IntN(20))
	m := hub.NewMessage(frame.OpText, fmt.Appendf(nil, "%s %d %s", target, n, pad))
	m.Key = simKey(n)
	var err error
	switch target[0] {
	case 'c', 'h':
		_, err = s.pub.Channel(target, m, nil)
	case 'u':
		_, err = s.pub.User(target, m, nil)
	default:
		err = s.pub.All(m, nil)
	}
	if err == nil {
		s.numbers[target] = n + 1
	}
}

var simTargets = []string{"c1", "c2", "c3", "u1", "u2", "all", "h:1", "h:2", "h:3"}

var simChannels = []string{"c1", "c2", "c3", "h:1", "h:2", "h:3"}

// simKey is the key of message n.
func simKey(n int) string { return "key" + string(rune('0'+n%3)) }

// gaps tells whether messages to a target may be left out, counted.
func (s *sim) gaps(target string) bool {
	if s.kept(target) {
		return s.policy != hub.PolicyDisconnect
	}
	return s.drop
}

// kept tells whether a target has history.
func (s *sim) kept(target string) bool {
	return target[0] == 'h' || target[0] == 'u' && s.cfg.Hub.Namespaces["user"] != nil
}

// subscribe lets a client resume a channel with history at any position, a right one
// or a wrong one. Message n has the offset n+1.
func (s *sim) subscribe(c *simClient, channel string) {
	now := s.pub.Place(channel)
	if !slices.Contains(s.epochs, now.Epoch) {
		s.epochs = append(s.epochs, now.Epoch)
	}
	resume := &history.Position{Epoch: now.Epoch, Offset: uint64(s.rng.IntN(s.numbers[channel] + 2))}
	if s.rng.IntN(5) == 0 {
		resume.Epoch = s.epochs[s.rng.IntN(len(s.epochs))] // may be of a forgotten history
	}
	_ = s.shards[c.id.Loop()].Call(func(sh *Shard) {
		at, recovered, err := sh.Subscribe(c.id, channel, resume)
		if err != nil {
			return
		}
		from := at.Offset
		if recovered {
			from = resume.Offset
		}
		may := resume.Epoch == at.Epoch && resume.Offset <= at.Offset
		oldest := at.Offset + 1
		if page := s.pub.Query(channel, history.Query{Limit: 1}); len(page.Messages) > 0 {
			oldest = page.Messages[0].Offset
		}
		if must := may && resume.Offset+1 >= oldest; recovered && !may || must && !recovered {
			s.t.Errorf("client %v, %s: resume at %v, the tip is %v: recovered is %v", c.id, channel, *resume, at, recovered)
		}
		c.spans[channel] = append(c.spans[channel], &span{from: int(from), to: -1})
		// A span may begin before the end of an earlier one: the client must know from
		// where on in its stream the new one counts.
		sh.Reply(c.id, frame.OpText, fmt.Appendf(nil, "%s %d", "span:"+channel, len(c.spans[channel])-1))
	})
}

func (s *sim) live() {
	steps := 300 + s.rng.IntN(500)
	for range steps {
		s.step()
	}
	s.calm()
	s.check()
	s.leave()
}

func (s *sim) step() {
	switch p := s.rng.IntN(100); {
	case p < 10:
		s.open()
	case p < 30:
		s.publish(simTargets[s.rng.IntN(len(simTargets))])
	case p < 65:
		if c := s.any(); c != nil && c.polls != nil {
			s.actPolling(c)
		} else if c != nil {
			s.act(c)
		}
	case p < 68:
		s.now += time.Duration(s.rng.IntN(2000)) * time.Millisecond
		for _, l := range s.loops {
			l.Tick()
		}
		for range 64 * s.rng.IntN(2) {
			s.pub.Sweep() // what takes many ticks
		}
	default:
		s.turn()
	}
}

func (s *sim) any() *simClient {
	if len(s.clients) == 0 {
		return nil
	}
	if c := s.clients[s.rng.IntN(len(s.clients))]; !c.closed {
		return c
	}
	return nil
}

func (s *sim) turn() {
	i := s.rng.IntN(2)
	s.loops[i].Turn()
	for _, c := range s.clients {
		if c.loop == s.loops[i] {
			s.read(c)
		}
	}
}

func (s *sim) open() {
	l := s.loops[s.rng.IntN(2)]
	c := &simClient{loop: l, user: fmt.Sprintf("u%d", 1+s.rng.IntN(3)), spans: map[string][]*span{}, current: map[string]int{}, reading: true}
	c.dec.Reset(&frame.DecoderConfig{MaxMessageBytes: 1 << 20})
	c.id = l.Open(0)
	s.clients = append(s.clients, c)
	s.byID[c.id] = c
	if s.rng.IntN(6) == 0 {
		c.polls = &simPolls{last: map[string]int{}}
		s.poll(c)
		return
	}
	if c.stream = s.rng.IntN(4) == 0; c.stream {
		l.Deliver(c.id, []byte("GET /sse/"+c.user+" HTTP/1.1\r\nHost: x\r\n\r\n"))
		return
	}
	var offer string
	switch s.rng.IntN(3) {
	case 0:
		offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
	case 1:
		offer = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n"
	}
	l.Deliver(c.id, []byte("GET /"+c.user+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+offer+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
}

// act makes a client do something.
func (s *sim) act(c *simClient) {
	shard := s.shards[c.id.Loop()]
	channel := simChannels[s.rng.IntN(len(simChannels))]
	spans := c.spans[channel]
	inside := len(spans) > 0 && spans[len(spans)-1].to < 0
	switch p := s.rng.IntN(100); {
	case p < 20 && s.opens[c.id] && !inside:
		if s.kept(channel) && s.rng.IntN(2) == 0 {
			s.subscribe(c, channel)
		} else if shard.Join(c.id, channel) == nil {
			c.spans[channel] = append(spans, &span{from: s.numbers[channel], to: -1})
		}
	case p < 26 && inside:
		_ = shard.Leave(c.id, channel)
		spans[len(spans)-1].to = s.numbers[channel]
	case p < 55 && c.stream:
	case p < 45 && c.opened:
		s.say(c, fmt.Sprintf("echo %d", c.sent))
		c.sent++
	case p < 55 && c.opened:
		s.say(c, "publish "+simTargets[s.rng.IntN(len(simTargets))])
	case p < 60:
		c.reading = false
		c.loop.SetRoom(c.id, s.rng.IntN(200))
	case p < 80:
		c.reading = true
	case p < 82:
		_ = shard.Close(c.id, frame.CloseNormal, "enough")
	case p < 84 && c.opened && !c.stream:
		c.loop.Deliver(c.id, frame.AppendMaskedFrame(nil, frame.OpClose, [4]byte{1, 2, 3, 4}, []byte{3, 232}))
	case p < 86:
		c.closed = true
		c.loop.PeerReset(c.id, syscall.ECONNRESET)
	case p < 87:
		c.closed = true
		c.loop.PeerClose(c.id)
	case p < 88:
		c.loop.FailNextWrite(c.id, syscall.EPIPE)
	case p < 89:
		c.loop.Deliver(c.id, []byte("\xff\xff garbage"))
	}
}

func (s *sim) say(c *simClient, text string) {
	var key [4]byte
	for i := range key {
		key[i] = byte(s.rng.IntN(256))
	}
	if c.deflate.Enabled && s.rng.IntN(2) == 0 {
		text += strings.Repeat(fmt.Sprintf(" %x", s.rng.Uint64()), 20)
		c.loop.Deliver(c.id, frame.AppendMaskedDeflatedFrame(nil, frame.OpText, key, []byte(text), c.deflate.ClientMaxWindowBits, c.sent15))
		return
	}
	if s.rng.IntN(3) > 0 {
		c.loop.Deliver(c.id, frame.AppendMaskedFrame(nil, frame.OpText, key, []byte(text)))
		return
	}
	// In two fragments, a ping between them.
	cut := s.rng.IntN(len(text))
	for _, part := range []struct {
		h frame.Header
		p string
	}{
		{frame.Header{Opcode: frame.OpText}, text[:cut]},
		{frame.Header{Fin: true, Opcode: frame.OpPing}, "?"},
		{frame.Header{Fin: true, Opcode: frame.OpContinuation}, text[cut:]},
	} {
		part.h.Masked, part.h.Mask, part.h.Length = true, key, int64(len(part.p))
		p := append(frame.AppendHeader(nil, part.h), part.p...)
		frame.Mask(p[len(p)-len(part.p):], key, 0)
		c.loop.Deliver(c.id, p)
	}
}

// read looks at what a client got.
func (s *sim) read(c *simClient) {
	if c.reading && !c.closed && !c.loop.Closed(c.id) {
		c.loop.Drain(c.id, 1+s.rng.IntN(2000))
	}
	if c.code != 0 {
		return
	}
	c.inbuf = append(c.inbuf, c.loop.TakeReceived(c.id)...)
	if c.polls != nil {
		s.readPolls(c)
		return
	}
	if c.stream {
		s.readStream(c)
		return
	}
	if !c.head {
		end := bytes.Index(c.inbuf, []byte("\r\n\r\n"))
		if end < 0 {
			return
		}
		c.head, c.opened = true, bytes.HasPrefix(c.inbuf, []byte("HTTP/1.1 101"))
		s.agree(c, string(c.inbuf[:end]))
		c.inbuf = c.inbuf[end+4:]
		if !c.opened {
			c.code = frame.CloseAbnormal
			return
		}
	}
	for p := c.inbuf; ; {
		m, n, err := c.dec.Next(p)
		p = p[n:]
		if err != nil {
			s.t.Fatalf("client %v got bytes that are not frames: %v", c.id, err)
		}
		if m.Opcode == 0 {
			break
		}
		s.got(c, m)
	}
	c.inbuf = c.inbuf[:0]
}

// readStream takes the whole blocks that a stream's client has got.
func (s *sim) readStream(c *simClient) {
	if !c.head {
		head, rest, ok := bytes.Cut(c.inbuf, []byte("\r\n\r\n"))
		if !ok {
			return
		}
		c.head, c.opened, c.inbuf = true, bytes.HasPrefix(head, []byte("HTTP/1.1 200")), rest
		if !c.opened {
			c.code = frame.CloseAbnormal
			return
		}
	}
	for c.code == 0 {
		block, rest, ok := bytes.Cut(c.inbuf, []byte("\n\n"))
		if !ok {
			return
		}
		c.inbuf = rest
		_, data, ok := strings.Cut("\n"+string(block), "\ndata: ")
		switch {
		case strings.Contains(string(block), "event: close\n"):
			if _, err := fmt.Sscanf(data, `{"code":%d`, &c.code); err != nil {
				s.t.Fatalf("client %v got %q", c.id, block)
			}
		case ok:
			s.got(c, frame.Message{Opcode: frame.OpText, Payload: []byte(data)})
		}
	}
}

// agree sets a client up for the compression that the server's answer names.
func (s *sim) agree(c *simClient, head string) {
	_, answer, found := strings.Cut(head, "Sec-WebSocket-Extensions: ")
	if !found {
		return
	}
	answer, _, _ = strings.Cut(answer, "\r\n")
	params, err := frame.AcceptDeflate(answer, frame.DeflateConfig{ServerContextTakeover: true, ClientContextTakeover: true})
	if err != nil {
		s.t.Fatalf("the server answered %q: %v", answer, err)
	}
	c.deflate = params
	c.sent15 = params.ClientWindow()
	c.dec.Reset(&frame.DecoderConfig{MaxMessageBytes: 1 << 20, AllowRSV1: true})
	c.dec.SetWindow(params.ServerWindow())
}

func (s *sim) got(c *simClient, m frame.Message) {
	switch m.Opcode {
	case frame.OpPing:
		if !c.closed && !c.loop.Closed(c.id) {
			c.loop.Deliver(c.id, frame.AppendMaskedFrame(nil, frame.OpPong, [4]byte{}, m.Payload))
		}
	case frame.OpClose:
		c.code, _, _ = frame.ParseClose(m.Payload)
		if !c.closed && !c.loop.Closed(c.id) {
			c.loop.Deliver(c.id, frame.AppendMaskedFrame(nil, frame.OpClose, [4]byte{}, m.Payload))
		}
	case frame.OpText:
		var target string
		var n int
		if _, err := fmt.Sscanf(string(m.Payload), "%s %d", &target, &n); err != nil {
			s.t.Fatalf("client %v got %q", c.id, m.Payload)
		}
		switch {
		case target == "echo":
			if n != c.echoed {
				s.t.Fatalf("client %v: echo %d came, want %d", c.id, n, c.echoed)
			}
			c.echoed++
		case strings.HasPrefix(target, "span:"):
			c.current[target[len("span:"):]] = n
		case target[0] == 'c' || target[0] == 'h':
			s.gotChannel(c, target, n)
		default:
			if target[0] == 'u' && target != c.user {
				s.t.Fatalf("client %v of user %s got a message for %s", c.id, c.user, target)
			}
			s.gotSequence(c, target, n)
		}
	}
}

// gotChannel files n under the first span that it can belong to.
func (s *sim) gotChannel(c *simClient, channel string, n int) {
	for _, sp := range c.spans[channel][c.current[channel]:] {
		if n < sp.from || (sp.to >= 0 && n >= sp.to) {
			continue
		}
		if len(sp.got) > 0 {
			last := sp.got[len(sp.got)-1]
			if n <= last {
				s.t.Fatalf("client %v, %s: %d came after %d: repeated or out of order", c.id, channel, n, last)
			}
			if n != last+1 && !s.gaps(channel) {
				s.t.Fatalf("client %v, %s: %d came after %d: a gap without a word", c.id, channel, n, last)
			}
		} else if n != sp.from && !s.gaps(channel) {
			s.t.Fatalf("client %v, %s: the first was %d, joined before %d", c.id, channel, n, sp.from)
		}
		sp.got = append(sp.got, n)
		return
	}
	s.t.Fatalf("client %v, %s: %d came, which was published while it was not a subscriber", c.id, channel, n)
}

// gotSequence checks messages to users and to all: rising, without gaps.
func (s *sim) gotSequence(c *simClient, target string, n int) {
	list := c.spans[target]
	if len(list) == 0 {
		c.spans[target] = []*span{{from: n, to: -1, got: []int{n}}}
		return
	}
	sp := list[0]
	last := sp.got[len(sp.got)-1]
	if n <= last || (n != last+1 && !s.gaps(target)) {
		s.t.Fatalf("client %v, %s: %d came after %d", c.id, target, n, last)
	}
	sp.got = append(sp.got, n)
}

// calm lets everything that is under way arrive: everybody reads.
func (s *sim) calm() {
	for _, c := range s.clients {
		c.reading = true
		if !c.closed && !c.loop.Closed(c.id) {
			c.loop.SetRoom(c.id, -1)
		}
	}
	for round := range 10_000 {
		busy := false
		for _, l := range s.loops {
			busy = l.Turn() || busy
		}
		for _, l := range s.loops {
			busy = busy || l.Awake() // the other one may have woken it
		}
		for _, c := range s.clients {
			s.read(c)
		}
		if round%100 == 99 {
			// Rate limits are lifted by the clock.
			s.now += time.Second
			for _, l := range s.loops {
				l.Tick()
			}
			busy = true
		}
		if !busy && s.count(counters.Paused) == 0 && s.group.held.Load() == 0 {
			return
		}
	}
	for i, sh := range s.shards {
		s.t.Logf("shard %d: awake %v, jobs %d, active %+v, paused %d, backlog %d, held %v, stalled %d", i, s.loops[i].Awake(), sh.jobs.waiting.len(), sh.jobs.active,
			sh.count.Get(counters.Paused), sh.backlog(), sh.heldPublishers, sh.count.Get(counters.Stalled))
	}
	s.t.Fatal("the shards do not come to rest")
}

func (s *sim) count(c counters.Counter) (sum int64) {
	for _, sh := range s.shards {
		sum += sh.count.Get(c)
	}
	return sum
}

// check: each client that is still connected has everything that was published while it
// was in the channel, in order, once; with SlowDrop, all but what was counted.
func (s *sim) check() {
	var lost uint64
	for _, c := range s.clients {
		if c.closed || c.code != 0 || c.loop.Closed(c.id) {
			continue
		}
		if c.polls != nil {
			s.checkPolls(c)
		}
		if !c.opened {
			continue
		}
		for target, spans := range c.spans {
			sp := spans[len(spans)-1]
			if sp.to >= 0 {
				continue // left: the tail may have been cut off
			}
			if want := s.numbers[target] - sp.from; len(sp.got) != want {
				if !s.gaps(target) {
					s.t.Fatalf("client %v, %s: got %d messages, want %d", c.id, target, len(sp.got), want)
				}
				lost += uint64(want - len(sp.got))
			}
			if s.kept(target) {
				s.checkNewest(c, target, sp)
			}
		}
		if c.echoed != c.sent {
			s.t.Fatalf("client %v: %d of %d echoes", c.id, c.echoed, c.sent)
		}
	}
	if drops := uint64(s.count(counters.SlowDrops)); lost > drops {
		s.t.Fatalf("%d messages are missing, %d were counted as dropped", lost, drops)
	}
	kinds := []netpolltest.ViolationKind{netpolltest.UnknownID, netpolltest.StaleID, netpolltest.Panicked}
	if s.drop {
		kinds = append(kinds, netpolltest.WriteWhileFull)
	}
	for i, l := range s.loops {
		if v := l.Violations(kinds...); len(v) > 0 {
			s.t.Fatalf("loop %d: the shard broke the contract: %v", i, v)
		}
	}
}

// checkNewest: whatever was left out, the newest message is there, and with
// hub.PolicyLatest that of each key, if it is among those that are kept.
func (s *sim) checkNewest(c *simClient, target string, sp *span) {
	if s.kept(target) && s.history.Age < time.Hour {
		return // the newest message, too, may have been too old
	}
	missing := map[string]int{}
	for n := sp.from; n < s.numbers[target]; n++ {
		missing[simKey(n)] = n
	}
	for _, n := range sp.got {
		if missing[simKey(n)] == n {
			delete(missing, simKey(n))
		}
	}
	for key, n := range missing {
		latest := s.policy == hub.PolicyLatest && n >= s.numbers[target]-s.history.Messages
		if latest || n == s.numbers[target]-1 {
			s.t.Fatalf("client %v, %s: %d never came, the newest of %s; policy %d, from %d got %v", c.id, target, n, key, s.policy, sp.from, sp.got)
		}
	}
}

// leave ends everything and looks for what was left behind.
func (s *sim) leave() {
	for _, c := range s.clients {
		if !c.closed && !c.loop.Closed(c.id) {
			c.loop.PeerClose(c.id)
		}
	}
	for range 50 {
		s.now += 10 * time.Millisecond // those that were read too much are read again
		for _, l := range s.loops {
			l.Wake()
			l.Turn()
		}
	}
	if len(s.opens) > 0 {
		s.t.Errorf("%d connections got Open and no Closed", len(s.opens))
	}
	for i, sh := range s.shards {
		c := sh.count.Get
		for name, v := range map[string]int64{
			"Reading": c(counters.Reading), "Lagging": c(counters.Lagging), "JournalBytes": c(counters.JournalBytes), "laggers": int64(sh.journal.laggers), "Open": c(counters.Connections), "Stalled": c(counters.Stalled), "Paused": c(counters.Paused), "PendingBytes": c(counters.PendingBytes),
			"Subscriptions": c(counters.Subscriptions), "Channels": c(counters.Channels), "inbox entries": sh.inbox.entries.Load(),
			"inbox bytes": sh.inbox.bytes.Load(), "job bytes": sh.jobs.bytes.Load(), "connections": int64(sh.slots.used),
			"users": int64(sh.users.used), "exts": int64(len(sh.rare.rows) - 1 - len(sh.rare.free)), "Panics": c(counters.Panics),
		} {
			if v != 0 {
				s.t.Errorf("shard %d: %s = %d at the end", i, name, v)
			}
		}
	}
	for range 64 {
		s.pub.Sweep()
	}
	if st := s.pub.Stats(); st.Readers != 0 || st.ExtraBytes != 0 {
		s.t.Errorf("%d readers at the end, and %d bytes are kept for them", st.Readers, st.ExtraBytes)
	}
	// What is too old is forgotten, unless somebody is still to be served.
	s.now += 3 * time.Hour
	for range 64 {
		s.pub.Sweep()
	}
	if st := s.pub.Stats(); st.Channels != 0 || st.Messages != 0 || st.Bytes != 0 {
		s.t.Errorf("histories at the end: %+v", st)
	}
	if n := s.group.connections.Load(); n != 0 {
		s.t.Errorf("the group counts %d connections at the end", n)
	}
}
