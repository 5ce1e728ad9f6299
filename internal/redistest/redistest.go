// Package redistest runs Redis servers for tests.
package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Server is one redis-server on a port of its own on 127.0.0.1, with a directory of its
// own. It is ended with the test.
type Server struct {
	t       testing.TB
	port    int
	dir     string
	args    []string
	process *exec.Cmd
}

// Start starts one that keeps nothing on disk, unless args of redis-server say so. The test
// fails if there is no redis-server.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, port: l.Addr().(*net.TCPAddr).Port, dir: t.TempDir(), args: args}
	_ = l.Close()
	s.Begin()
	t.Cleanup(s.Kill)
	return s
}

// URL is the server's.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Addr is its host and port.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Wipe removes what is saved. The process must not run.
func (s *Server) Wipe() {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Begin starts the process, with what an earlier one has saved.
func (s *Server) Begin() {
	s.t.Helper()
	s.process = exec.Command("redis-server", append([]string{"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no"}, s.args...)...)
	s.process.Stderr = os.Stderr
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if reply, err := s.Do("PING"); err == nil && reply == "+PONG" {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("redis-server does not answer")
		}
	}
}

// Kill ends the process as a crash does. What is not saved is lost.
func (s *Server) Kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

// Freeze stops the process (SIGSTOP), and Thaw lets it go on.
func (s *Server) Freeze() { _ = s.process.Process.Signal(syscall.SIGSTOP) }
func (s *Server) Thaw()   { _ = s.process.Process.Signal(syscall.SIGCONT) }

// Do sends a command and returns the first line of the reply.
func (s *Server) Do(words ...string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "%s\r\n", strings.Join(words, " ")); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Info returns a section of INFO.
func (s *Server) Info(section string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "INFO %s\r\n", section); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	var size int
	if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
		return "", err
	}
	text := make([]byte, size)
	_, err = io.ReadFull(r, text)
	return string(text), err
}

// Must is Do that has to succeed.
func (s *Server) Must(words ...string) {
	s.t.Helper()
	if reply, err := s.Do(words...); err != nil || strings.HasPrefix(reply, "-") {
		s.t.Fatalf("%v: %s, %v", words, reply, err)
	}
}
