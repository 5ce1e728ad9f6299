package storm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// server is a roost serve of the rehearsal.
type server struct {
	cmd         *exec.Cmd
	addr, admin string
	ended       chan struct{}
}

// startServer runs one and waits until it serves.
func startServer(ctx context.Context, cfg Config, flags []string) (*server, error) {
	args := append(append(append([]string{}, cfg.Command[1:]...),
		"serve", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--log-format", "json", "--ping-interval", "1h"), append(flags, cfg.Serve...)...)
	s := &server{cmd: exec.Command(cfg.Command[0], args...), ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), cfg.Env...)
	log, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cfg.Command[0], err)
	}
	ready := make(chan bool, 1)
	var said bytes.Buffer // read only after ended
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			said.Write(append(lines.Bytes(), '\n'))
			var line struct {
				Msg, Addr string
				AdminAddr string `json:"admin_addr"`
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "roost serves" {
				s.addr, s.admin = line.Addr, line.AdminAddr
				ready <- true
			}
		}
		_ = s.cmd.Wait() // the state tells
	}()
	select {
	case <-ready:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("the server has ended at once: %s", said.Bytes())
	case <-ctx.Done():
		s.kill()
		return nil, ctx.Err()
	}
}

func (s *server) stop() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}

// wait returns the exit code.
func (s *server) wait() (int, error) {
	select {
	case <-s.ended:
		return s.cmd.ProcessState.ExitCode(), nil
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("the server that stops has not ended in a minute")
	}
}

// watch looks at the server's queue of newcomers until the function that it returns is
// called, which returns the longest queue, and when it was to be empty.
func (s *server) watch(ctx context.Context) func() (forecast time.Duration, most int64) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	var forecast time.Duration
	var most int64
	begun := time.Now()
	go func() {
		defer close(done)
		for sleep(ctx, 50*time.Millisecond) == nil {
			var stats struct {
				Waiting int64 `json:"admission_waiting"`
				Rate    int64 `json:"admission_rate"`
			}
			response, err := http.Get("http://" + s.admin + "/v1/stats")
			if err != nil {
				continue // it has too much to do: there is another look
			}
			err = json.NewDecoder(response.Body).Decode(&stats)
			response.Body.Close()
			if err == nil && stats.Rate > 0 && stats.Waiting > 0 {
				most = max(most, stats.Waiting)
				forecast = max(forecast, time.Since(begun)+time.Duration(float64(stats.Waiting)/float64(stats.Rate)*float64(time.Second)))
			}
		}
	}()
	return func() (time.Duration, int64) {
		end()
		<-done
		return forecast, most
	}
}
