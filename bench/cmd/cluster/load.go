//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	quietChannels = 50
	busyChannels  = 3
	batchSize     = 100
)

// A turn is one contender that runs.
type turn struct {
	c       contender
	nodes   []*process
	redis   *process
	clients []*subscriber
	web     *http.Client
}

// turn starts a contender, measures it, and ends it.
func (o *options) turn(c contender) (m *measurement, err error) {
	dir, err := os.MkdirTemp("", "roost-cluster")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	t := &turn{c: c, web: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	defer t.web.CloseIdleConnections()
	if c.redis {
		if t.redis, err = startRedis(dir); err != nil {
			return nil, err
		}
		defer t.redis.stop()
	}
	for i := range c.Nodes {
		n, err := o.startNode(c, i, dir, t.redis)
		if err != nil {
			return nil, err
		}
		defer n.stop()
		t.nodes = append(t.nodes, n)
	}
	defer func() {
		for _, s := range t.clients {
			_ = s.conn.Close()
		}
	}()
	for i := range quietChannels {
		if err := t.subscribe(i, fmt.Sprintf("news:quiet%d", i), 60<<10); err != nil {
			return nil, err
		}
	}
	m = &measurement{}
	m.Single, m.SingleCPU, m.SingleRedis, err = t.publish(o.period, 32, 1)
	if err != nil {
		return nil, err
	}
	if m.Batch, m.BatchCPU, m.BatchRedis, err = t.publish(o.period, 8, batchSize); err != nil {
		return nil, err
	}
	if err := t.lost(); err != nil {
		return nil, err
	}
	for _, s := range t.clients {
		_ = s.conn.Close()
	}
	t.clients = nil
	for i := range o.clients {
		// All nodes have the same share of each channel.
		if err := t.subscribe(i/busyChannels, fmt.Sprintf("news:busy%d", i%busyChannels), 2<<10); err != nil {
			return nil, err
		}
	}
	if err := t.deliver(o, m); err != nil {
		return nil, err
	}
	return m, t.lost()
}

// lost returns why a subscriber has ended.
func (t *turn) lost() error {
	for _, s := range t.clients {
		if why := s.why.Load(); why != nil {
			return fmt.Errorf("a subscriber was lost: %w", *why)
		}
	}
	return nil
}

// cpu is that of the nodes, and of Redis.
func (t *turn) cpu() (nodes, redis time.Duration) {
	for _, n := range t.nodes {
		nodes += n.cpu()
	}
	if t.redis != nil {
		redis = t.redis.cpu()
	}
	return nodes, redis
}

// publish publishes as fast as it can.
func (t *turn) publish(period time.Duration, workers, size int) (rate, cpu, redisCPU float64, err error) {
	var count atomic.Int64
	var failure atomic.Pointer[error]
	load := func(d time.Duration) {
		var all sync.WaitGroup
		until := time.Now().Add(d)
		for w := range workers {
			all.Go(func() {
				for k := w; time.Now().Before(until); k++ {
					if err := t.post(k%len(t.nodes), k, size, "news:quiet", quietChannels); err != nil {
						failure.Store(&err)
						return
					}
					count.Add(int64(size))
				}
			})
		}
		all.Wait()
	}
	load(period / 4) // to begin with
	count.Store(0)
	nodes, redis := t.cpu()
	began := time.Now()
	load(period)
	took := time.Since(began)
	nodesNow, redisNow := t.cpu()
	if f := failure.Load(); f != nil {
		return 0, 0, 0, *f
	}
	n := float64(count.Load())
	return n / took.Seconds(), micros(nodesNow-nodes) / n, micros(redisNow-redis) / n, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// post publishes size messages with one request.
func (t *turn) post(node, k, size int, channel string, channels int) error {
	var body bytes.Buffer
	path := map[bool]string{false: "/v1/publish", true: "/api/publish"}[t.c.peer]
	one := func(k int) {
		wait := `,"wait":"0s"`
		if t.c.peer || size > 1 {
			wait = ""
		}
		fmt.Fprintf(&body, `{"channel":"%s%d","data":{"t":%d,"text":"%0100d"}%s}`, channel, k%channels, time.Now().UnixNano(), k, wait)
	}
	if size == 1 {
		one(k)
	} else {
		path = map[bool]string{false: "/v1/batch", true: "/api/batch"}[t.c.peer]
		body.WriteString(map[bool]string{false: `{"wait":"0s","publications":[`, true: `{"parallel":true,"commands":[`}[t.c.peer])
		for i := range size {
			if i > 0 {
				body.WriteByte(',')
			}
			if t.c.peer {
				body.WriteString(`{"publish":`)
			}
			one(k*size + i)
			if t.c.peer {
				body.WriteByte('}')
			}
		}
		body.WriteString("]}")
	}
	response, err := t.web.Post("http://"+t.nodes[node].api+path, "application/json", &body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	// Both say in the body what has failed.
	if response.StatusCode != http.StatusOK || bytes.Contains(text, []byte(`"error"`)) || bytes.Contains(text, []byte(`"problem"`)) {
		return fmt.Errorf("publish: %d %.200s", response.StatusCode, text)
	}
	return nil
}

// deliver publishes at a rate, and counts what arrives.
func (t *turn) deliver(o *options, m *measurement) error {
	tick := time.NewTicker(time.Second / time.Duration(o.rate))
	defer tick.Stop()
	run := func(d time.Duration) (published int, err error) {
		for until := time.Now().Add(d); time.Now().Before(until); published++ {
			<-tick.C
			if err := t.post(published%len(t.nodes), published, 1, "news:busy", busyChannels); err != nil {
				return published, err
			}
		}
		return published, nil
	}
	counted := func() (n int64) {
		for _, s := range t.clients {
			n += s.got.Load()
		}
		return n
	}
	perMessage := int64(len(t.clients) / busyChannels)
	settle := func(want int64) {
		for deadline := time.Now().Add(5 * time.Second); counted() < want && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	n, err := run(o.period / 4)
	if err != nil {
		return err
	}
	settle(int64(n) * perMessage)
	for _, s := range t.clients {
		s.mu.Lock()
		s.late = nil
		s.mu.Unlock()
	}
	before := counted()
	nodes, _ := t.cpu()
	began := time.Now()
	if n, err = run(o.period); err != nil {
		return err
	}
	took := time.Since(began)
	settle(before + int64(n)*perMessage)
	nodesNow, _ := t.cpu()
	got := counted() - before
	if got == 0 {
		return errors.New("nothing was delivered")
	}
	m.DeliveryCPU, m.Deliveries, m.Missing = micros(nodesNow-nodes)/float64(got), float64(got)/took.Seconds(), float64(int64(n)*perMessage-got)
	var late []time.Duration
	for _, s := range t.clients {
		s.mu.Lock()
		late = append(late, s.late...)
		s.mu.Unlock()
	}
	slices.Sort(late)
	if len(late) > 0 {
		m.LatencyP50ms, m.LatencyP99ms = micros(late[len(late)/2])/1e3, micros(late[len(late)*99/100])/1e3
	}
	return nil
}

// A subscriber is one client in one channel.
type subscriber struct {
	conn net.Conn
	r    *bufio.Reader
	got  atomic.Int64
	why  atomic.Pointer[error]

	mu   sync.Mutex
	late []time.Duration // one of eight messages
}

// subscribe connects client i to a node in turn. buffer holds the largest frame.
func (t *turn) subscribe(i int, channel string, buffer int) error {
	path, protocol := "/", "Sec-WebSocket-Protocol: roost.v1.json\r\n"
	if t.c.peer {
		path, protocol = "/connection/websocket", ""
	}
	addr := t.nodes[i%len(t.nodes)].addr
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	s := &subscriber{conn: conn, r: bufio.NewReaderSize(conn, buffer)}
	t.clients = append(t.clients, s)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, addr, protocol); err != nil {
		return err
	}
	response, err := http.ReadResponse(s.r, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the upgrade was refused: %s", response.Status)
	}
	for _, command := range []string{`{"id":1,"connect":{}}`, fmt.Sprintf(`{"id":2,"subscribe":{"channel":%q}}`, channel)} {
		if err := s.send(command); err != nil {
			return err
		}
		reply, err := s.next()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(reply), `{"id":`) || strings.Contains(string(reply), `"error"`) {
			return fmt.Errorf("%s was answered %s", command, reply)
		}
	}
	_ = conn.SetDeadline(time.Time{})
	go s.read()
	return nil
}

// send sends a text, masked with zeros.
func (s *subscriber) send(text string) error {
	frame := append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
	_, err := s.conn.Write(frame)
	return err
}

// next returns the next message. It is valid until the next call.
func (s *subscriber) next() ([]byte, error) {
	for {
		head, err := s.r.Peek(2)
		if err != nil {
			return nil, err
		}
		opcode, length, size := head[0]&15, int(head[1]&127), 2
		if length == 126 {
			if head, err = s.r.Peek(4); err != nil {
				return nil, err
			}
			length, size = int(binary.BigEndian.Uint16(head[2:])), 4
		}
		if length+size > s.r.Size() {
			return nil, fmt.Errorf("a frame of %d bytes", length)
		}
		whole, err := s.r.Peek(size + length)
		if err != nil {
			return nil, err
		}
		_, _ = s.r.Discard(size + length)
		if opcode == 1 {
			return whole[size:], nil
		}
	}
}

// read counts what comes.
func (s *subscriber) read() {
	for {
		text, err := s.next()
		if err != nil {
			s.why.Store(&err)
			return
		}
		if string(text) == "{}" {
			if s.send("{}") != nil {
				return
			}
			continue
		}
		n := s.got.Add(int64(bytes.Count(text, []byte(`"pub":{`))))
		if i := bytes.Index(text, []byte(`"t":`)); i >= 0 && n%8 == 0 {
			digits, _, _ := bytes.Cut(text[i+4:], []byte(","))
			if at, err := strconv.ParseInt(string(digits), 10, 64); err == nil {
				s.mu.Lock()
				s.late = append(s.late, time.Since(time.Unix(0, at)))
				s.mu.Unlock()
			}
		}
	}
}
