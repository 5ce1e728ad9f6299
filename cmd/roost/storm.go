package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/roostws/roost/cmd/roost/internal/storm"
)

// StormCmd is roost storm.
type StormCmd struct {
	Connections int           `help:"How many clients vanish and return (${default})." default:"10000" placeholder:"N"`
	Talkers     int           `help:"How many stay and talk (${default})." default:"50" placeholder:"N"`
	Calm        time.Duration `help:"How long they talk before the storm (${default})." default:"10s" placeholder:"TIME"`
	Over        time.Duration `help:"The server's --drain-over (${default})." default:"20s" placeholder:"TIME"`
	Serve       []string      `help:"A further flag of both servers, such as --serve=--loops=4. May be given several times." placeholder:"FLAG" sep:"none"`
	Talk        string        `hidden:"" help:"Be the clients that talk to the server there (started by the rehearsal)." placeholder:"ADDR"`
	benchOutput
}

// Help is the text between the usage and the flags.
func (StormCmd) Help() string {
	return `Examples:
  roost storm
  roost storm --connections 18000 --json storm.json --plot storm.svg

It starts servers of its own on this machine, twice: unshaped, with every client let in and coming back at once, and shaped, with what roost serve does by itself. First all clients are cut off, and come back in the same moment, while others go on talking; then a server stops, and its clients move to another one. Exit code 1 if the shaped way does not hold what docs/operate.md says. Clients and servers share the processors: an idle machine, please.`
}

// Validate is called by the command line's parser.
func (c *StormCmd) Validate() error {
	if c.Connections < 1 || c.Talkers < 1 {
		return fmt.Errorf("--connections is %d and --talkers %d: want 1 or more", c.Connections, c.Talkers)
	}
	if c.Calm <= 0 || c.Over <= 0 {
		return fmt.Errorf("--calm is %v and --over %v: want more than 0", c.Calm, c.Over)
	}
	return nil
}

// stormReserve are descriptors of the rehearsal that are no connections.
const stormReserve = 100

// Run rehearses.
func (c *StormCmd) Run(s streams) error {
	if c.Talk != "" {
		return storm.Talk(s.in, s.out, c.Talk, c.Talkers)
	}
	nofile, err := raiseNofile()
	if err != nil {
		return err
	}
	if most := int(nofile) - c.Talkers - stormReserve; c.Connections > most {
		return usagef("--connections is %d, and the descriptor limit of %d leaves room for %d: %s", c.Connections, nofile, most, moreDescriptors(c.Connections))
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.check(); err != nil {
		return err
	}
	r, err := storm.Run(ctx, storm.Config{
		Connections: c.Connections, Talkers: c.Talkers, Calm: c.Calm, Over: c.Over, Command: []string{self}, Serve: c.Serve, Progress: s.err,
	})
	if err != nil {
		return err
	}
	r.Notes = append(r.Notes, "command: "+strings.Join(append([]string{"roost"}, os.Args[1:]...), " "))
	return c.report(s.out, r)
}
