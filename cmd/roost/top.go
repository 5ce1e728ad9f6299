package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/roostws/roost/cmd/roost/internal/top"
)

// TopCmd is roost top.
type TopCmd struct {
	AdminClientFlags
	Interval time.Duration `help:"How long from one look to the next (${default})." default:"1s" placeholder:"TIME"`
	Once     bool          `help:"Look twice, an interval apart, print that, and end."`
	JSON     bool          `name:"json" help:"Print each look as a JSON object on a line."`
	Prefix   string        `help:"Only channels whose names begin with this." placeholder:"TEXT"`
}

// Help is the text between the usage and the flags.
func (TopCmd) Help() string {
	return `Examples:
  roost top
  roost top --once
  roost top --json --interval 10s >> roost.log
  roost top --url https://admin.example.com --key-file key

In a terminal it fills the screen until q or Ctrl-C; elsewhere it prints a line for each look. The server must have an admin port (roost serve --admin-addr); with API keys, the key needs the scope stats, and read for channels. Rates are those between two looks; latencies are over the last 120 looks, each as the upper end of a histogram's bucket. While the server is away it says so and tries again. docs/metrics.md says what the figures mean.`
}

// Validate is called by the command line's parser.
func (c *TopCmd) Validate() error {
	if c.Interval < 100*time.Millisecond || c.Interval > time.Hour {
		return fmt.Errorf("--interval is %v: want 100ms to 1h", c.Interval)
	}
	return c.AdminClientFlags.check()
}

// Run shows the server until it is told to end.
func (c *TopCmd) Run(s streams) error {
	admin, err := c.client(max(5*time.Second, c.Interval))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	w, view := &watcher{admin: admin, prefix: c.Prefix}, top.NewView(hostOf(c.URL))
	first := w.look(ctx)
	if first.Problem != nil && (c.Once || !isAway(first.Problem)) {
		return first.Problem
	}
	view.Add(first)
	if screen := top.NewScreen(s.in, s.out); screen != nil && !c.Once && !c.JSON {
		return c.live(ctx, w, view, screen)
	}
	return c.lines(ctx, w, view, s)
}

// lines prints each look, or the second alone.
func (c *TopCmd) lines(ctx context.Context, w *watcher, view *top.View, s streams) error {
	if !c.Once && !c.JSON {
		if _, err := fmt.Fprintln(s.out, top.RowTitle()); err != nil {
			return err
		}
	}
	for tick := time.NewTicker(c.Interval); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		look := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if c.Once && look.Problem != nil {
			return look.Problem
		}
		view.Add(look)
		if err := c.print(view, s); err != nil || c.Once {
			return err
		}
	}
}

// print prints a look.
func (c *TopCmd) print(v *top.View, s streams) error {
	var err error
	switch {
	case c.JSON:
		var text []byte
		if text, err = v.JSON(time.Now()); err == nil {
			_, err = s.out.Write(text)
		}
	case c.Once:
		for _, line := range v.Report() {
			if _, err = fmt.Fprintln(s.out, line); err != nil {
				return err
			}
		}
	default:
		_, err = fmt.Fprintln(s.out, v.Row(time.Now()))
	}
	return err
}

// live fills the screen. A goroutine asks, so that keys work while a server does not
// respond.
func (c *TopCmd) live(ctx context.Context, w *watcher, view *top.View, screen *top.Screen) error {
	if err := screen.Enter(); err != nil {
		return err
	}
	defer screen.Leave()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	looks := make(chan top.Look)
	go func() {
		for tick := time.NewTicker(c.Interval); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case <-ctx.Done():
				return
			case looks <- w.look(ctx):
			}
		}
	}()
	const ctrlC = 3
	for keys := screen.Keys(); ; {
		width, height := screen.Size()
		if err := screen.Draw(view.Screen(width, height), width); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case key := <-keys:
			if key == 'q' || key == 'Q' || key == ctrlC {
				return nil
			}
		case <-resized:
		case look := <-looks:
			view.Add(look)
		}
	}
}

// watcher asks a server what top shows. One goroutine may use it at a time.
type watcher struct {
	admin  *adminClient
	prefix string

	nextChannels time.Time
}

// look asks once.
func (w *watcher) look(ctx context.Context) (look top.Look) {
	if look.Metrics, look.Problem = w.metrics(ctx); look.Problem != nil {
		return look
	}
	if response, err := w.admin.get(ctx, "/readyz"); err == nil {
		response.Body.Close()
		look.Ready = true
	}
	look.Nodes = w.nodes(ctx)
	// A server with very many channels takes a while to look at them all: it shall not
	// do that for more than a fiftieth of the time.
	if began := time.Now(); !began.Before(w.nextChannels) {
		look.ChannelsAsked = true
		look.Channels, look.ChannelsProblem = w.channels(ctx)
		w.nextChannels = began.Add(50 * time.Since(began))
	}
	return look
}

func (w *watcher) metrics(ctx context.Context) (*top.Metrics, error) {
	response, err := w.admin.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	metrics, err := top.Parse(response.Body, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%w\nIs --url that of the admin port?", err)
	}
	return metrics, nil
}

// nodes asks for the servers on the broker. One that is older, or does not say, has none.
func (w *watcher) nodes(ctx context.Context) []top.Node {
	response, err := w.admin.get(ctx, "/v1/nodes")
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var list struct {
		Nodes []top.Node `json:"nodes"`
	}
	_ = json.NewDecoder(response.Body).Decode(&list)
	return list.Nodes
}

// channels asks for those with the most connections.
func (w *watcher) channels(ctx context.Context) ([]top.Channel, error) {
	response, err := w.admin.get(ctx, "/v1/channels?order=clients&limit=100&prefix="+url.QueryEscape(w.prefix))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var list struct {
		Channels []top.Channel `json:"channels"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("/v1/channels: %w", err)
	}
	return list.Channels, nil
}

// isAway reports whether an error is one that may end by itself: the server is not
// there, or not yet. A certificate that is not trusted stays as it is.
func isAway(err error) bool {
	var refused *url.Error
	var untrusted *tls.CertificateVerificationError
	return errors.As(err, &refused) && !errors.As(err, &untrusted)
}

// hostOf returns an URL as it is shown.
func hostOf(base string) string {
	return strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/")
}
