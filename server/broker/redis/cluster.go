package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/server/broker"
)

// The channels of a Redis Cluster are in 256 parts, each of which has a tag, so that the keys
// of a channel are in one slot, and many subscriptions can be made by one command. The slots
// of the parts are spread evenly over the 16,384.
const (
	slotCount = 16384
	partCount = 256
)

// parts are the tags and the slots of the parts.
var parts = func() (p struct {
	tags  [partCount]string
	slots [partCount]int
}) {
	for i, found := 0, 0; found < partCount; i++ {
		tag := strconv.FormatInt(int64(i), 36)
		slot := slotOf(tag)
		if k := slot / (slotCount / partCount); p.tags[k] == "" {
			p.tags[k], p.slots[k] = tag, slot
			found++
		}
	}
	return p
}()

// slotOf is the slot of a key with a tag: its CRC16 (XMODEM).
func slotOf(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slotCount
}

// partOf is the part of a channel, the same on all nodes.
func partOf(channel string) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, channel)
	sum := h.Sum32()
	return int(sum^sum>>8^sum>>16^sum>>24) % partCount
}

// A cluster follows which server has which part. A part that moves is taken from its server
// first, its channels are interrupted, and then the other one gets it.
type cluster struct {
	// Immutable.
	b      *Broker
	target *target
	lookc  chan struct{} // look now

	// Owned by run.
	known []string // where servers of the cluster were

	// Guarded by b.mu.
	owners [partCount]*sequencer
	lost   map[int]error // parts that were taken from their server, and are not interrupted yet
	err    error         // why the servers are not known
	since  time.Time
}

func newCluster(b *Broker, t *target) *cluster {
	return &cluster{b: b, target: t, lookc: make(chan struct{}, 1), lost: map[int]error{}, err: errConnecting, since: time.Now()}
}

const (
	// lookInterval is how often the cluster is asked for its servers, and lookSoon while
	// a part has none that works.
	lookInterval = 5 * time.Second
	lookSoon     = 250 * time.Millisecond
)

// look lets run look for the servers now.
func (c *cluster) look() {
	select {
	case c.lookc <- struct{}{}:
	default:
	}
}

// run follows the cluster.
func (c *cluster) run() {
	for {
		c.refresh()
		wait := lookInterval
		if !c.whole() {
			wait = lookSoon
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.b.closec:
			timer.Stop()
			return
		case <-c.lookc:
			// Many commands may say so at once.
			timer.Reset(lookSoon / 5)
			select {
			case <-c.b.closec:
				timer.Stop()
				return
			case <-timer.C:
			}
		case <-timer.C:
		}
	}
}

// whole reports whether each part has a server that works.
func (c *cluster) whole() bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for _, s := range c.owners {
		if s == nil || s.life == nil {
			return false
		}
	}
	return true
}

// refresh asks where the parts are, and moves those that are elsewhere.
func (c *cluster) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	v, err := newest(ctx, append(slices.Clone(c.target.addresses), c.known...), c.ask)
	c.interruptLost()
	b := c.b
	b.mu.Lock()
	if c.err = err; err != nil {
		b.mu.Unlock()
		return
	}
	for part, s := range c.owners {
		if s != nil && s.name != v.masters[part] {
			c.take(part, fmt.Errorf("redis: the channel has moved to %s", v.masters[part]))
		}
	}
	b.mu.Unlock()
	c.known = slices.DeleteFunc(v.all, func(address string) bool { return slices.Contains(c.target.addresses, address) })
	c.interruptLost()
	c.give(v)
}

// take takes a part from its server. With b.mu held.
func (c *cluster) take(part int, why error) {
	if c.owners[part] != nil {
		c.owners[part] = nil
		c.lost[part] = why
		c.since = time.Now()
	}
}

// interruptLost interrupts the channels of the parts that were taken from their servers.
func (c *cluster) interruptLost() {
	c.b.interrupt(func() (_ func(channel string) bool, why error) {
		lost := maps.Clone(c.lost)
		clear(c.lost)
		for _, why = range lost {
			break // any of them
		}
		return func(channel string) bool { return lost[partOf(channel)] != nil }, why
	})
}

// give gives the parts that have no server to those that have them, which are made if need
// be. Servers without a part are left.
func (c *cluster) give(v *view) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	byName := map[string]*sequencer{}
	for _, s := range b.sequencers {
		byName[s.name] = s
	}
	for part := range c.owners {
		name := v.masters[part]
		if c.owners[part] != nil || name == "" || c.lost[part] != nil {
			continue
		}
		s := byName[name]
		if s == nil {
			s = b.newSequencer(name, c.target, fixed(name))
			b.sequencers = append(b.sequencers, s)
			byName[name] = s
			b.ended.Go(s.run)
		}
		c.owners[part] = s
		if s.life != nil {
			s.life.subscribeTo(b.attachedAt(func(channel string) bool { return partOf(channel) == part }))
		}
	}
	b.sequencers = slices.DeleteFunc(b.sequencers, func(s *sequencer) bool {
		if slices.Contains(v.masters[:], s.name) {
			return false
		}
		go s.close()
		return true
	})
}

// lose notes that a server does not have a part any more.
func (b *Broker) lose(s *sequencer, part int, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cluster.owners[part] == s {
		b.cluster.take(part, why)
		b.cluster.look()
	}
}

// moved notes an error that names a slot: MOVED slot address.
func (b *Broker) moved(s *sequencer, err error) {
	if b.cluster == nil {
		return
	}
	fields := strings.Fields(err.Error())
	if len(fields) < 2 {
		return
	}
	if slot, err2 := strconv.Atoi(fields[1]); err2 == nil {
		if part := slices.Index(parts.slots[:], slot); part >= 0 {
			b.lose(s, part, err)
		}
	}
}

// checkChannel returns a channel by which a server can be checked, that no client can be in.
// With b.mu held.
func (b *Broker) checkChannel(s *sequencer) (channel string, ok bool) {
	if b.cluster == nil {
		return "\x00check", true
	}
	for i := range 20 * partCount {
		channel = "\x00check" + strconv.Itoa(i)
		if b.owner(channel) == s {
			return channel, true
		}
	}
	return "", false
}

// health is that of the servers together. With b.mu held.
func (c *cluster) health() broker.Health {
	h := broker.Health{Publishing: c.err, Receiving: c.err, Since: c.since}
	if len(c.b.sequencers) > 0 {
		h = together(c.b.sequencers)
	}
	missing := 0
	for _, s := range c.owners {
		if s == nil {
			missing++
		}
	}
	if h.Publishing == nil && h.Receiving == nil && h.Partly == nil && missing > 0 {
		h.Partly = fmt.Errorf("redis: %d of %d parts of the cluster have no server", missing, partCount)
		h.Since = c.since
	}
	return h
}

// A view is what one server says of the cluster.
type view struct {
	masters [partCount]string // the addresses of the servers of the parts
	all     []string          // the addresses of all servers
}

// ask asks a server of the cluster for its view.
func (c *cluster) ask(ctx context.Context, address string) (o opinion[*view]) {
	reply, err := once(ctx, c.target.client, address, func(b rueidis.Builder) rueidis.Completed { return b.ClusterNodes().Build() })
	text := ""
	if err == nil {
		text, err = reply.ToString()
	}
	if err != nil {
		o.err = fmt.Errorf("redis: cluster nodes: %w", err)
		return o
	}
	o.value, o.epoch, o.err = parseNodes(text, address)
	return o
}

// parseNodes reads the reply to CLUSTER NODES of the server at an address. The epoch is the
// highest of those of the masters.
func parseNodes(text, from string) (v *view, epoch uint64, err error) {
	v = &view{}
	own, _, _ := net.SplitHostPort(from)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 8 {
			return nil, 0, errors.New("redis: a strange reply to cluster nodes")
		}
		address, _, _ := strings.Cut(fields[1], "@")
		colon := strings.LastIndexByte(address, ':')
		if colon < 0 {
			return nil, 0, errors.New("redis: a strange reply to cluster nodes")
		}
		host, port := strings.Trim(address[:colon], "[]"), address[colon+1:]
		if host == "" { // it does not know its own address
			host = own
		}
		address = net.JoinHostPort(host, port)
		flags := strings.Split(fields[2], ",")
		if slices.Contains(flags, "noaddr") || slices.Contains(flags, "handshake") {
			continue
		}
		v.all = append(v.all, address)
		if !slices.Contains(flags, "master") {
			continue
		}
		if n, err := strconv.ParseUint(fields[6], 10, 64); err == nil {
			epoch = max(epoch, n)
		}
		for _, slots := range fields[8:] {
			if strings.HasPrefix(slots, "[") {
				continue // on its way
			}
			first, last, _ := strings.Cut(slots, "-")
			if last == "" {
				last = first
			}
			low, err1 := strconv.Atoi(first)
			high, err2 := strconv.Atoi(last)
			if errors.Join(err1, err2) != nil {
				return nil, 0, errors.New("redis: a strange reply to cluster nodes")
			}
			for part, slot := range parts.slots {
				if low <= slot && slot <= high {
					v.masters[part] = address
				}
			}
		}
	}
	return v, epoch, nil
}
