package socketio_test

import (
	"strings"
	"testing"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/socketio"
)

// The application knows a client by one name from its first request on: callbacks, events,
// lists, members and orders go on with it when the client upgrades. A WebSocket that was
// only tried is no client.
func TestNamesOutliveUpgrades(t *testing.T) {
	for _, driver := range engines.All() {
		t.Run(driver.Name(), func(t *testing.T) { testNames(t, driver) })
	}
}

func testNames(t *testing.T, driver netpoll.Driver) {
	var told collector
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		cfg.Engine.Driver = driver
		cfg.Handler.Open = func(e *server.OpenEvent) { told.add("open " + e.Conn().String()) }
		cfg.Handler.Close = func(e *server.CloseEvent) { told.add("close " + e.Conn().String()) }
		cfg.Events = func(e *protocol.Event) {
			if e.Type != protocol.EventOccupied && e.Type != protocol.EventVacated {
				told.add(strings.TrimSpace(string(e.Type) + " " + e.Client + " " + e.Channel))
			}
		}
		io.Of("/").On("echo", func(_ *socketio.Socket, e *socketio.Event) { _ = e.Ack() })
	})
	p := r.poller()
	p.post("40")
	p.await("40")
	infos, _, err := r.srv.Connections(t.Context(), "", "", 10)
	if err != nil || len(infos) != 1 {
		t.Fatal(infos, err)
	}
	name := infos[0].Client
	want := []string{"open " + name, "connected " + name, "subscribed " + name + " io:/"}
	told.wait(t, want...)

	tried := r.dial("&sid=" + p.sid)
	tried.Send("2probe")
	tried.Want("3probe")
	tried.Send("1")
	tried.WantClosing(1003)
	c := p.upgrade()
	c.Send(`421["echo"]`)
	c.Want("431[]")

	infos, _, err = r.srv.Connections(t.Context(), "", "", 10)
	if err != nil || len(infos) != 1 || infos[0].Client != name {
		t.Fatalf("listed are %+v, %v; want %s", infos, err, name)
	}
	if after, _, err := r.srv.Connections(t.Context(), "", name, 10); err != nil || len(after) != 0 {
		t.Errorf("after %s there are %+v, %v", name, after, err)
	}
	if _, err := r.srv.Subscribe(t.Context(), server.Audience{Client: name}, "io:/#room"); err != nil {
		t.Fatal(err)
	}
	members, err := r.srv.Presence(t.Context(), "io:/#room", "", 10)
	if err != nil || len(members.Members) != 1 || members.Members[0].Client != name {
		t.Errorf("the members are %+v, %v; want %s", members, err, name)
	}
	receipt, err := r.srv.PublishMessage(t.Context(), server.Publication{Client: name, Payload: []byte(`["hello"]`)})
	if err != nil || receipt.Matched != 1 {
		t.Errorf("a message to %s: %+v, %v", name, receipt, err)
	}
	c.Want(`42["hello"]`)
	if n, err := r.srv.Disconnect(t.Context(), server.Audience{Client: name}, frame.CloseNormal, "over"); n != 1 || err != nil {
		t.Errorf("disconnected are %d, %v", n, err)
	}
	c.Want("41") // so that the client does not come back by itself
	c.WantClosing(1000)
	told.wait(t, append(want, "subscribed "+name+" io:/#room",
		"unsubscribed "+name+" io:/#room", "unsubscribed "+name+" io:/", "disconnected "+name, "close "+name)...)
}
