package storm

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
)

// talk is clients that stay, in a process of their own: what thousands of returning
// clients cost the rehearsal must not be in their figures.
type talk struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startTalk starts n talkers.
func startTalk(cfg Config, addr string) (*talk, error) {
	args := append(append([]string{}, cfg.Command[1:]...), "storm", "--talk", addr, "--talkers", strconv.Itoa(cfg.Talkers))
	t := &talk{cmd: exec.Command(cfg.Command[0], args...)}
	t.cmd.Env, t.cmd.Stderr = append(os.Environ(), cfg.Env...), os.Stderr
	var err error
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.out = json.NewDecoder(out)
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("clients that are to stay: %w", err)
	}
	if _, err := t.take(); err != nil { // when all talk
		t.end()
		return nil, err
	}
	return t, nil
}

// take returns what was measured since the last call.
func (t *talk) take() (took []time.Duration, err error) {
	if _, err = io.WriteString(t.in, "take\n"); err == nil {
		err = t.out.Decode(&took)
	}
	if err != nil {
		return nil, fmt.Errorf("clients that are to stay: %w", err)
	}
	return took, nil
}

func (t *talk) end() {
	_ = t.in.Close()
	_ = t.cmd.Wait() // it has done its work
}

// Talk is the process of the talkers: each sends a message every talkInterval and gets it
// back. For each line of in it writes the durations since the last one.
func Talk(in io.Reader, out io.Writer, addr string, n int) error {
	t := &talkers{}
	for range n {
		conn, err := open(context.Background(), addr, 0)
		if err != nil {
			return err
		}
		defer conn.Close()
		go t.run(conn)
	}
	enc := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		took, err := t.take()
		if err != nil {
			return err
		}
		if err := enc.Encode(took); err != nil {
			return err
		}
	}
	return nil
}

type talkers struct {
	mu   sync.Mutex
	took []time.Duration // guarded by mu
	err  error           // guarded by mu: why one of them has ended
}

const talkInterval = 20 * time.Millisecond

// run has a timetable that does not depend on the server: a message that is late because
// of the one before counts from when it was due.
func (t *talkers) run(conn net.Conn) {
	message := frame.AppendMaskedFrame(nil, frame.OpBinary, [4]byte{}, binary.BigEndian.AppendUint64(nil, 1))
	p := make([]byte, 10)
	for due := time.Now().Add(rand.N(talkInterval)); ; due = due.Add(talkInterval) {
		time.Sleep(time.Until(due))
		_, err := conn.Write(message)
		if err == nil {
			_, err = io.ReadFull(conn, p)
		}
		t.mu.Lock()
		if err != nil {
			t.err = errors.Join(t.err, err)
			t.mu.Unlock()
			return
		}
		t.took = append(t.took, time.Since(due))
		t.mu.Unlock()
	}
}

func (t *talkers) take() ([]time.Duration, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := t.took
	t.took = nil
	return took, t.err
}
