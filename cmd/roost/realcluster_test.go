//go:build realclients

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	roostclient "github.com/roostws/roost/client"
	"github.com/roostws/roost/internal/badnetwork"
	"github.com/roostws/roost/internal/redistest"
)

// A deployment is three servers on one Redis, behind a balancer.
type deployment struct {
	t     *testing.T
	nodes []*process
	links []*badnetwork.Link
	front string
}

// deploy starts the servers.
func deploy(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{t: t, front: freeAddr(t)}
	redis := redistest.Start(t)
	for i := range 3 {
		link := badnetwork.NewLink(t, redis.Addr())
		host := fmt.Sprintf("127.0.0.%d", 11+i)
		p := startRoost(t, "--addr", host+":0", "--admin-addr", host+":0", "--trusted-proxies", "127.0.0.1", "--native", "--anonymous",
			"--namespaces", "[{name: news, history-messages: 100}]", "--broker", "redis://"+link.Addr())
		d.nodes, d.links = append(d.nodes, p), append(d.links, link)
	}
	for i := range d.nodes {
		d.wait(fmt.Sprintf("server %d is not ready", i), func() bool { return d.ready(i) })
	}
	return d
}

// wait waits until done.
func (d *deployment) wait(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(testTimeout); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatal(what)
		}
	}
}

func (d *deployment) ready(i int) bool {
	status, _ := get(d.t, d.nodes[i].adminURL()+"/readyz", "")
	return status == 200
}

// connections is how many a server has.
func (d *deployment) connections(i int) int {
	_, body := get(d.t, d.nodes[i].adminURL()+"/v1/stats", "")
	var stats struct{ Connections int }
	if err := json.Unmarshal([]byte(body), &stats); err != nil {
		d.t.Fatalf("%s: %v", body, err)
	}
	return stats.Connections
}

// follow connects a client through the balancer, which notes where it is.
func (d *deployment) follow(positions chan<- roostclient.Position) *roostclient.Client {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	c, err := roostclient.Dial(ctx, roostclient.Config{URL: "ws://" + d.front + "/", ReconnectMin: 10 * time.Millisecond, ReconnectMax: 100 * time.Millisecond})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close(); <-c.Done() })
	first := true
	_, err = c.Subscribe(ctx, "news:1", func(_ context.Context, m *roostclient.Message) { positions <- m.Position }, &roostclient.SubscribeOptions{OnEvent: func(e *roostclient.Event) {
		if !first && !e.Recovered {
			d.t.Errorf("a client that came back got %+v", e)
		}
		first = false
	}})
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// want publishes through a server, and waits until every client has it, and nothing else.
func (d *deployment) want(through int, clients []chan roostclient.Position) {
	d.t.Helper()
	code, _, stderr := roost("", "publish", "--url", d.nodes[through].adminURL(), "news:1", "1")
	if code != exitOK {
		d.t.Fatalf("publish: %s", stderr)
	}
	var all roostclient.Position
	for i, c := range clients {
		select {
		case at := <-c:
			if all == (roostclient.Position{}) {
				all = at
			}
			if at != all {
				d.t.Errorf("client %d got %v, others %v", i, at, all)
			}
		case <-time.After(testTimeout):
			d.t.Fatalf("client %d got nothing", i)
		}
	}
}

// balances checks that clients are spread, get everything through any server, and come back
// exactly on another one when theirs is killed.
func (d *deployment) balances() {
	d.t.Helper()
	var clients []chan roostclient.Position
	for range 9 {
		positions := make(chan roostclient.Position, 100)
		clients = append(clients, positions)
		d.follow(positions)
	}
	for i := range d.nodes {
		if n := d.connections(i); n != 3 {
			d.t.Errorf("server %d has %d of 9 clients", i, n)
		}
		d.want(i, clients)
	}
	_ = d.nodes[1].cmd.Process.Kill()
	<-d.nodes[1].ended
	d.want(0, clients) // while some are on their way
	d.wait("not all clients came back", func() bool { return d.connections(0)+d.connections(2) == 9 })
	d.want(2, clients)
}

func TestRealClusterHAProxy(t *testing.T) {
	d := deploy(t)
	dir := t.TempDir()
	certificate := filepath.Join(dir, "both.pem")
	writeCertificate(t, dir, 1, time.Now())
	var both []byte
	for _, name := range []string{"roost.pem", "roost.key"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, content...)
	}
	if err := os.WriteFile(certificate, both, 0o600); err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{`bind :80$`: "bind " + d.front, `bind :443 `: "bind " + freeAddr(t) + " ", `/etc/roost/tls/roost\.pem`: certificate, `maxconn 100000`: "maxconn 100"}
	for i, p := range d.nodes {
		at := fmt.Sprintf(`10\.0\.0\.%d:8080`, 11+i)
		replace[at+` port 8081$`] = p.addr + " port " + p.adminURL()[strings.LastIndex(p.adminURL(), ":")+1:]
		replace[at+`$`] = p.addr
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(deployed(t, "haproxy/cluster.cfg", replace)), 0o600); err != nil {
		t.Fatal(err)
	}
	runProgram(t, d.front, "haproxy", "-f", file, "-db")
	d.balances()
	// A server whose broker fails it gets no new clients, and one that is ready again does.
	d.links[2].Cut()
	before := 0
	d.wait("the server without a broker still gets clients", func() bool {
		before = d.connections(2)
		if d.ready(2) {
			return false
		}
		for range 2 {
			d.follow(make(chan roostclient.Position, 100))
		}
		return d.connections(2) == before
	})
	d.links[0].Cut()
	d.wait("the other one is ready without a broker", func() bool { return !d.ready(0) })
	d.follow(make(chan roostclient.Position, 100)) // none is ready: clients are let in all the same
	for _, link := range d.links {
		link.Heal()
	}
	d.wait("the servers are not ready again", func() bool { return d.ready(0) && d.ready(2) })
}

// The configuration of the compose file is understood, where its servers can't be found.
func TestRealClusterCompose(t *testing.T) {
	out, err := exec.Command("haproxy", "-c", "-f", filepath.Join("..", "..", "deploy", "compose", "haproxy.cfg")).CombinedOutput()
	if err != nil {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
}

func TestRealClusterNginx(t *testing.T) {
	d := deploy(t)
	dir := t.TempDir()
	writeCertificate(t, dir, 1, time.Now())
	replace := map[string]string{
		`listen 80;`:                   "listen " + d.front + ";",
		`listen 443 ssl;`:              "listen " + freeAddr(t) + " ssl;",
		`/etc/roost/tls/fullchain.pem`: filepath.Join(dir, "roost.pem"),
		`/etc/roost/tls/privkey.pem`:   filepath.Join(dir, "roost.key"),
	}
	for i, p := range d.nodes {
		replace[fmt.Sprintf(`server 10\.0\.0\.%d:8080`, 11+i)] = "server " + p.addr
	}
	runNginx(t, dir, d.front, "http", deployed(t, "nginx/cluster.conf", replace))
	d.balances()
}
