package server_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/nodetest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/memory"
	"github.com/roostws/roost/server/history"
)

// connectedAs connects a client of the native protocol as a user, and returns the reply.
func connectedAs(t *testing.T, s *server.Server, user string) *client {
	t.Helper()
	c := speaking(t, s)
	c.Send(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, user))
	if text := c.Text(); !strings.HasPrefix(text, `{"id":1,"connect":{"client":`) {
		t.Fatalf("connect was answered %s", text)
	}
	return c
}

// What is published on one server reaches the clients of another, in one order, and a
// client that comes back on another server resumes exactly.
func TestNodes(t *testing.T) {
	h := memory.New()
	a, b := nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, h.Node(), 10, nil)
	ctx := within(t)
	first := connectedAs(t, a, "ann")
	first.Send(`{"id":2,"subscribe":{"channel":"news:1"}}`)
	text := first.Text()
	epoch, _, _ := strings.Cut(strings.TrimPrefix(text, `{"id":2,"subscribe":{"epoch":"`), `"`)
	if text != `{"id":2,"subscribe":{"epoch":"`+epoch+`","offset":0}}` {
		t.Fatalf("subscribe was answered %s", text)
	}
	r, err := b.PublishMessage(ctx, server.Publication{Channel: "news:1", Payload: []byte("1"), IdempotencyKey: "k"})
	if err != nil || r != (server.Receipt{Position: history.Position{Epoch: epoch, Offset: 1}, Matched: 1, Written: 1, Complete: true}) {
		t.Errorf("published on the other: %+v, %v", r, err)
	}
	first.Want(`{"pub":{"channel":"news:1","epoch":"` + epoch + `","offset":1,"data":1}}`)
	r, err = a.PublishMessage(ctx, server.Publication{Channel: "news:1", Payload: []byte("1"), IdempotencyKey: "k"})
	if err != nil || r.Offset != 1 || !r.Duplicate {
		t.Errorf("repeated on the first: %+v, %v", r, err)
	}
	if _, err = a.PublishMessage(ctx, server.Publication{Channel: "news:1", Payload: []byte("2"), IdempotencyKey: "k"}); !errors.Is(err, server.ErrKeyReused) {
		t.Errorf("another message with the key: %v", err)
	}
	r, err = a.PublishMessage(ctx, server.Publication{Channel: "news:1", Payload: []byte("2")})
	if err != nil || r.Offset != 2 || !r.Complete || r.Matched != 1 || r.Written != 1 {
		t.Errorf("published on its own: %+v, %v", r, err)
	}
	first.Want(`{"pub":{"channel":"news:1","offset":2,"data":2}}`)
	second := connectedAs(t, b, "bob")
	second.Send(`{"id":2,"subscribe":{"channel":"news:1","resume":{"epoch":"` + epoch + `","offset":1}}}`)
	second.Want(`{"id":2,"subscribe":{"epoch":"` + epoch + `","offset":2,"recovered":true}}`)
	second.Want(`{"pub":{"channel":"news:1","offset":2,"data":2}}`)
	second.Send(`{"id":3,"publish":{"channel":"news:1","data":3}}`)
	got := map[string]bool{second.Text(): true, second.Text(): true}
	if !got[`{"id":3,"publish":{"epoch":"`+epoch+`","offset":3}}`] || !got[`{"pub":{"channel":"news:1","epoch":"`+epoch+`","offset":3,"data":3,"from":"bob"}}`] {
		t.Errorf("publish was answered %v", got)
	}
	first.Want(`{"pub":{"channel":"news:1","offset":3,"data":3,"from":"bob"}}`)
	second.Send(`{"id":4,"history":{"channel":"news:1","limit":0}}`)
	second.Want(`{"id":4,"history":{"epoch":"` + epoch + `","offset":3,"messages":[],"more":true}}`)

	// A channel without history, a user, everybody.
	first.Send(`{"id":3,"subscribe":{"channel":"plain:1"}}`)
	first.Want(`{"id":3,"subscribe":{}}`)
	if err := b.Publish("plain:1", server.Text, []byte("4")); err != nil {
		t.Error(err)
	}
	first.Want(`{"pub":{"channel":"plain:1","data":4}}`)
	if err := b.PublishUser("ann", server.Text, []byte("5")); err != nil {
		t.Error(err)
	}
	if text := first.Text(); !strings.HasPrefix(text, `{"pub":{"channel":"user:ann","epoch":"`) || !strings.HasSuffix(text, `","offset":1,"data":5}}`) {
		t.Errorf("the user got %s", text)
	}
	if err := a.Broadcast(server.Text, []byte("6")); err != nil {
		t.Error(err)
	}
	first.Want(`{"message":{"data":6}}`)
	second.Want(`{"message":{"data":6}}`)

	// A server without subscribers knows the history, too.
	page, err := nodetest.Start(t, h.Node(), 10, nil).History("news:1", history.Query{Limit: 2})
	if err != nil || page.Offset != 3 || page.Epoch != epoch || len(page.Messages) != 2 || !page.More || page.Gap {
		t.Errorf("history on the third: %+v, %v", page, err)
	}
	if _, err := a.ClearHistory("news:1"); !errors.Is(err, server.ErrBrokerHistory) {
		t.Errorf("clear: %v", err)
	}
}

// Subscribers are told of a new epoch, over whatever they are connected, and go on.
func TestNodesReset(t *testing.T) {
	h := memory.New()
	a := nodetest.Start(t, h.Node(), 10, nil)
	c := connectedAs(t, a, "")
	c.Send(`{"id":2,"subscribe":{"channel":"news:1"}}`)
	c.Text()
	for _, text := range []string{"1", "2"} {
		if err := a.Publish("news:1", server.Text, []byte(text)); err != nil {
			t.Fatal(err)
		}
		c.Text()
	}
	h.Forget()
	r, err := a.PublishMessage(within(t), server.Publication{Channel: "news:1", Payload: []byte("3")})
	if err != nil || r.Offset != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	c.Want(`{"reset":{"channel":"news:1","epoch":"` + r.Epoch + `","offset":1}}`)
	if err := a.Publish("news:1", server.Text, []byte("4")); err != nil {
		t.Fatal(err)
	}
	c.Want(`{"pub":{"channel":"news:1","epoch":"` + r.Epoch + `","offset":2,"data":4}}`)
	c.Send(`{"id":3,"history":{"channel":"news:1","limit":1}}`)
	if text := c.Text(); !strings.Contains(text, `"offset":1,"time":`) {
		t.Errorf("what came before the reset is not in the history: %s", text)
	}
}

// While the broker is away connections stay, and what cannot be done is refused; what is
// published when it is back arrives.
func TestNodesOutage(t *testing.T) {
	h := memory.New()
	a, b := nodetest.Start(t, h.Node(), 10, nil), nodetest.Start(t, h.Node(), 10, nil)
	c := connectedAs(t, a, "")
	c.Send(`{"id":2,"subscribe":{"channel":"news:1"}}`)
	c.Text()
	if health, ok := a.BrokerHealth(); !ok || health.Publishing != nil || health.Receiving != nil {
		t.Errorf("health: %+v", health)
	}
	h.Interrupt()
	if _, err := a.PublishMessage(within(t), server.Publication{Channel: "news:1", Payload: []byte("1")}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("publish: %v", err)
	}
	if err := b.Publish("news:1", server.Text, []byte("1")); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("publish: %v", err)
	}
	c.Send(`{"id":3,"publish":{"channel":"news:1","data":1}}`)
	c.Want(`{"id":3,"error":{"code":111,"message":"the broker is away; nothing was done","retry":2}}`)
	c.Send(`{"id":4,"subscribe":{"channel":"news:2"}}`)
	c.Want(`{"id":4,"error":{"code":111,"message":"the broker is away; nothing was done","retry":2}}`)
	// A channel that this server knows can be entered; a user connects.
	d := connectedAs(t, a, "dan")
	d.Send(`{"id":2,"subscribe":{"channel":"news:1"}}`)
	if text := d.Text(); !strings.HasSuffix(text, `,"offset":0}}`) {
		t.Errorf("subscribe was answered %s", text)
	}
	if health, _ := a.BrokerHealth(); health.Publishing == nil || health.Receiving == nil {
		t.Errorf("health: %+v", health)
	}
	h.Restore()
	if text := d.Text(); !strings.HasPrefix(text, `{"reset":{"channel":"user:dan","epoch":"`) {
		t.Errorf("the user got %s", text)
	}
	if _, err := b.PublishMessage(within(t), server.Publication{Channel: "news:1", Payload: []byte("2")}); err != nil {
		t.Error(err)
	}
	for _, c := range []*client{c, d} {
		if text := c.Text(); !strings.HasSuffix(text, `,"offset":1,"data":2}}`) {
			t.Errorf("after the outage came %s", text)
		}
	}
}

func TestNodesExactness(t *testing.T) {
	for name, lose := range map[string]bool{"cuts and outages": false, "lost memory": true} {
		t.Run(name, func(t *testing.T) {
			h := memory.New()
			outage := func() {
				h.Interrupt()
				time.Sleep(20 * time.Millisecond)
				h.Restore()
			}
			disturbances := []func(){h.Cut, outage, h.Cut, outage, h.Cut}
			if lose {
				disturbances = append(disturbances, h.Forget, outage, func() { h.Interrupt(); h.Forget(); h.Restore() }, h.Cut)
			}
			nodetest.Exactness(t, nodetest.Scenario{Seed: rand.Uint64(), Node: h.Node, Disturbances: disturbances, Messages: 100, Resets: lose})
		})
	}
}
