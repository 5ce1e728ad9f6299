//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/roostws/roost/bench"
)

// A job is what a server does with messages.
type job string

const (
	echo      job = "echo"
	broadcast job = "broadcast"
	idle      job = "idle"
	pinged    job = "pinged"
	stalled   job = "stalled"
)

// A target is one way to run a server.
type target struct {
	server bench.Server
	// section is where it is shown; jobs is what is measured of it.
	section section
	jobs    []job
	// args make the command line for a port; reusePort lets several processes
	// have it.
	args func(j job, addr string, reusePort bool) []string
}

// makeTargets lists the bare server first, then the engines, for each number of
// loops.
func makeTargets(o options) ([]target, error) {
	var targets []target
	for field := range strings.SplitSeq(o.loops, ",") {
		loops, err := strconv.Atoi(field)
		if err != nil || loops < 1 {
			return nil, fmt.Errorf("loops %q: want numbers", o.loops)
		}
		name := "bare, " + plural(loops, "loop")
		targets = append(targets, limitTarget(o.limit, name, loops))
		for i, engine := range strings.Split(o.engines, ",") {
			t := roostTarget(o.roost, engine, loops)
			t.server.Reference = name
			t.server.Budget = i == 0 && len(targets) == 1
			targets = append(targets, t)
		}
	}
	return targets, nil
}

func plural(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

func limitTarget(binary, name string, loops int) target {
	return target{
		server: bench.Server{Label: name, Reference: name},
		jobs:   []job{echo, broadcast},
		args: func(j job, addr string, reusePort bool) []string {
			return []string{binary, "-addr", addr, "-mode", string(j), "-loops", strconv.Itoa(loops), "-reuse-port=" + strconv.FormatBool(reusePort)}
		},
	}
}

func roostTarget(binary, engine string, loops int) target {
	return target{
		server: bench.Server{Label: engine + ", " + plural(loops, "loop")},
		jobs:   []job{echo, broadcast},
		args: func(j job, addr string, reusePort bool) []string {
			behaviour := "--echo"
			if j == broadcast {
				behaviour = "--relay"
			}
			args := []string{binary, "serve", "--addr", addr, "--engine", engine, "--loops", strconv.Itoa(loops), behaviour}
			if reusePort {
				args = append(args, "--reuse-port")
			}
			return args
		},
	}
}

// servers are the running processes of a target.
type servers struct {
	url       string
	processes []*process
}

// A process is one server that we started.
type process struct {
	cmd    *exec.Cmd
	log    *tail
	exited chan struct{}
	err    error // after exited
}

// start runs count processes of t on one port and waits until they answer.
func (t target) start(ctx context.Context, j job, count int) (*servers, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &servers{url: "ws://" + addr + "/"}
	if t.section == overTLS {
		s.url = "wss://" + addr + "/"
	}
	for range count {
		args := t.args(j, addr, count > 1)
		p := &process{cmd: exec.Command(args[0], args[1:]...), log: &tail{}, exited: make(chan struct{})}
		p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := p.cmd.Start(); err != nil {
			s.stop()
			return nil, err
		}
		go func() {
			p.err = p.cmd.Wait()
			close(p.exited)
		}()
		s.processes = append(s.processes, p)
	}
	if err := s.ready(ctx, addr); err != nil {
		s.stop()
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

// startLimit is how long a server may take to listen.
const startLimit = 10 * time.Second

// ready waits until each process has said something (both servers do when they
// listen) and the port answers.
func (s *servers) ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		if err := s.died(); err != nil {
			return err
		}
		said := 0
		for _, p := range s.processes {
			if len(p.log.String()) > 0 {
				said++
			}
		}
		if said == len(s.processes) {
			if conn, err := net.Dial("tcp", addr); err == nil {
				return conn.Close()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not listen: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// died tells of a process that has ended.
func (s *servers) died() error {
	for _, p := range s.processes {
		select {
		case <-p.exited:
			return fmt.Errorf("server ended (%v): %s", p.err, p.log.String())
		default:
		}
	}
	return nil
}

// stop ends our processes, first kindly. It answers what the bare server
// counted as dropped.
func (s *servers) stop() (dropped uint64, err error) {
	err = s.died()
	for _, p := range s.processes {
		p.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range s.processes {
		select {
		case <-p.exited:
		case <-time.After(5 * time.Second):
			p.cmd.Process.Kill()
			<-p.exited
			err = errors.Join(err, errors.New("server did not end within 5 s of SIGTERM"))
		}
		dropped += p.log.dropped()
	}
	return dropped, err
}

// freeAddr finds a port that nobody listens on.
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
	if len(t.buf) > tailBytes {
		t.buf = bytes.Clone(t.buf[len(t.buf)-tailBytes:])
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
