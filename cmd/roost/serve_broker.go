package main

import (
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker/redis"
)

// BrokerFlags are those of roost serve for several servers.
type BrokerFlags struct {
	Broker       string `group:"broker" help:"Redis (7.0 or later, or Valkey) that connects this server with others, and keeps the histories: redis://[user:password@]host:port, rediss:// for TLS. With a password, better as ROOST_BROKER or in the file. Without it the server is alone (docs/cluster.md)." placeholder:"URL"`
	BrokerPrefix string `group:"broker" help:"What begins all keys and channels there; servers with another one are another cluster (${default})." placeholder:"TEXT" default:"roost:"`
}

// configure adds the broker to a server's Config.
func (f *BrokerFlags) configure(c *server.Config) error {
	if f.Broker == "" {
		return nil
	}
	b, err := redis.New(redis.Options{URL: f.Broker, Prefix: f.BrokerPrefix})
	if err != nil {
		return usagef("--broker: %w", err)
	}
	c.Broker = b
	return nil
}
