package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/pusher"
)

// PusherFlags are those of roost serve for clients and back ends of Pusher
// (docs/pusher.md).
type PusherFlags struct {
	PusherApps            appList       `group:"pusher" sep:"none" help:"Apps whose clients and back ends speak the Pusher protocol: a list in the file of --config (docs/pusher.md), or here as YAML, each with id, key and secret." placeholder:"YAML"`
	PusherAPI             string        `name:"pusher-api" group:"pusher" help:"Where the HTTP API of the apps is, /apps/ID/…: ${enum} (${default}). public is where clients connect." enum:"public,admin,both" placeholder:"WHERE" default:"public"`
	PusherActivityTimeout time.Duration `group:"pusher" help:"Silence after which clients ask whether the server is there (${default})." placeholder:"TIME" default:"120s"`
}

// check is called by the command line's parser.
func (f *PusherFlags) check(admin bool) error {
	switch {
	case f.PusherActivityTimeout < time.Second:
		return errors.New("--pusher-activity-timeout is too short: want 1s or more")
	case len(f.PusherApps) == 0:
		return nil
	case f.PusherAPI != "public" && !admin:
		return errors.New("--pusher-api " + f.PusherAPI + " needs --admin-addr")
	}
	return nil
}

// configure adds the protocol to a server's configuration. The caller ends what it returns,
// which is nil without apps, when the server has ended.
func (f *PusherFlags) configure(config *server.Config, logger *slog.Logger) (*pusher.Server, error) {
	if len(f.PusherApps) == 0 {
		return nil, nil
	}
	if config.HTTP == nil {
		config.HTTP = clientPages()
	}
	p, err := pusher.New(pusher.Options{Apps: f.PusherApps, ActivityTimeout: f.PusherActivityTimeout, NoPublicAPI: f.PusherAPI == "admin", Logger: logger})
	if err == nil {
		p.Configure(config)
	}
	return p, err
}

// endHooks has the last web hooks of apps delivered.
func endHooks(p *pusher.Server, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.EndHooks(ctx); err != nil {
		logger.Warn("the back ends of Pusher were not told everything", "err", err)
	}
}
