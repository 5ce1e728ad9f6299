package roster

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var (
	runs     = flag.Int("runs", 150, "seeded runs of TestSeeded")
	firstRun = flag.Uint64("seed", 0, "seed of the first run; 0: a random one")
)

// A world is some nodes on one broker, in one goroutine: what is on its way waits in queues,
// and which queue is next is chosen at random.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	nodes  []*node
	timers []func()
	down   bool // the broker is
	serial int
}

// node is a node with its clients.
type node struct {
	w        *world
	id       string
	r        *Roster
	attached map[string]bool
	// inbox is what the broker hands over, in order; answers and changes of other nodes come
	// on ways of their own.
	inbox   []func()
	news    []func()
	asks    []func(lost bool)
	dead    bool
	cut     bool // from the broker
	clients map[string]*client
}

// client is a subscriber of one channel who keeps a list of the members.
type client struct {
	on      *node
	name    string
	channel string
	list    map[string]bool
	asking  bool
	since   []*Change // that were told since it began to ask
	survey  map[string]bool
	left    []*node // to be asked
	asked   []asked
}

// asked is what a node has said of its members.
type asked struct {
	node    string
	version uint64
	names   []string
}

var errAway = errors.New("away")

func (w *world) start() *node {
	w.serial++
	n := &node{w: w, id: fmt.Sprintf("n%d", w.serial), attached: map[string]bool{}, clients: map[string]*client{}}
	n.r = New(Config{
		Node: n.id, Covers: func(string) bool { return true }, Receives: func(channel string) bool { return n.attached[channel] && !n.cut },
		Publish: n.publish, Ask: n.ask, Tell: n.tell, After: n.after,
	})
	for _, other := range w.living() {
		n.news = append(n.news, func() { n.r.Up(other.id) })
		other.news = append(other.news, func() { other.r.Up(n.id) })
	}
	w.nodes = append(w.nodes, n)
	return n
}

func (n *node) after(_ time.Duration, f func()) {
	n.w.timers = append(n.w.timers, func() {
		if !n.dead {
			f()
		}
	})
}

func (w *world) living() (list []*node) {
	for _, n := range w.nodes {
		if !n.dead {
			list = append(list, n)
		}
	}
	return list
}

func (w *world) named(id string) *node {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (n *node) publish(channel string, b []byte, done func(error)) {
	if n.w.down || n.cut || n.dead {
		if n.w.rng.IntN(2) == 0 {
			done(errAway)
		} else {
			n.w.timers = append(n.w.timers, func() { done(errAway) })
		}
		return
	}
	for _, to := range n.w.living() {
		if to.attached[channel] && !to.cut {
			to.inbox = append(to.inbox, func() { to.r.Notice(channel, b) })
		}
	}
	var err error
	if n.w.rng.IntN(20) == 0 {
		err = errAway // the answer is lost, not the message
	}
	n.w.timers = append(n.w.timers, func() { done(err) })
}

func (n *node) ask(to string, question []byte, done func([]byte, bool)) {
	n.asks = append(n.asks, func(lost bool) {
		other := n.w.named(to)
		if lost || other.dead || other.cut || n.cut || n.w.down {
			done(nil, false)
			return
		}
		b := other.r.Answer(question)
		n.asks = append(n.asks, func(lost bool) { done(b, !lost) }) // on its way back
	})
}

// tell tells the clients of this node.
func (n *node) tell(c *Change) error {
	if n.w.rng.IntN(10) == 0 {
		return errAway // busy
	}
	n.told(c)
	return nil
}

func (n *node) told(c *Change) {
	for _, cl := range n.clients {
		if cl.channel == c.Channel {
			cl.apply(c)
			if cl.asking {
				cl.since = append(cl.since, c)
			}
		}
	}
}

func (c *client) apply(ch *Change) {
	if ch.Left {
		delete(c.list, ch.Client)
	} else {
		c.list[ch.Client] = true
	}
}

// subscribe lets a client come, for whom the channel is attached before.
func (n *node) subscribe(channel string) {
	if !n.attached[channel] {
		if n.cut || n.w.down {
			return
		}
		n.attached[channel] = true
		n.r.Attached(channel)
	}
	n.w.serial++
	c := &client{on: n, name: fmt.Sprintf("%s.c%d", n.id, n.w.serial), channel: channel, list: map[string]bool{}}
	n.clients[c.name] = c
	change := Change{Channel: channel, Client: c.name, User: "u"}
	n.told(&change)
	n.r.Changed(change)
	c.ask()
}

func (n *node) unsubscribe(c *client) {
	delete(n.clients, c.name)
	change := Change{Channel: c.channel, Client: c.name, User: "u", Left: true}
	n.told(&change)
	n.r.Changed(change)
}

// ask begins to ask for the presence.
func (c *client) ask() {
	c.asking, c.since, c.asked, c.left = true, nil, nil, []*node{c.on}
	for _, id := range slices.Sorted(maps.Keys(c.on.r.live)) {
		c.left = append(c.left, c.on.w.named(id))
	}
}

// askNext asks one more node, and takes the reply if it was the last one.
func (c *client) askNext() {
	if len(c.left) == 0 {
		c.survey = map[string]bool{}
		for _, a := range c.asked {
			show := func(name, _ string) bool {
				c.survey[name] = true
				return true
			}
			if a.node == c.on.id {
				a.each(show)
			} else if !c.on.r.Seen(c.channel, a.node, a.version, func(f func(client, user string) bool) {
				a.each(func(name, user string) bool { return f(name, user) && show(name, user) })
			}) {
				c.ask() // complete: false
				return
			}
		}
		c.asking, c.list = false, c.survey
		for _, ch := range c.since {
			c.apply(ch)
		}
		return
	}
	n := c.left[0]
	if n != c.on && (n.dead || n.cut || c.on.cut || c.on.w.down) {
		c.ask() // complete: false
		return
	}
	c.left = c.left[1:]
	a := asked{node: n.id, version: n.r.Version(c.channel, func(func(string) bool) {})}
	for _, name := range slices.Sorted(maps.Keys(n.clients)) {
		other := n.clients[name]
		if other.channel == c.channel {
			a.names = append(a.names, other.name)
		}
	}
	c.asked = append(c.asked, a)
}

func (a *asked) each(f func(client, user string) bool) {
	for _, name := range a.names {
		f(name, "u")
	}
}

// interrupt loses what a node has not got yet.
func (n *node) interrupt() {
	n.inbox = nil
	for _, f := range n.takeAsks() {
		f(true)
	}
	n.inbox = append(n.inbox, n.r.Interrupted)
}

func (n *node) takeAsks() []func(bool) {
	asks := n.asks
	n.asks = nil
	return asks
}

func (n *node) attachAll() {
	for _, channel := range slices.Sorted(maps.Keys(n.attached)) {
		n.inbox = append(n.inbox, func() {
			if n.attached[channel] {
				n.r.Attached(channel)
			}
		})
	}
}

// cutOff takes a node from the broker for so long that the others take it for gone.
func (n *node) cutOff() {
	n.cut = true
	n.interrupt()
	for _, other := range n.w.living() {
		if other != n && !other.cut {
			other.news = append(other.news, func() { other.r.Down(n.id) })
			if n.w.rng.IntN(2) == 0 { // it may think the same of them
				n.news = append(n.news, func() { n.r.Down(other.id) })
			}
		}
	}
}

func (n *node) mend() {
	n.cut = false
	n.attachAll()
	for _, other := range n.w.living() {
		if other != n {
			other.news = append(other.news, func() { other.r.Up(n.id) })
			n.news = append(n.news, func() { n.r.Up(other.id) })
		}
	}
}

func (n *node) die() {
	n.dead = true
	for _, other := range n.w.living() {
		other.news = append(other.news, func() { other.r.Down(n.id) })
	}
}

// pop takes the first of a queue.
func pop[T any](queue *[]T) T {
	first := (*queue)[0]
	*queue = (*queue)[1:]
	return first
}

// step lets one thing that is on its way arrive, and reports whether there was one.
func (w *world) step() bool {
	var possible []func()
	if len(w.timers) > 0 {
		possible = append(possible, func() { pop(&w.timers)() })
	}
	for _, n := range w.living() {
		if len(n.inbox) > 0 {
			possible = append(possible, func() { pop(&n.inbox)() })
		}
		if len(n.news) > 0 {
			possible = append(possible, func() { pop(&n.news)() })
		}
		if len(n.asks) > 0 {
			possible = append(possible, func() { pop(&n.asks)(w.rng.IntN(20) == 0) })
		}
		for _, name := range slices.Sorted(maps.Keys(n.clients)) {
			if c := n.clients[name]; c.asking {
				possible = append(possible, c.askNext)
			}
		}
	}
	if len(possible) == 0 {
		return false
	}
	possible[w.rng.IntN(len(possible))]()
	return true
}

// disturb lets something happen.
func (w *world) disturb() {
	living := w.living()
	n := living[w.rng.IntN(len(living))]
	switch k := w.rng.IntN(100); {
	case k < 45:
		n.subscribe(fmt.Sprintf("c%d", w.rng.IntN(3)))
	case k < 80:
		if names := slices.Sorted(maps.Keys(n.clients)); len(names) > 0 {
			n.unsubscribe(n.clients[names[w.rng.IntN(len(names))]])
		}
	case k < 84:
		if len(n.inbox) > 0 {
			break // that would have been there long ago
		}
		for range settled {
			n.r.Sweep()
		}
		for _, channel := range slices.Sorted(maps.Keys(n.attached)) {
			if !slices.ContainsFunc(slices.Collect(maps.Values(n.clients)), func(c *client) bool { return c.channel == channel }) && !n.cut && !w.down {
				delete(n.attached, channel)
			}
		}
		n.r.Sweep()
	case k < 88:
		if !n.cut && !w.down {
			n.interrupt()
			n.attachAll()
		}
	case k < 91:
		if !w.down {
			w.down = true
			for _, n := range living {
				n.interrupt()
			}
		} else {
			w.restore()
		}
	case k < 95:
		switch {
		case w.down:
		case n.cut:
			n.mend()
		default:
			n.cutOff()
		}
	case k < 97:
		if len(living) > 2 && !w.down && !n.cut {
			n.die()
		}
	case k < 99:
		if len(living) < 5 && !w.down {
			w.start()
		}
	}
}

func (w *world) restore() {
	w.down = false
	for _, n := range w.living() {
		if !n.cut {
			n.attachAll()
		}
	}
}

// Whatever is lost on the way, and whoever comes and goes: in the end each client's list is
// right.
func TestSeeded(t *testing.T) {
	seed := *firstRun
	if seed == 0 {
		seed = rand.Uint64()
	}
	for k := range uint64(*runs) {
		if run(t, seed+k); t.Failed() {
			t.Fatalf("seed %d: repeat it with -runs 1 -seed %[1]d", seed+k)
		}
	}
}

func run(t *testing.T, seed uint64) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0))}
	for range 3 {
		w.start()
	}
	for range 400 {
		if w.rng.IntN(4) == 0 {
			w.disturb()
		} else {
			w.step()
		}
	}
	if w.down {
		w.restore()
	}
	for _, n := range w.living() {
		if n.cut {
			n.mend()
		}
	}
	for i := 0; w.step(); i++ {
		if i == 100_000 {
			t.Fatal("it does not come to an end")
		}
	}
	want := map[string]map[string]bool{}
	for _, n := range w.living() {
		for _, c := range n.clients {
			if want[c.channel] == nil {
				want[c.channel] = map[string]bool{}
			}
			want[c.channel][c.name] = true
		}
	}
	for _, n := range w.living() {
		for _, c := range n.clients {
			if !maps.Equal(c.list, want[c.channel]) {
				t.Errorf("%s: %s has %v, want %v", c.name, c.channel, slices.Sorted(maps.Keys(c.list)), slices.Sorted(maps.Keys(want[c.channel])))
			}
		}
	}
	for _, n := range w.living() {
		n.empty(t)
	}
}

// empty lets all clients go, and looks at what is left of them.
func (n *node) empty(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(n.clients)) {
		n.unsubscribe(n.clients[name])
	}
	for n.w.step() {
	}
	clear(n.attached)
	if n.r.Sweep(); len(n.r.channels) != 0 {
		t.Errorf("%s keeps %d channels", n.id, len(n.r.channels))
	}
}
