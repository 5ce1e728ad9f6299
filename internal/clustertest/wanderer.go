package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A wanderer is a client that goes from node to node.
type wanderer struct {
	r    *Rig
	name int
	rng  *rand.Rand

	// Guarded by mu.
	mu       sync.Mutex
	channels []*follow
}

// A follow is one channel of a wanderer.
type follow struct {
	name       string
	at         place
	started    bool
	subscribed bool
	gap        uint64          // messages up to here may be left out
	over       map[string]bool // epochs that ended
}

func newWanderer(r *Rig, name int) *wanderer {
	w := &wanderer{r: r, name: name, rng: rand.New(rand.NewPCG(r.o.Seed, 1_000_000+uint64(name)))}
	for _, k := range w.rng.Perm(r.o.Channels)[:min(3, r.o.Channels)] {
		w.channels = append(w.channels, &follow{name: r.channel(k), over: map[string]bool{}})
	}
	return w
}

// run lives one connection after the other.
func (w *wanderer) run(stop chan struct{}) {
	for try := 0; ; try++ {
		if w.life(stop) {
			try = 0
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(w.rng.IntN(100*(1+min(try, 10)))) * time.Millisecond):
		}
	}
}

// incoming is any message of the server.
type incoming struct {
	ID        int
	Error     *struct{ Code int }
	Connect   *struct{}
	Subscribe *struct {
		Epoch     string
		Offset    uint64
		Recovered *bool
	}
	Pub *struct {
		Channel string
		Epoch   string
		Offset  uint64
		Data    content
	}
	Gap *struct {
		Channel  string
		Epoch    string
		From, To uint64
	}
	Reset *struct {
		Channel string
		Epoch   string
		Offset  uint64
	}
}

// A talk is one connection.
type talk struct {
	w    *wanderer
	conn net.Conn
	send sync.Mutex
}

func (t *talk) say(text string) error {
	t.send.Lock()
	defer t.send.Unlock()
	return wsutil.WriteClientText(t.conn, []byte(text))
}

// life is one connection to a node, and reports whether it was of use.
func (w *wanderer) life(stop chan struct{}) (useful bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	small := w.rng.IntN(4) == 0
	dialer := ws.Dialer{Protocols: []string{"roost.v1.json"}, NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil && small {
			_ = c.(*net.TCPConn).SetReadBuffer(4096)
		}
		return c, err
	}}
	conn, early, _, err := dialer.Dial(ctx, "ws://"+w.r.nodes[w.rng.IntN(len(w.r.nodes))].addr+"/")
	if err != nil {
		return false
	}
	if early != nil {
		ws.PutReader(early) // the server does not speak first
	}
	w.r.connects.Add(1)
	t := &talk{w: w, conn: conn}
	over := make(chan struct{})
	defer close(over)
	defer func() { _ = conn.Close() }()
	cut := time.NewTimer(time.Duration(500+w.rng.IntN(15_000)) * time.Millisecond)
	hard := w.rng.IntN(2) == 0
	go func() {
		for {
			select {
			case <-cut.C:
				if w.r.calm.Load() {
					continue
				}
				if w.r.cuts.Add(1); hard {
					_ = conn.(*net.TCPConn).SetLinger(0)
				}
			case <-stop:
			case <-over:
			}
			_ = conn.Close()
			return
		}
	}()
	stall := time.Now().Add(time.Duration(w.rng.IntN(30_000)) * time.Millisecond)
	w.mu.Lock()
	for _, f := range w.channels {
		f.subscribed = false
	}
	w.mu.Unlock()
	if t.say(`{"id":1,"connect":{}}`) != nil {
		return false
	}
	for {
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute)) // the server pings
		text, err := wsutil.ReadServerText(conn)
		if err != nil {
			return useful
		}
		useful = true
		if !w.r.calm.Load() && time.Now().After(stall) {
			w.r.stalls.Add(1)
			time.Sleep(time.Duration(w.rng.IntN(3000)) * time.Millisecond)
			stall = time.Now().Add(time.Minute)
		}
		if err := t.take(text); err != nil {
			return useful
		}
	}
}

// take takes one message.
func (t *talk) take(text []byte) error {
	w := t.w
	if string(text) == "{}" {
		return t.say("{}")
	}
	var m incoming
	if err := json.Unmarshal(text, &m); err != nil {
		w.r.known.violate("client %d got %s", w.name, text)
		return err
	}
	switch {
	case m.Connect != nil:
		for k := range w.channels {
			if err := t.subscribe(k); err != nil {
				return err
			}
		}
	case m.Error != nil:
		if m.ID < 2 || m.Error.Code != 111 && m.Error.Code != 112 {
			w.r.known.violate("client %d got %s", w.name, text)
			return net.ErrClosed
		}
		time.AfterFunc(200*time.Millisecond, func() { _ = t.subscribe(m.ID - 2) })
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.learn(&m, text)
	}
	return nil
}

// subscribe sends the command for a channel, with the position in it.
func (t *talk) subscribe(k int) error {
	t.w.mu.Lock()
	f := t.w.channels[k]
	resume := ""
	if f.started {
		resume = fmt.Sprintf(`,"resume":{"epoch":%q,"offset":%d}`, f.at.Epoch, f.at.Offset)
	}
	t.w.mu.Unlock()
	return t.say(fmt.Sprintf(`{"id":%d,"subscribe":{"channel":%q%s}}`, k+2, f.name, resume))
}

// follow returns a channel, nil if it is not subscribed.
func (w *wanderer) follow(name string) *follow {
	for _, f := range w.channels {
		if f.name == name && f.subscribed {
			return f
		}
	}
	return nil
}

// learn takes what moves a position, by the rules of docs/protocol.md. With mu held.
func (w *wanderer) learn(m *incoming, text []byte) {
	wrong := func(f *follow, why string) {
		w.r.known.violateAt(w.name, f, text, why)
	}
	switch {
	case m.Subscribe != nil:
		f := w.channels[m.ID-2]
		f.subscribed = true
		at := place{m.Subscribe.Epoch, m.Subscribe.Offset}
		switch recovered := m.Subscribe.Recovered; {
		case f.started != (recovered != nil):
			wrong(f, "recovered is there exactly where resume was")
		case f.started && *recovered:
			w.r.resumed.Add(1)
			if at.Epoch != f.at.Epoch || at.Offset < f.at.Offset {
				wrong(f, "recovered from another epoch, or from the future")
			}
		default:
			if f.started {
				w.r.told.Add(1)
				if w.r.strict {
					wrong(f, "not recovered, and nothing was lost")
				} else if at.Epoch == f.at.Epoch {
					wrong(f, "not recovered, and the epoch is the same")
				}
			}
			w.move(f, at)
		}
	case m.Pub != nil:
		w.r.received.Add(1)
		f := w.follow(m.Pub.Channel)
		if f == nil {
			w.r.known.violate("client %d got %s without a subscription", w.name, text)
			return
		}
		if m.Pub.Epoch != "" && m.Pub.Epoch != f.at.Epoch {
			wrong(f, "another epoch, untold")
			w.move(f, place{m.Pub.Epoch, m.Pub.Offset})
			return
		}
		switch {
		case m.Pub.Offset <= f.at.Offset:
			wrong(f, "twice")
			return
		case m.Pub.Offset != f.at.Offset+1 && m.Pub.Offset > f.gap+1:
			wrong(f, "a hole")
		}
		f.at.Offset = m.Pub.Offset
		w.r.known.note(f.name, f.at, m.Pub.Data.Key, false)
	case m.Gap != nil:
		w.r.told.Add(1)
		f := w.follow(m.Gap.Channel)
		if f == nil || w.r.strict || m.Gap.Epoch != f.at.Epoch {
			wrong(f, "a gap, and nothing was lost")
			return
		}
		f.gap = m.Gap.To
	case m.Reset != nil:
		w.r.resets.Add(1)
		f := w.follow(m.Reset.Channel)
		if f == nil || w.r.strict || m.Reset.Epoch == f.at.Epoch {
			wrong(f, "a reset, and nothing was lost")
			return
		}
		w.move(f, place{m.Reset.Epoch, m.Reset.Offset})
	}
}

// move begins another epoch.
func (w *wanderer) move(f *follow, to place) {
	if f.started && f.at.Epoch != to.Epoch {
		f.over[f.at.Epoch] = true
	}
	if f.over[to.Epoch] {
		w.r.stale.Add(1)
	}
	f.at, f.started, f.gap = to, true, 0
}

// missing returns what the wanderer lacks, "" if nothing.
func (w *wanderer) missing(tips map[string]place) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.channels {
		if f.at != tips[f.name] {
			return fmt.Sprintf("client %d is at %v of %s (subscribed: %v), the end is %v", w.name, f.at, f.name, f.subscribed, tips[f.name])
		}
	}
	return ""
}

// violateAt notes what a client must not get.
func (k *record) violateAt(client int, f *follow, text []byte, why string) {
	at := "nowhere"
	if f != nil {
		at = fmt.Sprintf("%v of %s", f.at, f.name)
	}
	k.violate("client %d at %s got %.120s: %s", client, at, text, why)
}
