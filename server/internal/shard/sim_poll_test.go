package shard

import (
	"bytes"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
)

// simPolls is the model of a client that polls over one connection: a request may wait
// or say something, and is sent before or after the response to the one before. Each is
// a session of its own.
type simPolls struct {
	waits    []bool // by request: it says nothing, and waits for a message
	answered int
	// last is the number of the last message that has come, by target: what was
	// published for one session does not come in another.
	last map[string]int
}

// poll sends another request, in one piece or two.
func (s *sim) poll(c *simClient) {
	p := c.polls
	if len(p.waits)-p.answered >= 4 {
		return
	}
	number, waits := len(p.waits), s.rng.IntN(2) == 0
	p.waits = append(p.waits, waits)
	request := "GET /poll/" + c.user + "?" + url.QueryEscape(fmt.Sprintf("echo %d\n", number)) + " HTTP/1.1\r\nHost: x\r\n\r\n"
	if waits {
		request = "GET /poll/" + c.user + " HTTP/1.1\r\nHost: x\r\nPrefer: wait=20\r\n\r\n"
	}
	cut := s.rng.IntN(len(request))
	c.loop.Deliver(c.id, []byte(request[:cut]))
	if s.rng.IntN(3) == 0 {
		s.turn()
	}
	c.loop.Deliver(c.id, []byte(request[cut:]))
}

// session returns the ID that the connection has now.
func (s *sim) session(c *simClient) netpoll.ID { return s.shards[c.id.Loop()].in(c.id.Slot()).id }

// actPolling makes a client that polls do something, or its session.
func (s *sim) actPolling(c *simClient) {
	if c.loop.Closed(c.id) {
		return
	}
	shard := s.shards[c.id.Loop()]
	switch p := s.rng.IntN(100); {
	case p < 40:
		s.poll(c)
	case p < 70 && s.opens[s.session(c)]:
		_ = shard.Join(s.session(c), simChannels[s.rng.IntN(len(simChannels))])
	case p < 80:
		c.reading = false
		c.loop.SetRoom(c.id, s.rng.IntN(200))
	case p < 92:
		c.reading = true
	case p < 94:
		_ = shard.Close(s.session(c), frame.CloseNormal, "enough")
	case p < 96:
		c.closed = true
		c.loop.PeerReset(c.id, syscall.ECONNRESET)
	case p < 97:
		c.closed = true
		c.loop.PeerClose(c.id)
	case p < 98:
		c.loop.FailNextWrite(c.id, syscall.EPIPE)
	}
}

// readPolls takes the whole responses that a client has got.
func (s *sim) readPolls(c *simClient) {
	for c.code == 0 {
		head, rest, ok := bytes.Cut(c.inbuf, []byte("\r\n\r\n"))
		if !ok {
			return
		}
		_, text, _ := strings.Cut(string(head), "\r\nContent-Length: ")
		length, err := strconv.Atoi(text)
		if err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200 OK\r\n")) {
			s.t.Fatalf("client %v got %q", c.id, head)
		}
		if len(rest) < length {
			return
		}
		if c.polls.answered == len(c.polls.waits) {
			s.t.Fatalf("client %v got a response to nothing: %q", c.id, rest[:length])
		}
		s.gotResponse(c, string(rest[:length]))
		c.polls.answered++
		c.inbuf = rest[length:]
	}
}

// gotResponse checks one response: its own reply, and messages that rise.
func (s *sim) gotResponse(c *simClient, body string) {
	p := c.polls
	list, ok := strings.CutPrefix(body, "[")
	list, ok2 := strings.CutSuffix(list, "]")
	if !ok || !ok2 {
		s.t.Fatalf("client %v got %q", c.id, body)
	}
	list, why, closed := strings.Cut(list, `{"close":{"code":`)
	if closed {
		if _, err := fmt.Sscanf(why, "%d", &c.code); err != nil {
			s.t.Fatalf("client %v got %q", c.id, body)
		}
	}
	echoes, here := 0, map[string]int{}
	for element := range strings.SplitSeq(strings.TrimSuffix(list, ","), ",") {
		var target string
		var n int
		if element == "" {
			continue
		}
		if _, err := fmt.Sscanf(element, "%s %d", &target, &n); err != nil {
			s.t.Fatalf("client %v got %q", c.id, body)
		}
		if target == "echo" {
			if echoes++; n != p.answered || p.waits[n] {
				s.t.Fatalf("client %v: response %d has the reply of request %d", c.id, p.answered, n)
			}
			continue
		}
		if target[0] == 'u' && target != c.user {
			s.t.Fatalf("client %v of user %s got a message for %s", c.id, c.user, target)
		}
		if last, ok := p.last[target]; ok && n <= last {
			s.t.Fatalf("client %v, %s: %d came after %d", c.id, target, n, last)
		}
		if last, ok := here[target]; ok && n != last+1 && !s.gaps(target) {
			s.t.Fatalf("client %v, %s: %d came after %d in one response", c.id, target, n, last)
		}
		p.last[target], here[target] = n, n
	}
	if !closed && !p.waits[p.answered] && echoes != 1 {
		s.t.Fatalf("client %v: response %d has %d replies: %q", c.id, p.answered, echoes, body)
	}
}

// checkPolls: what does not wait has its response, unless it is behind what waits.
func (s *sim) checkPolls(c *simClient) {
	if p := c.polls; p.answered < len(p.waits) && !p.waits[p.answered] {
		s.t.Fatalf("client %v: %d of %d requests have a response, and the next does not wait", c.id, p.answered, len(p.waits))
	}
}
