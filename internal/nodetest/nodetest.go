// Package nodetest tests several servers on one broker, over the wire.
package nodetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/roostws/roost/client"
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/protocol"
)

// Start starts a server on a broker, with the namespaces "news" and "user", which have
// history, and "plain", "room", which has presence, and joins and leaves, and
// "alone", which goes on in an outage.
func Start(t testing.TB, b broker.Broker, historyMessages int, logger *slog.Logger) *server.Server {
	t.Helper()
	s, err := server.New(server.Config{
		Listen: []string{"127.0.0.1:0"}, Engine: server.Engine{Loops: 2}, Broker: b, Logger: logger,
		Namespaces: []server.Namespace{
			{Name: "news", HistoryMessages: historyMessages, Publish: protocol.AccessAnyone}, {Name: "user", HistoryMessages: historyMessages},
			{Name: "plain", Publish: protocol.AccessAnyone}, {Name: "room", Presence: true, JoinLeave: true}, {Name: "alone", Outage: server.OutageLocal},
		},
		Application: &protocol.Application{Anonymous: true, Connect: func(_ context.Context, r *protocol.ConnectRequest) error {
			r.User = r.Token
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A Scenario is what Exactness does.
type Scenario struct {
	Seed uint64
	// Node returns the broker of one more server.
	Node func() broker.Broker
	// Disturbances happen to the broker, one after the other, while messages are published;
	// each returns when it is over.
	Disturbances []func()
	// Messages are published between two disturbances.
	Messages int
	// Resets: disturbances may lose messages, so that clients are told so.
	Resets bool
}

// record is what is known of a channel's messages: the text at each position, and where
// each epoch ended as far as publishers know.
type record struct {
	mu    sync.Mutex
	texts map[client.Position]string
	last  map[string]client.Position // of what was published, by channel
}

// note notes the text at a position, and reports whether it was another one before.
func (r *record) note(channel string, at client.Position, text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at.Epoch = channel + " " + at.Epoch
	if known, ok := r.texts[at]; ok {
		return known != text
	}
	r.texts[at] = text
	return false
}

// A follower is one client in one channel.
type follower struct {
	at      client.Position
	started bool
	count   int
	resets  int
	problem string
}

// Exactness lets clients wander between three servers on one broker while messages are
// published on all of them and the broker is disturbed. Every client ends with exactly the
// right sequence in each channel, or was told that it is not.
func Exactness(t *testing.T, c Scenario) {
	const servers, clients, channels = 3, 30, 6
	rng := rand.New(rand.NewPCG(c.Seed, 3))
	t.Logf("seed %d", c.Seed)
	nodes := make([]*server.Server, servers)
	for i := range nodes {
		nodes[i] = Start(t, c.Node(), 400, nil)
	}
	known := &record{texts: map[client.Position]string{}, last: map[string]client.Position{}}
	var mu sync.Mutex
	followers := map[string]*follower{}
	var active []*client.Client
	for i := range clients {
		gc, err := client.New(client.Config{
			URL: "ws://roost/", ReconnectMin: 5 * time.Millisecond, ReconnectMax: 50 * time.Millisecond,
			NetDial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, nodes[rand.IntN(servers)].Addrs()[0].String())
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { gc.Close(); <-gc.Done() }()
		active = append(active, gc)
		for _, k := range rng.Perm(channels)[:3] {
			channel := fmt.Sprintf("news:%d", k)
			f := &follower{}
			followers[fmt.Sprintf("%s of client %d", channel, i)] = f
			subscribe(t, gc, channel, f, known, &mu)
		}
	}
	var published, refused, unknown atomic.Int64
	publish := func(s *server.Server, channel string) error {
		text := fmt.Sprintf("%q", fmt.Sprint(channel, " ", published.Add(1)))
		r, err := s.PublishMessage(context.Background(), server.Publication{Channel: channel, Payload: []byte(text)})
		switch at := client.Position(r.Position); {
		case errors.Is(err, broker.ErrUnknown):
			unknown.Add(1)
		case err != nil:
			refused.Add(1)
		case known.note(channel, at, text):
			t.Errorf("%s: two messages at %v", channel, at)
		default:
			known.mu.Lock()
			if last := known.last[channel]; last.Epoch != at.Epoch || last.Offset < at.Offset {
				known.last[channel] = at
			}
			known.mu.Unlock()
		}
		return err
	}
	stop := make(chan struct{})
	var wandering sync.WaitGroup
	wandering.Go(func() {
		// By publications and not by the clock: a slow machine would do little else.
		for next := int64(0); ; next = published.Load() + 3 {
			for published.Load() < next {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
			for _, s := range nodes { // cut a few
				infos, _, err := s.Connections(context.Background(), "", "", 100)
				for k, info := range infos {
					if err == nil && k%5 == int(published.Load())%5 {
						_, _ = s.Disconnect(context.Background(), server.Audience{Client: info.Client}, frame.CloseServiceRestart, "wander")
					}
				}
			}
		}
	})
	for _, disturb := range append(c.Disturbances, func() {}) {
		var publishing sync.WaitGroup
		for k := range servers {
			publishing.Go(func() {
				for i := range c.Messages {
					for errors.Is(publish(nodes[(k+i)%servers], fmt.Sprintf("news:%d", (k*7+i)%channels)), broker.ErrUnavailable) {
						time.Sleep(2 * time.Millisecond) // as a publisher does
					}
				}
			})
		}
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // somewhere in the middle, anywhere
		disturb()
		publishing.Wait()
	}
	close(stop)
	wandering.Wait()
	// One more each, on every channel, and everybody has to come there.
	for k := range channels {
		for deadline := time.Now().Add(30 * time.Second); publish(nodes[k%servers], fmt.Sprintf("news:%d", k)) != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing can be published at the end")
			}
		}
	}
	settled := func() (missing string) {
		mu.Lock()
		defer mu.Unlock()
		for name, f := range followers {
			if f.problem != "" {
				t.Fatalf("%s: %s", name, f.problem)
			}
			channel, _, _ := strings.Cut(name, " ")
			if want := known.last[channel]; f.at != want {
				missing = fmt.Sprintf("%s is at %v, published was %v", name, f.at, want)
			}
		}
		return missing
	}
	for deadline := time.Now().Add(time.Minute); settled() != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(settled())
		}
	}
	count, resets, connects := 0, 0, uint64(0)
	for _, f := range followers {
		count += f.count
		resets += f.resets
	}
	for _, gc := range active {
		connects += uint64(gc.Stats().Connects)
	}
	var counts []string
	for _, s := range nodes {
		st := s.Stats()
		counts = append(counts, fmt.Sprintf("%d reads, %d holes, %d interruptions, %d resets", st.Get("broker_reads"), st.Get("broker_holes"), st.Get("broker_interruptions"), st.Get("resets")))
	}
	t.Logf("%d published, %d refused, %d unknown; %d messages in %d subscriptions over %d connections, told %d times that something may be missing; %s",
		published.Load(), refused.Load(), unknown.Load(), count, len(followers), connects, resets, strings.Join(slices.Compact(counts), "; "))
	if !c.Resets && resets > 0 {
		t.Errorf("told %d times that something may be missing, and nothing was lost", resets)
	}
	if c.Resets && resets == 0 {
		t.Error("nothing was told to be missing: the test is too easy")
	}
}

// subscribe lets a client follow a channel.
func subscribe(t *testing.T, gc *client.Client, channel string, f *follower, known *record, mu *sync.Mutex) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fail := func(format string, args ...any) {
		if f.problem == "" {
			f.problem = fmt.Sprintf(format, args...)
		}
	}
	_, err := gc.Subscribe(ctx, channel, func(_ context.Context, m *client.Message) {
		mu.Lock()
		defer mu.Unlock()
		f.count++
		if m.Position.Epoch != f.at.Epoch || m.Position.Offset != f.at.Offset+1 {
			fail("%v came after %v", m.Position, f.at)
		}
		f.at = m.Position
		if known.note(channel, m.Position, string(m.Data)) {
			fail("%s came at %v, others saw something else there", m.Data, m.Position)
		}
	}, &client.SubscribeOptions{OnEvent: func(e *client.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case e.Type != client.EventSubscribed:
			fail("event %+v", e)
		case e.Recovered && e.Position != f.at:
			fail("recovered at %v from %v", e.Position, f.at)
		case !e.Recovered:
			if f.started {
				f.resets++
			}
			f.at = e.Position
		}
		f.started = true
	}})
	if err != nil {
		t.Fatal(err)
	}
}
