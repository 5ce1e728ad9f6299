package embedded

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strconv"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// A Cluster is several servers whose brokers are one: each brings its server of NATS, and
// these keep the histories in three places.
type Cluster struct {
	// Addr is this server's address for the others, host:port. It names the server: it has to
	// stay the same over restarts.
	Addr string
	// Servers are the addresses of all, with or without Addr. At least three: of two, neither
	// can tell that the other one is gone and not only out of reach.
	Servers []string
	// Secret is what the servers know each other by. It may be empty on loopback addresses
	// only. The connections are not encrypted.
	Secret string
}

// replicas is in how many servers a history is.
const replicas = 3

// Size returns how many servers the cluster has.
func (c *Cluster) Size() int {
	all := map[string]bool{c.Addr: true}
	for _, addr := range c.Servers {
		all[addr] = true
	}
	return len(all)
}

// check says what is wrong with a Cluster.
func (c *Cluster) check() error {
	loopback := true
	for _, addr := range append([]string{c.Addr}, c.Servers...) {
		host, port, err := net.SplitHostPort(addr)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
			return fmt.Errorf("%q is not host:port", addr)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			loopback = false
		}
	}
	if n := c.Size(); n < replicas {
		return fmt.Errorf("a cluster has %d servers at least, and these are %d: of two, neither could tell that the other one is gone", replicas, n)
	}
	if !loopback && c.Secret == "" {
		return errors.New("servers that are not on loopback addresses need a secret")
	}
	return nil
}

// configure adds the cluster to the options of a server.
func (c *Cluster) configure(o *natsserver.Options) error {
	host, port, _ := net.SplitHostPort(c.Addr)
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	o.ServerName = c.Addr
	// Without a port for clients a server has no routes, so it has one that nobody else can
	// use.
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", natsserver.RANDOM_PORT
	o.Cluster = natsserver.ClusterOpts{
		Name: prefix, Host: host, Port: number, Username: prefix, Password: c.Secret, NoAdvertise: true,
		// One connection for each other server, so that subscriptions and what follows them keep
		// their order.
		PoolSize: -1,
	}
	for _, addr := range c.Servers {
		if addr == c.Addr {
			continue
		}
		u := &url.URL{Scheme: "nats", Host: addr}
		if c.Secret != "" {
			u.User = url.UserPassword(prefix, c.Secret)
		}
		o.Routes = append(o.Routes, u)
	}
	if c.Secret == "" {
		o.Cluster.Username = ""
	}
	return nil
}

// routes returns the connections of a server to the others: one that breaks comes back as
// another one, and may have lost messages.
func routes(server *natsserver.Server) (map[uint64]bool, error) {
	info, err := server.Routez(&natsserver.RoutezOptions{})
	if err != nil {
		return nil, err
	}
	found := map[uint64]bool{}
	for _, r := range info.Routes {
		found[r.Rid] = true
	}
	return found, nil
}

// watchRoutes tells the broker when a connection to another server is a new one.
func (b *Broker) watchRoutes(server *natsserver.Server, before map[uint64]bool) map[uint64]bool {
	now, err := routes(server)
	if err != nil || maps.Equal(now, before) {
		return before
	}
	if before != nil {
		b.Interrupt(errors.New("embedded: the connections to the other servers have changed"))
	}
	return now
}
