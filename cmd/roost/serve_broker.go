package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/embedded"
	"github.com/roostws/roost/server/broker/nats"
	"github.com/roostws/roost/server/broker/redis"
)

// BrokerFlags are those of roost serve for several servers.
type BrokerFlags struct {
	Broker            string   `group:"broker" help:"What connects this server with others, and keeps the histories. Redis (7.0 or later, or Valkey): redis://[user:password@]host:port[/database]; redis+sentinel://host:port,host:port/NAME for the server that Sentinels know as NAME; redis+cluster://host:port,host:port for a Redis Cluster; each with rediss for TLS; unix:///path; several but clusters, separated by spaces, are side by side. NATS (2.11 or later, with JetStream): nats://[user:password@]host:port, servers of one cluster separated by commas; tls:// for TLS. Parameters follow behind a ?. With a password, better as ROOST_BROKER or in the file. Without it the server is alone (docs/cluster.md)." placeholder:"URL"`
	HistoryDir        string   `group:"broker" help:"Folder that keeps histories, positions and idempotency keys of a server without --broker over restarts, also after kill -9 (docs/operate.md)." placeholder:"DIR"`
	HistorySync       bool     `group:"broker" help:"Write each publication to the disk before it is acknowledged, so that --history-dir outlives a loss of power, too. It costs what the disk takes for it. Without it, all channels begin another epoch then."`
	Cluster           []string `group:"broker" help:"Addresses (host:port) of all servers of a cluster that needs no broker beside it, three at least: each brings a server of NATS, and histories are in three of their --history-dir. Publishing to channels with history needs more than half of the servers (docs/cluster.md)." placeholder:"ADDR"`
	ClusterAddr       string   `group:"broker" help:"This server's address among those of --cluster. It has to stay the same." placeholder:"ADDR"`
	ClusterSecretFile string   `group:"broker" help:"File with what the servers of --cluster know each other by; needed where they are not on loopback addresses. The connections are not encrypted: keep them in a network of your own." placeholder:"FILE"`
	BrokerPrefix      string   `group:"broker" help:"What begins all keys, channels and subjects there; servers with another one are another cluster (${default}). With --history-dir it has no effect." placeholder:"TEXT" default:"roost:"`
	NodeName          string   `group:"broker" help:"Name of this server in lists of those on one broker; without it they show an ID that is new with each start." placeholder:"TEXT"`
}

// brokerSchemes begin the URLs of --broker, those of Redis also with +sentinel and +cluster.
var brokerSchemes = []string{"redis", "rediss", "valkey", "valkeys", "unix", "nats", "tls"}

// configure adds the broker to a server's Config.
func (f *BrokerFlags) configure(c *server.Config, logger *slog.Logger) error {
	c.NodeName, c.NodeVersion = f.NodeName, version()
	if f.HistorySync && f.HistoryDir == "" {
		return usagef("--history-sync needs --history-dir")
	}
	if f.HistoryDir != "" {
		if f.Broker != "" {
			return usagef("--history-dir and --broker: the broker keeps the histories")
		}
		return f.embed(c, logger)
	}
	if len(f.Cluster) > 0 || f.ClusterAddr != "" || f.ClusterSecretFile != "" {
		return usagef("--cluster needs --history-dir: what a server has voted for has to outlive it")
	}
	if f.Broker == "" {
		return nil
	}
	scheme, _, ok := strings.Cut(strings.TrimSpace(f.Broker), "://")
	if base, _, _ := strings.Cut(scheme, "+"); !ok || !slices.Contains(brokerSchemes, base) {
		return usagef("--broker: the URL begins with redis://, rediss://, redis+sentinel://, redis+cluster://, unix://, nats:// or tls://")
	}
	var b broker.Broker
	var err error
	if strings.HasPrefix(f.Broker, "nats://") || strings.HasPrefix(f.Broker, "tls://") {
		b, err = nats.New(nats.Options{URL: f.Broker, Prefix: f.BrokerPrefix})
	} else {
		b, err = redis.New(redis.Options{URL: f.Broker, Prefix: f.BrokerPrefix})
	}
	if err != nil {
		return usagef("--broker: %w", err)
	}
	c.Broker = b
	return nil
}

// embed sets the broker that keeps histories in a folder.
func (f *BrokerFlags) embed(c *server.Config, logger *slog.Logger) error {
	o := embedded.Options{Dir: f.HistoryDir, Sync: f.HistorySync, Logger: logger}
	if len(f.Cluster) > 0 {
		if !slices.Contains(f.Cluster, f.ClusterAddr) {
			return usagef("--cluster needs --cluster-addr, one of its addresses: this server's own")
		}
		o.Cluster = &embedded.Cluster{Addr: f.ClusterAddr, Servers: f.Cluster}
	} else if f.ClusterAddr != "" || f.ClusterSecretFile != "" {
		return usagef("--cluster-addr and --cluster-secret-file need --cluster")
	}
	if f.ClusterSecretFile != "" {
		secret, err := os.ReadFile(f.ClusterSecretFile)
		if err != nil {
			return usagef("--cluster-secret-file: %w", err)
		}
		if o.Cluster.Secret = strings.TrimSpace(string(secret)); len(o.Cluster.Secret) < 16 {
			return usagef("--cluster-secret-file: a secret has 16 characters at least")
		}
	}
	b, err := embedded.New(o)
	if err != nil {
		return usagef("--cluster, --cluster-addr: %w", err)
	}
	if o.Cluster != nil {
		n := o.Cluster.Size()
		logger.Info("servers of a cluster keep the histories: more than half of them have to be there, and three the first time",
			"cluster_addr", f.ClusterAddr, "needed", n/2+1, "of", n)
	}
	c.Broker = b
	return nil
}
