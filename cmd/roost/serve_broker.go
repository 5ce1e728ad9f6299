package main

import (
	"log/slog"
	"strings"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/broker/embedded"
	"github.com/roostws/roost/server/broker/nats"
	"github.com/roostws/roost/server/broker/redis"
)

// BrokerFlags are those of roost serve for several servers.
type BrokerFlags struct {
	Broker       string `group:"broker" help:"What connects this server with others, and keeps the histories: Redis (7.0 or later, or Valkey) as redis://[user:password@]host:port, rediss:// for TLS; or NATS (2.11 or later, with JetStream) as nats://[user:password@]host:port, tls:// for TLS. With a password, better as ROOST_BROKER or in the file. Without it the server is alone (docs/cluster.md)." placeholder:"URL"`
	HistoryDir   string `group:"broker" help:"Folder that keeps histories, positions and idempotency keys of a server without --broker over restarts, also after kill -9 (docs/operate.md)." placeholder:"DIR"`
	HistorySync  bool   `group:"broker" help:"Write each publication to the disk before it is acknowledged, so that --history-dir outlives a loss of power, too. It costs what the disk takes for it. Without it, all channels begin another epoch then."`
	BrokerPrefix string `group:"broker" help:"What begins all keys, channels and subjects there; servers with another one are another cluster (${default})." placeholder:"TEXT" default:"roost:"`
	NodeName     string `group:"broker" help:"Name of this server in lists of those on one broker; without it they show an ID that is new with each start." placeholder:"TEXT"`
}

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
		c.Broker = embedded.New(embedded.Options{Dir: f.HistoryDir, Sync: f.HistorySync, Logger: logger})
		return nil
	}
	if f.Broker == "" {
		return nil
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
