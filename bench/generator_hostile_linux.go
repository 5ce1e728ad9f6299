package bench

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// hostility is what a generator process does as a hostile client, or as the
// decoy of one. It does neither on its event loop.
type hostility struct {
	decoy net.Listener
	calm  context.CancelFunc
	donec chan reply // what the hostile client did
}

// startDecoy replaces the decoy by one for another kind of hostile client.
func (g *generator) startDecoy(id int, r *hostileRequest) {
	if g.hostility.decoy != nil {
		_ = g.hostility.decoy.Close()
	}
	k := kindNamed(r.Kind)
	e, err := splitURL(r.URL)
	if err == nil && k == nil {
		err = fmt.Errorf("no hostile client %q", r.Kind)
	}
	if err != nil {
		g.reply(reply{ID: id, Error: err.Error()})
		return
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		g.reply(reply{ID: id, Error: err.Error()})
		return
	}
	g.hostility.decoy = l
	scheme := "ws://"
	if e.secure {
		scheme = "wss://"
	}
	go serveDecoy(l, k, e.secure)
	g.reply(reply{ID: id, URL: scheme + l.Addr().String() + "/"})
}

// startHostile lets a hostile client loose, until calm, and replies once it has connected:
// its processes have the lowest priority, and what is measured shall not begin without it.
func (g *generator) startHostile(id int, r *hostileRequest) {
	k := kindNamed(r.Kind)
	if k == nil {
		g.reply(reply{ID: id, Error: fmt.Sprintf("no hostile client %q", r.Kind)})
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	donec := make(chan reply, 1)
	g.hostility.calm, g.hostility.donec = cancel, donec
	go func() {
		began := sync.OnceFunc(func() { g.reply(reply{ID: id}) })
		did, err := k.run(ctx, r.URL, r.Trust, began)
		began()
		out := reply{Hostile: &did}
		if err != nil {
			out.Error = err.Error()
		}
		donec <- out
	}()
}

// calm ends the hostile client and replies what it did.
func (g *generator) calm(id int) {
	g.hostility.calm()
	donec := g.hostility.donec
	go func() {
		r := <-donec
		r.ID = id
		g.reply(r)
	}()
}
