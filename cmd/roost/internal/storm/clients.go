package storm

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roostws/roost/frame"
)

const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// refusal is a response other than 101.
type refusal struct {
	status int
	after  time.Duration
}

func (r *refusal) Error() string { return "refused with " + strconv.Itoa(r.status) }

// attempt is how long one may take: a server whose queue is full of SYNs answers late.
const attempt = 2 * time.Minute

// perSource is how many clients share an address. Linux looks through all ports of one
// parity, 14,000 by default, before it takes one of the other: beyond that a connect costs
// milliseconds of the processors that the server is measured on.
const perSource = 4000

// open opens a WebSocket, as client i.
func open(ctx context.Context, addr string, i int) (net.Conn, error) {
	d := net.Dialer{Timeout: attempt}
	if runtime.GOOS == "linux" { // elsewhere the loopback interface has one address
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(i/perSource>>8), byte(i/perSource)+1)}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := ask(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func ask(conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(attempt))
	if _, err := io.WriteString(conn, upgrade); err != nil {
		return err
	}
	head := make([]byte, 0, 1024)
	for !strings.Contains(string(head), "\r\n\r\n") {
		if len(head) == cap(head) {
			return errors.New("the response has no end")
		}
		n, err := conn.Read(head[len(head):cap(head)])
		if err != nil {
			return err
		}
		head = head[:len(head)+n]
	}
	text := string(head)
	if strings.HasPrefix(text, "HTTP/1.1 101 ") {
		return conn.SetDeadline(time.Time{})
	}
	r := &refusal{status: http.StatusInternalServerError}
	if words := strings.Fields(text); len(words) > 1 {
		r.status, _ = strconv.Atoi(words[1])
	}
	if _, rest, ok := strings.Cut(text, "\r\nRetry-After: "); ok {
		value, _, _ := strings.Cut(rest, "\r\n")
		seconds, _ := strconv.Atoi(value)
		r.after = time.Duration(seconds) * time.Second
	}
	return r
}

// crowd is the clients that come, vanish and return.
type crowd struct {
	obeys bool
	conns []net.Conn
	// Of the last storm or move: how long each was away, and how often it was refused.
	took    []time.Duration
	refused []int
	told    time.Duration // the latest moment that any was told to come back at
	failed  int64         // attempts that had no response
	untold  int64         // clients that were closed without a moment to come back at

	mu sync.Mutex // guards told
}

func newCrowd(n int, obeys bool) *crowd {
	return &crowd{obeys: obeys, conns: make([]net.Conn, n), took: make([]time.Duration, n), refused: make([]int, n)}
}

func (c *crowd) refusals() (n int) {
	for _, k := range c.refused {
		n += k
	}
	return n
}

// enter lets all in, as many at once as inFlight.
func (c *crowd) enter(ctx context.Context, addr string, inFlight int) error {
	clear(c.refused)
	c.told, c.failed = 0, 0
	begun := time.Now()
	places := make(chan struct{}, inFlight)
	var wg sync.WaitGroup
	for i := range c.conns {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			c.enterOne(ctx, i, addr, begun)
		})
	}
	wg.Wait()
	return ctx.Err()
}

// enterOne tries until it is in, or ctx is done.
func (c *crowd) enterOne(ctx context.Context, i int, addr string, begun time.Time) {
	for ctx.Err() == nil {
		conn, err := open(ctx, addr, i)
		if err == nil {
			c.conns[i], c.took[i] = conn, time.Since(begun)
			return
		}
		// One that obeys nobody tries again within a second or two.
		delay := time.Second + rand.N(time.Second)
		var r *refusal
		if errors.As(err, &r) {
			c.refused[i]++
			if c.obeys && r.after > 0 {
				c.mu.Lock()
				c.told = max(c.told, time.Since(begun)+r.after)
				c.mu.Unlock()
				delay = r.after + rand.N(r.after/4)
			}
		} else {
			atomic.AddInt64(&c.failed, 1)
		}
		_ = sleep(ctx, delay) // the loop looks at ctx
	}
}

// cut ends all without a goodbye.
func (c *crowd) cut() {
	for _, conn := range c.conns {
		if conn != nil { // it never came in
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}
}

// follow has each client, when it is told to go, come to another server. What it returns
// waits until all are there.
func (c *crowd) follow(ctx context.Context, to string) func() error {
	clear(c.refused)
	c.failed, c.untold = 0, 0
	begun := time.Now()
	var wg sync.WaitGroup
	for i, conn := range c.conns {
		wg.Go(func() {
			after, told := farewell(conn)
			if !told {
				atomic.AddInt64(&c.untold, 1)
			}
			if c.obeys {
				_ = sleep(ctx, after) // enterOne looks at ctx
			}
			c.enterOne(ctx, i, to, begun)
		})
	}
	return func() error {
		wg.Wait()
		return ctx.Err()
	}
}

// farewell waits for the Close frame, and returns when to come back.
func farewell(conn net.Conn) (after time.Duration, told bool) {
	defer conn.Close()
	p := make([]byte, 2+125)
	n, err := io.ReadAtLeast(conn, p, 2)
	if err != nil || p[0] != 0x88 {
		return 0, false
	}
	size := 2 + int(p[1]&0x7f)
	if n < size {
		if _, err := io.ReadFull(conn, p[n:size]); err != nil {
			return 0, false
		}
	}
	_, _ = conn.Write(frame.AppendMaskedFrame(nil, frame.OpClose, [4]byte{}, p[2:4])) // it may have gone
	_, text, told := strings.Cut(string(p[4:size]), "; retry=")
	ms, err := strconv.ParseUint(text, 10, 32)
	return time.Duration(ms) * time.Millisecond, told && err == nil
}
