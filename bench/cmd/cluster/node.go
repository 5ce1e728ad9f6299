//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is one that is measured, or Redis.
type process struct {
	cmd *exec.Cmd
	out bytes.Buffer
	// addr is where clients connect, and api where the API is.
	addr, api string
}

// start runs a program, which ends with this one, and waits until it listens.
func start(listens string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", listens); err == nil {
			_ = conn.Close()
			return p, nil
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("%s does not listen on %s: %s", name, listens, p.out.String())
		}
	}
}

func (p *process) stop() {
	if p != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// cpu is the time that the process has run for, of all its threads.
func (p *process) cpu() time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	var sum int64
	for _, file := range files {
		text, _ := os.ReadFile(file) // a thread may have ended
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		sum += n
	}
	return time.Duration(sum)
}

// free returns an address of a host.
func free(host string) (string, error) {
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// history is what both keep of a channel.
const historyMessages = 100

// startRedis runs one that saves nothing.
func startRedis(dir string) (*process, error) {
	addr, err := free("127.0.0.1")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	p, err := start(addr, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no")
	if p != nil {
		p.addr = addr
	}
	return p, err
}

// startNode runs node i of a contender.
func (o *options) startNode(c contender, i int, dir string, redis *process) (*process, error) {
	host := fmt.Sprintf("127.0.0.%d", 11+i)
	addr, err := free(host)
	if err != nil {
		return nil, err
	}
	if !c.peer {
		admin, err := free(host)
		if err != nil {
			return nil, err
		}
		args := []string{"serve", "--native", "--anonymous", "--addr", addr, "--admin-addr", admin,
			"--namespaces", fmt.Sprintf("[{name: news, history-messages: %d, history-age: 10m}]", historyMessages)}
		if c.redis {
			args = append(args, "--broker", "redis://"+redis.addr)
		}
		p, err := start(addr, filepath.Join(o.bin, "roost"), args...)
		if p != nil {
			p.addr, p.api = addr, admin
		}
		return p, err
	}
	_, text, _ := net.SplitHostPort(addr)
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	config := map[string]any{
		"http_server": map[string]any{"address": host, "port": port},
		"client":      map[string]any{"insecure": true, "allowed_origins": []string{"*"}},
		"http_api":    map[string]any{"insecure": true},
		"log":         map[string]any{"level": "error"},
		"channel": map[string]any{"namespaces": []any{map[string]any{
			"name": "news", "history_size": historyMessages, "history_ttl": "600s", "force_recovery": true,
		}}},
	}
	if c.redis {
		config["engine"] = map[string]any{"type": "redis", "redis": map[string]any{"address": []string{"redis://" + redis.addr}}}
	}
	content, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, fmt.Sprintf("centrifugo-%d.json", i))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return nil, err
	}
	p, err := start(addr, filepath.Join(o.bin, "centrifugo"), "--config", file)
	if p != nil {
		p.addr, p.api = addr, addr
	}
	return p, err
}
