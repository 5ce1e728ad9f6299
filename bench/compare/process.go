//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 15 * time.Second
	stopTimeout  = 15 * time.Second
)

// A process is a server that runs.
type process struct {
	command *exec.Cmd
	addr    string
	output  *tail
	ended   chan struct{} // closed when the process is gone
}

// start runs a server and returns when it accepts connections.
func start(ctx context.Context, c contender, m mode) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	args := c.command(addr, m)
	p := &process{command: exec.Command(args[0], args[1:]...), addr: addr, output: &tail{}, ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = p.output, p.output
	// Whatever ends this process ends the server too.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	go func() {
		_ = p.command.Wait()
		close(p.ended)
	}()
	if err := p.waitUntilReady(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// freeAddr is an address with a port that nobody listens on now. Should somebody
// take it before the server does, the server says so and its turn fails.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func (p *process) waitUntilReady(ctx context.Context) error {
	deadline := time.Now().Add(startTimeout)
	for {
		conn, err := net.DialTimeout("tcp", p.addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("does not listen after %v\n%s", startTimeout, p.output)
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%v\n%s", p.command.ProcessState, p.output)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) pid() int { return p.command.Process.Pid }

// stop ends the server, by force if asking does not do.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// tail keeps the last lines that a server wrote, for the message if it fails.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailMaxBytes = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if extra := len(t.b) - tailMaxBytes; extra > 0 {
		t.b = append(t.b[:0], t.b[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
