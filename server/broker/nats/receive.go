package nats

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// The connection is not read while more than arrivalsHigh messages wait to be handed
	// over. One read, 32 KiB, has less than a thousand, so that arrivals never overflows.
	arrivalsHigh, arrivalsMax = 1024, 4096
	// probeInterval is how often a message is sent around, and deafAfter when the
	// connections are given up if it does not come back.
	probeInterval = 3 * time.Second
	deafAfter     = 8 * time.Second
)

// hold waits while enough has arrived. The server is not read then, and cuts the connection
// if that lasts.
func (l *life) hold() {
	for len(l.arrivals) > arrivalsHigh && l.ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

// A probe is a message that a life sends to itself, through the stream.
type probe struct {
	number   uint64
	sent     time.Time
	channels []string // that are attached when it comes back
}

// probe sends one, behind the subscriptions of channels. It goes the way that they went, to
// the server that leads the stream: when it comes back, that server knows of them, and hands
// on to this node what is published from then on.
func (l *life) probe(channels []string) {
	l.mu.Lock()
	l.probeCount++
	number := l.probeCount
	l.probes = append(l.probes, probe{number, time.Now(), channels})
	l.mu.Unlock()
	data := binary.BigEndian.AppendUint64(nil, number)
	if l.b.options.Alone { // there is no other server on the way, and nothing to write
		_, own := l.b.subjects.probe(l.id)
		_ = l.receiver.Publish(own, data)
		return
	}
	_ = l.receiver.PublishMsg(l.ripple(data)) // an error is the end of the connection
}

// ripple returns a message to this life through the stream.
func (l *life) ripple(data []byte) *nats.Msg {
	to, _ := l.b.subjects.probe(l.id)
	return &nats.Msg{Subject: to, Data: data, Header: nats.Header{"Nats-Rollup": {"sub"}, "Nats-TTL": {"60s"}}}
}

// retry asks JetStream, which has refused something, whether it still does.
func (l *life) retry() {
	ctx, cancel := context.WithTimeout(l.ctx, probeInterval)
	defer cancel()
	if _, err := l.request(ctx, l.ripple(nil)); err == nil {
		l.refused(nil)
	}
}

// receive hands over what arrives.
func (l *life) receive() {
	_, own := l.b.subjects.probe(l.id)
	for {
		select {
		case <-l.ctx.Done():
			return
		case m := <-l.arrivals:
			l.delivering.Store(true)
			switch channel, ok := l.b.subjects.channel(m.Subject); {
			case m.Subject == own:
				l.probed(m)
			case ok:
				l.deliver(channel, m)
			case m.Subject != "": // another server leads the stream: it does not hand on what the old one had not
				l.interrupt(errors.New("nats: the stream has another leader"))
			default:
				l.mu.Lock()
				why := l.missing
				l.mu.Unlock()
				l.interrupt(why)
			}
			l.delivering.Store(false)
		}
	}
}

// probed says that channels are attached.
func (l *life) probed(m *nats.Msg) {
	if len(m.Data) != 8 {
		return
	}
	number := binary.BigEndian.Uint64(m.Data)
	var channels []string
	l.mu.Lock()
	for len(l.probes) > 0 && l.probes[0].number <= number {
		channels = append(channels, l.probes[0].channels...)
		l.probes = l.probes[1:]
	}
	l.mu.Unlock()
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	for _, channel := range channels {
		if l.ctx.Err() == nil && l.b.isAttached(channel) {
			l.b.in.Attached(channel)
		}
	}
}

// deliver hands a record's messages over.
func (l *life) deliver(channel string, m *nats.Msg) {
	r, err := parse(channel, m.Data)
	if err != nil {
		l.fail(err)
		return
	}
	if r.kind == kindHistory {
		if err := r.stamp(m); err != nil {
			l.fail(err)
			return
		}
		r.place()
		l.note(channel, r)
	}
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	for i := range r.items {
		if l.ctx.Err() == nil {
			l.b.in.Deliver(r.items[i].message)
		}
	}
}

// interrupt says that messages may be missing, and attaches everything again.
func (l *life) interrupt(why error) {
	l.b.mu.Lock()
	for channel := range l.b.attached {
		l.subscribe(channel, true)
	}
	l.b.mu.Unlock()
	l.b.inbound.Lock()
	defer l.b.inbound.Unlock()
	if l.ctx.Err() == nil {
		l.b.in.Interrupted(nil, why)
	}
}

// lost has receive say that messages may be missing, in the order of what arrives.
func (l *life) lost(why error) {
	l.mu.Lock()
	l.missing = why
	l.mu.Unlock()
	select {
	case l.arrivals <- &nats.Msg{}:
	case <-l.ctx.Done():
	}
}

// watch sends probes, and ends the life if they do not come back.
func (l *life) watch() {
	tick := time.NewTicker(probeInterval / 3)
	defer tick.Stop()
	idle := 0
	for n := 0; ; n++ {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		waiting := time.Duration(0)
		if len(l.probes) > 0 {
			waiting = time.Since(l.probes[0].sent)
		}
		l.mu.Unlock()
		if idle++; len(l.arrivals) > 0 || l.delivering.Load() {
			idle = 0
		}
		switch {
		case waiting > deafAfter && idle > 3:
			l.fail(fmt.Errorf("nats: a message through the stream did not come back for %v", waiting.Round(time.Second)))
			return
		case l.refusing.Load():
			l.retry()
		case n%3 == 0:
			l.probe(nil)
		}
	}
}
