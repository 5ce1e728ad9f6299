// Package redistest runs Redis servers for tests.
package redistest

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Server is one redis-server on a port of its own on 127.0.0.1, with a directory of its
// own. It is ended with the test.
type Server struct {
	t        testing.TB
	port     int
	dir      string
	settings []string
	process  *exec.Cmd
}

// Start starts one that keeps nothing on disk, unless settings, as on the command line of
// redis-server, say so. The test fails if there is none. ROOST_REDIS_SERVER names the program that is run in its place, of another
// version, or Valkey's.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, port: FreePort(t), dir: t.TempDir(), settings: settings}
	s.Begin()
	t.Cleanup(s.Kill)
	return s
}

// FreePort returns a port of 127.0.0.1 that nothing listens on. It is below those that the
// kernel gives to outgoing connections, of which one could take it before it is used.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 12_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
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

// ReplicaOf makes the server a replica of another one, and waits until it has its data.
func (s *Server) ReplicaOf(master *Server) {
	s.t.Helper()
	master.Must("CONFIG", "SET", "repl-diskless-sync-delay", "0")
	s.Must("REPLICAOF", "127.0.0.1", fmt.Sprint(master.port))
	s.Await("master_link_status:up", "INFO", "replication")
}

// Await sends a command again and again, until its whole reply contains a text.
func (s *Server) Await(text string, words ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		reply, err := s.All(words...)
		if err == nil && strings.Contains(reply, text) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%v: %q is not in %q, %v", words, text, reply, err)
		}
	}
}

// Begin starts the process, with what an earlier one has saved.
func (s *Server) Begin() {
	s.t.Helper()
	program := os.Getenv("ROOST_REDIS_SERVER")
	if program == "" {
		program = "redis-server"
	}
	s.process = exec.Command(program, append([]string{"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no"}, s.settings...)...)
	s.process.Stderr = os.Stderr
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
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
	reply, err := s.All(words...)
	line, _, _ := strings.Cut(reply, "\r\n")
	return line, err
}

// All sends a command and returns the whole reply as it comes.
func (s *Server) All(words ...string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), 10*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "%s\r\n", strings.Join(words, " ")); err != nil {
		return "", err
	}
	var reply strings.Builder
	err = readReply(bufio.NewReader(c), &reply)
	return reply.String(), err
}

// readReply copies one reply (RESP 2).
func readReply(r *bufio.Reader, dst *strings.Builder) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	dst.WriteString(line)
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$':
		if n >= 0 {
			_, err = io.CopyN(dst, r, int64(n)+2)
		}
	case '*':
		for range n {
			if err = readReply(r, dst); err != nil {
				return err
			}
		}
	}
	return err
}

// Info returns a section of INFO.
func (s *Server) Info(section string) (string, error) {
	reply, err := s.All("INFO", section)
	_, text, _ := strings.Cut(reply, "\r\n")
	return text, err
}

// Must is Do that has to succeed.
func (s *Server) Must(words ...string) {
	s.t.Helper()
	if reply, err := s.Do(words...); err != nil || strings.HasPrefix(reply, "-") {
		s.t.Fatalf("%v: %s, %v", words, reply, err)
	}
}

// A Cluster is a Redis Cluster of primaries, each with one replica: those have the same
// place in Replicas.
type Cluster struct {
	Primaries, Replicas []*Server
}

// StartCluster starts one of n primaries that share the slots.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	var buses []int
	start := func() *Server {
		bus := FreePort(t)
		buses = append(buses, bus)
		return Start(t, "--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(bus), "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0")
	}
	for range n {
		c.Primaries = append(c.Primaries, start())
	}
	for range n {
		c.Replicas = append(c.Replicas, start())
	}
	all := append(append([]*Server(nil), c.Primaries...), c.Replicas...)
	for i, s := range all {
		s.Must("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		if i > 0 {
			all[0].Must("CLUSTER", "MEET", "127.0.0.1", fmt.Sprint(s.port), fmt.Sprint(buses[i]))
		}
	}
	for i, s := range c.Primaries {
		s.Must("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*16384/n), fmt.Sprint((i+1)*16384/n-1))
	}
	for i, replica := range c.Replicas {
		id := c.Primaries[i].ID()
		replica.Await(id, "CLUSTER", "NODES")
		replica.Must("CLUSTER", "REPLICATE", id)
	}
	for _, s := range all {
		s.Await("cluster_state:ok", "CLUSTER", "INFO")
		s.Await(fmt.Sprintf("cluster_known_nodes:%d", 2*n), "CLUSTER", "INFO")
	}
	for _, replica := range c.Replicas {
		replica.Await("master_link_status:up", "INFO", "replication")
	}
	return c
}

// URL is the cluster's.
func (c *Cluster) URL() string {
	return "redis+cluster://" + c.Primaries[0].Addr() + "," + c.Primaries[1].Addr()
}

// ID is the server's name in its cluster.
func (s *Server) ID() string {
	s.t.Helper()
	reply, err := s.All("CLUSTER", "MYID")
	lines := strings.Split(reply, "\r\n")
	if err != nil || len(lines) < 2 {
		s.t.Fatalf("cluster myid: %q, %v", reply, err)
	}
	return lines[1]
}

// StartSentinels starts three Sentinels that watch a server, which must have a replica, by
// the name "roost", and returns their URL.
func StartSentinels(t testing.TB, master *Server) string {
	t.Helper()
	var list []*Server
	var hosts []string
	for range 3 {
		s := &Server{t: t, port: FreePort(t), dir: t.TempDir()}
		config := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor roost 127.0.0.1 %d 2\nsentinel down-after-milliseconds roost 800\nsentinel failover-timeout roost 6000\n",
			s.port, s.dir, master.port)
		file := filepath.Join(s.dir, "sentinel.conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		s.process = exec.Command("redis-server", file, "--sentinel")
		if err := s.process.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Kill)
		list, hosts = append(list, s), append(hosts, s.Addr())
	}
	for _, s := range list {
		s.Await("num-other-sentinels\r\n$1\r\n2", "SENTINEL", "MASTER", "roost")
		s.Await("num-slaves\r\n$1\r\n1", "SENTINEL", "MASTER", "roost")
	}
	return "redis+sentinel://" + strings.Join(hosts, ",") + "/roost"
}

// MoveSlot moves the slot of a key, with all that is in it, from one server of a cluster to
// another, as redis-cli does.
func (c *Cluster) MoveSlot(key string, from, to *Server) {
	from.t.Helper()
	reply, err := from.Do("CLUSTER", "KEYSLOT", key)
	if err != nil {
		from.t.Fatal(err)
	}
	slot := strings.TrimPrefix(reply, ":")
	to.Must("CLUSTER", "SETSLOT", slot, "IMPORTING", from.ID())
	from.Must("CLUSTER", "SETSLOT", slot, "MIGRATING", to.ID())
	for {
		reply, err := from.All("CLUSTER", "GETKEYSINSLOT", slot, "100")
		lines := strings.Split(reply, "\r\n")
		if err != nil || len(lines) < 3 {
			break
		}
		words := []string{"MIGRATE", "127.0.0.1", fmt.Sprint(to.port), `""`, "0", "5000", "KEYS"}
		for i := 2; i < len(lines); i += 2 {
			words = append(words, lines[i])
		}
		from.Must(words...)
	}
	id := to.ID()
	for _, s := range []*Server{to, from} { // the others learn it
		s.Must("CLUSTER", "SETSLOT", slot, "NODE", id)
	}
}

// Holder returns the primary that has a key whose name matches a pattern, and the key.
func (c *Cluster) Holder(pattern string) (s *Server, key string) {
	for _, s := range c.Primaries {
		if reply, err := s.All("KEYS", pattern); err == nil && !strings.HasPrefix(reply, "*0") {
			return s, strings.Split(reply, "\r\n")[2]
		}
	}
	return nil, ""
}
