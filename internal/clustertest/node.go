package clustertest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A node is one roost serve, on 127.0.0.(11+i).
type node struct {
	r           *Rig
	i           int
	addr, admin string
	process     *exec.Cmd
	ended       chan struct{}

	// Guarded by mu.
	mu  sync.Mutex
	log bytes.Buffer
}

// Write keeps the end of what the process logs.
func (n *node) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.log.Len() > 1<<20 {
		n.log.Reset()
	}
	return n.log.Write(p)
}

// said is the end of what it has logged.
func (n *node) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := n.log.String()
	return text[max(0, len(text)-4000):]
}

// newNode chooses addresses, and lets the end of the test end the process.
func newNode(r *Rig, i int) *node {
	n := &node{r: r, i: i}
	for _, addr := range []*string{&n.addr, &n.admin} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 11+i))
		if err != nil {
			r.t.Fatal(err)
		}
		*addr = l.Addr().String()
		_ = l.Close()
	}
	r.t.Cleanup(func() {
		n.kill()
		if r.t.Failed() {
			r.t.Logf("node %d said:\n%s", i, n.said())
		}
	})
	return n
}

// start starts the process, at the same addresses each time.
func (n *node) start() {
	args := append([]string{
		"serve", "--addr", n.addr, "--admin-addr", n.admin, "--native", "--anonymous", "--loops", "2", "--send-buffer-bytes", "16384", "--shutdown-timeout", "2s",
		"--namespaces", fmt.Sprintf("[{name: news, history-messages: %d, history-age: 1h}]", n.r.o.Messages+100),
	}, n.r.o.Backend.Flags(n.i)...)
	n.process = exec.Command(n.r.o.Binary, args...)
	n.process.Env = append(os.Environ(), "GOMAXPROCS=2")
	n.process.Stderr = n
	if err := n.process.Start(); err != nil {
		n.r.t.Fatal(err)
	}
	n.ended = make(chan struct{})
	go func(ended chan struct{}, process *exec.Cmd) {
		_ = process.Wait()
		close(ended)
	}(n.ended, n.process)
}

// ready waits until /readyz says so.
func (n *node) ready() {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if response, err := http.Get("http://" + n.admin + "/readyz"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-n.ended:
			n.r.t.Fatalf("node %d has ended:\n%s", n.i, n.said())
		default:
		}
		if time.Now().After(deadline) {
			n.r.t.Fatalf("node %d does not become ready", n.i)
		}
	}
}

// kill ends the process as a crash does.
func (n *node) kill() {
	if n.process != nil {
		_ = n.process.Process.Kill()
		<-n.ended
		n.process = nil
	}
}

// nodeFaults are those that any cluster has.
func (r *Rig) nodeFaults() []Fault {
	return []Fault{
		{Name: "kill a node", Do: func(rng *rand.Rand) {
			n := r.nodes[rng.IntN(len(r.nodes))]
			n.kill()
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
			n.start()
			n.ready()
		}},
	}
}
