package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// A fleet is the parent's view of its generators.
type fleet struct {
	members []*member
	// helpers hold no connections: the hostile client and its decoy.
	helpers []*member

	mu       sync.Mutex
	onNotice func(member int, n notice) // Guarded by mu.
}

// A member is one generator process.
type member struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	// first and count are the connections it holds.
	first, count int
	exited       chan struct{}

	mu      sync.Mutex
	enc     *json.Encoder
	lastID  int
	waiting map[int]chan reply // Guarded by mu.
	err     error              // Guarded by mu: why it ended.
}

// errGeneratorGone means that a generator ended before it was asked to.
var errGeneratorGone = errors.New("generator process ended")

// startFleet starts as many generators as the descriptor limit demands for
// conns connections, but at least want of them.
func startFleet(command []string, conns, want int) (*fleet, error) {
	limit, err := raiseDescriptorLimit()
	if err != nil {
		return nil, err
	}
	fits := limit - generatorReserve
	if fits < 1 {
		return nil, fmt.Errorf("descriptor limit %d is too low for a generator", limit)
	}
	count := max(want, (conns+fits-1)/fits, 1)
	f := &fleet{}
	for i := range count {
		first, end := i*conns/count, (i+1)*conns/count
		m, err := f.startMember(command, i)
		if err != nil {
			f.stop()
			return nil, err
		}
		m.first, m.count = first, end-first
		f.members = append(f.members, m)
	}
	return f, nil
}

// generatorReserve are the descriptors of a generator that are no connections:
// standard streams, pollers, what Go's runtime needs, and room to spare.
const generatorReserve = 256

func (f *fleet) startMember(command []string, index int) (*member, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	endWithParent(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("generator: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("generator: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start generator: %w", err)
	}
	m := &member{
		cmd: cmd, stdin: stdin, enc: json.NewEncoder(stdin),
		exited: make(chan struct{}), waiting: make(map[int]chan reply),
	}
	go f.readReplies(m, index, stdout)
	return m, nil
}

// startHelper starts a process that takes requests like a generator, and holds
// no connections.
func (f *fleet) startHelper(command []string) (*member, error) {
	m, err := f.startMember(command, noConn)
	if err == nil {
		f.helpers = append(f.helpers, m)
	}
	return m, err
}

func (f *fleet) readReplies(m *member, index int, out io.Reader) {
	dec := json.NewDecoder(bufio.NewReaderSize(out, 64<<10))
	var err error
	for {
		var r reply
		if err = dec.Decode(&r); err != nil {
			break
		}
		if r.Notice != nil {
			f.mu.Lock()
			if f.onNotice != nil {
				f.onNotice(index, *r.Notice)
			}
			f.mu.Unlock()
			continue
		}
		m.mu.Lock()
		c := m.waiting[r.ID]
		delete(m.waiting, r.ID)
		m.mu.Unlock()
		if c != nil {
			c <- r
		}
	}
	if err == io.EOF {
		err = errGeneratorGone
	}
	if werr := m.cmd.Wait(); werr != nil {
		err = fmt.Errorf("%w: %w", errGeneratorGone, werr)
	}
	m.mu.Lock()
	m.err = err
	m.mu.Unlock()
	close(m.exited)
}

// start sends r and returns the Go channel on which its reply will come.
func (m *member) start(r request) (<-chan reply, error) {
	c := make(chan reply, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	m.lastID++
	r.ID = m.lastID
	m.waiting[r.ID] = c
	if err := m.enc.Encode(r); err != nil {
		return nil, fmt.Errorf("generator: %w", err)
	}
	return c, nil
}

func (m *member) wait(ctx context.Context, c <-chan reply) (reply, error) {
	select {
	case r := <-c:
		if r.Error != "" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-m.exited:
		m.mu.Lock()
		defer m.mu.Unlock()
		return reply{}, m.err
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

func (m *member) call(ctx context.Context, r request) (reply, error) {
	c, err := m.start(r)
	if err != nil {
		return reply{}, err
	}
	return m.wait(ctx, c)
}

// callAll sends each member its request and waits for all replies.
func (f *fleet) callAll(ctx context.Context, make func(m *member) request) ([]reply, error) {
	var cs []<-chan reply
	for _, m := range f.members {
		c, err := m.start(make(m))
		if err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	var replies []reply
	for i, m := range f.members {
		r, err := m.wait(ctx, cs[i])
		if err != nil {
			return nil, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// sendAll is callAll for a request that is the same for all.
func (f *fleet) sendAll(ctx context.Context, r request) ([]reply, error) {
	return f.callAll(ctx, func(*member) request { return r })
}

// notices makes fn the receiver of notices. It is called by one goroutine at a
// time.
func (f *fleet) notices(fn func(member int, n notice)) {
	f.mu.Lock()
	f.onNotice = fn
	f.mu.Unlock()
}

// share is how many of total connections are m's, where all would be conns.
func (m *member) share(total, conns int) int {
	return (m.first+m.count)*total/conns - m.first*total/conns
}

// holder is the member that holds connection n.
func (f *fleet) holder(n int) *member {
	for _, m := range f.members {
		if n >= m.first && n < m.first+m.count {
			return m
		}
	}
	return nil
}

func (m *member) pid() int { return m.cmd.Process.Pid }

func (f *fleet) pids() []int       { return pidsOf(f.members) }
func (f *fleet) helperPIDs() []int { return pidsOf(f.helpers) }

func pidsOf(members []*member) []int {
	var pids []int
	for _, m := range members {
		pids = append(pids, m.pid())
	}
	return pids
}

// stop ends the generators and helpers: end of input asks them to, and one that
// does not end is killed.
func (f *fleet) stop() {
	all := slices.Concat(f.members, f.helpers)
	for _, m := range all {
		m.stdin.Close()
	}
	for _, m := range all {
		select {
		case <-m.exited:
		case <-time.After(3 * time.Second):
			m.cmd.Process.Kill()
			<-m.exited
		}
	}
}

// RunGenerator makes this process a generator: it holds connections for the
// scenario that started it, until standard input ends.
func RunGenerator() error { return serveGenerator(os.Stdin, os.Stdout) }
