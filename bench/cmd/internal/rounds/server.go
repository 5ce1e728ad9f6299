//go:build linux

package rounds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startLimit is how long a server may take to listen, stopLimit how long to
	// end after SIGTERM.
	startLimit = 15 * time.Second
	stopLimit  = 15 * time.Second
)

// servers are the running processes of a target.
type servers struct {
	url       string
	processes []*process
}

// A process is one server that we started.
type process struct {
	cmd    *exec.Cmd
	output *tail
	ended  chan struct{}
	err    error // after ended
}

// start runs count processes of t on one port and returns when they listen.
func start(ctx context.Context, t Target, job string, count int) (*servers, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &servers{url: "ws://" + addr + "/"}
	if t.Secure {
		s.url = "wss://" + addr + "/"
	}
	for range count {
		args := t.Args(job, addr, count > 1)
		p := &process{cmd: exec.Command(args[0], args[1:]...), output: &tail{}, ended: make(chan struct{})}
		p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
		// Whatever ends this process ends the server too.
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := p.cmd.Start(); err != nil {
			_, _ = s.stop()
			return nil, fmt.Errorf("start: %w", err)
		}
		go func() {
			p.err = p.cmd.Wait()
			close(p.ended)
		}()
		s.processes = append(s.processes, p)
	}
	if err := s.ready(ctx, addr); err != nil {
		_, _ = s.stop()
		return nil, err
	}
	return s, nil
}

func (s *servers) pids() []int {
	var pids []int
	for _, p := range s.processes {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}

// ready waits until the port answers. Where processes share it, each has to
// have written something first: all servers do that when they listen.
func (s *servers) ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if err := s.died(); err != nil {
			return err
		}
		silent := 0
		for _, p := range s.processes {
			if p.output.String() == "" {
				silent++
			}
		}
		if silent == 0 || len(s.processes) == 1 {
			if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
				return conn.Close()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not listen: %w\n%s", ctx.Err(), s.processes[0].output)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// died returns why a process has ended; nil while all run.
func (s *servers) died() error {
	for _, p := range s.processes {
		select {
		case <-p.ended:
			return fmt.Errorf("server ended (%v): %s", p.err, p.output)
		default:
		}
	}
	return nil
}

// stop ends the processes, by force if asking does not do. It returns what the
// bare server counted as dropped.
func (s *servers) stop() (dropped uint64, err error) {
	err = s.died()
	for _, p := range s.processes {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range s.processes {
		select {
		case <-p.ended:
		case <-time.After(stopLimit):
			_ = p.cmd.Process.Kill()
			<-p.ended
			err = errors.Join(err, fmt.Errorf("server did not end within %v of SIGTERM", stopLimit))
		}
		dropped += p.output.dropped()
	}
	return dropped, err
}

// freeAddr returns an address with a port that is free now. Should another
// program take it before the server does, the server says so and its turn fails.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// tail keeps the last bytes that a server printed. Any goroutine.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailBytes; extra > 0 {
		t.buf = bytes.Clone(t.buf[extra:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}

// dropped reads the bare server's last line.
func (t *tail) dropped() uint64 {
	text := t.String()
	var last struct{ Dropped, Cut uint64 }
	if json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &last) != nil {
		return 0
	}
	return last.Dropped + last.Cut
}
