// Package natstest runs NATS servers for tests, each in a process of its own: the program of
// the test itself, which Main turns into one.
package natstest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const environment = "ROOST_NATSTEST"

// Main runs the tests of a package that uses Start. Its TestMain calls it.
func Main(m *testing.M) {
	if text := os.Getenv(environment); text != "" {
		serve(text)
	}
	os.Exit(m.Run())
}

// settings are what a process needs to know.
type settings struct {
	Port int
	Dir  string
}

// serve is a NATS server that ends with its standard input. It says a line when it is ready,
// and for each line that it reads it closes the connections of its clients.
func serve(text string) {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: s.Port, JetStream: true, StoreDir: s.Dir, MaxPayload: 8 << 20, NoSigs: true, NoLog: true, ServerName: "test",
	})
	if err != nil {
		panic(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(20*time.Second) || !ns.JetStreamEnabled() {
		panic("nats: the server is not ready")
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		clients, err := ns.Connz(&server.ConnzOptions{Limit: 1000})
		if err != nil {
			panic(err)
		}
		for _, c := range clients.Conns {
			_ = ns.DisconnectClientByID(c.Cid)
		}
		fmt.Println("done")
	}
	os.Exit(0)
}

// A Server is a NATS server on a port of its own on 127.0.0.1, with JetStream in a directory
// of its own. It is ended with the test.
type Server struct {
	t        testing.TB
	settings settings
	process  *exec.Cmd
	in       *os.File
	out      *bufio.Reader
}

// Start starts one.
func Start(t testing.TB) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, settings: settings{l.Addr().(*net.TCPAddr).Port, t.TempDir()}}
	_ = l.Close()
	s.Begin()
	t.Cleanup(s.Kill)
	return s
}

// URL is the server's.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.settings.Port) }

// Dir is where JetStream keeps its files.
func (s *Server) Dir() string { return s.settings.Dir }

// Begin starts the process, with the files of an earlier one.
func (s *Server) Begin() {
	s.t.Helper()
	program, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	text, _ := json.Marshal(s.settings)
	s.process = exec.Command(program)
	s.process.Env = append(os.Environ(), environment+"="+string(text))
	s.process.Stderr = os.Stderr
	read, in, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.in, s.process.Stdin = in, read
	out, err := s.process.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = read.Close()
	s.line()
}

// line reads one line of the process.
func (s *Server) line() {
	s.t.Helper()
	if _, err := s.out.ReadString('\n'); err != nil {
		s.t.Fatalf("the NATS server has ended: %v", err)
	}
}

// Kill ends the process as a crash does.
func (s *Server) Kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		_ = s.in.Close()
		s.process = nil
	}
}

// Freeze stops the process (SIGSTOP), and Thaw lets it go on.
func (s *Server) Freeze() { _ = s.process.Process.Signal(syscall.SIGSTOP) }
func (s *Server) Thaw()   { _ = s.process.Process.Signal(syscall.SIGCONT) }

// Cut closes the connections of all clients.
func (s *Server) Cut() {
	s.t.Helper()
	if _, err := s.in.WriteString("cut\n"); err != nil {
		s.t.Fatal(err)
	}
	s.line()
}
