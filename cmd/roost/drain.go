package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// DrainCmd is roost drain.
type DrainCmd struct {
	AdminClientFlags
	Wait bool `help:"Wait until the server has ended."`
}

// Help is the text between the usage and the flags.
func (DrainCmd) Help() string {
	return `Examples:
  roost drain
  roost drain --wait --url http://127.0.0.1:8081

It does what SIGTERM does: the server says 503 on /readyz, serves on for its --drain-delay, and then closes its clients over its --drain-over, each with a moment of its own to come back; it ends with exit code 0, at the latest after its --shutdown-timeout. The server must have an admin port (roost serve --admin-addr); with API keys, the key needs the scope drain. Where two processes share the admin port (--reuse-port), send SIGTERM to the one that is meant.`
}

// Validate is called by the command line's parser.
func (d *DrainCmd) Validate() error { return d.AdminClientFlags.check() }

// drainBegun is the response to POST /drain.
type drainBegun struct {
	PID         int     `json:"pid"`
	Connections int64   `json:"connections"`
	Delay       float64 `json:"delay"`
	Over        float64 `json:"over"`
	Within      float64 `json:"within"`
}

// beginDrain serves POST /drain.
func (a *adminPort) beginDrain(w http.ResponseWriter, _ *http.Request) {
	select {
	case a.drain <- struct{}{}:
	default: // it was asked for before
	}
	t := a.srv.Config().Timeouts
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(drainBegun{ // a client that has gone does not hear it
		os.Getpid(), a.srv.Stats().Get("connections"), t.DrainDelay.Seconds(), t.DrainOver.Seconds(), a.within.Seconds(),
	})
}

// Run asks for the drain.
func (d *DrainCmd) Run(s streams) error {
	admin, err := d.client(10 * time.Second)
	if err != nil {
		return err
	}
	response, err := admin.post("/drain", "application/json", "", strings.NewReader(""))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var begun drainBegun
	if err := json.NewDecoder(response.Body).Decode(&begun); err != nil {
		return fmt.Errorf("the server's response: %w", err)
	}
	fmt.Fprintf(s.out, "process %d closes %d connections over %gs, after %gs; it ends within %gs\n", begun.PID, begun.Connections, begun.Over, begun.Delay, begun.Within)
	if !d.Wait {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(begun.Within*float64(time.Second))+10*time.Second)
	defer cancel()
	for {
		again, err := admin.get(ctx, "/healthz")
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("the server has not ended within %gs", begun.Within)
			}
			return nil
		}
		again.Body.Close()
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
