package pusher

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
)

// counter tells the subscribers of channels how many they are: soon after that has changed,
// and once for all changes of a moment.
type counter struct {
	mu sync.Mutex
	// Guarded by mu.
	due     map[string]*app // by the server's name of the channel
	running bool
}

const (
	// countDelay is how long changes are gathered.
	countDelay = 200 * time.Millisecond
	// countTimeout bounds the question to the other servers.
	countTimeout = 2 * time.Second
)

// changed notes that the number of a channel's subscribers has changed. Presence and cache
// channels are not told: their clients know their members, or expect the last event.
func (c *counter) changed(p *Server, a *app, channel string) {
	_, name, _ := p.channelOf(channel)
	if !a.SubscriptionCounts || kindOf(name) != kindPlain {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due == nil {
		c.due = map[string]*app{}
	}
	c.due[channel] = a
	if !c.running {
		c.running = true
		time.AfterFunc(countDelay, func() { c.tell(p) })
	}
}

// tell tells what is due.
func (c *counter) tell(p *Server) {
	c.mu.Lock()
	due := c.due
	c.due = nil
	c.mu.Unlock()
	for channel, a := range due {
		if p.rules.Host.Context().Err() != nil {
			return
		}
		ctx, cancel := context.WithTimeout(p.rules.Host.Context(), countTimeout)
		found, err := p.rules.Host.Presence(ctx, channel, 0)
		cancel()
		if err != nil {
			continue
		}
		n := found.Clients
		_, name, _ := p.channelOf(channel)
		a.hook(hookCount, name, "", strconv.AppendInt(nil, int64(n), 10))
		if n == 0 {
			continue
		}
		data := append(appendInt([]byte(`{"subscription_count":`), n), '}')
		payload := append([]byte(`{"event":"pusher_internal:subscription_count","data":`), inText(data)...)
		_ = p.rules.Host.PublishExcept(channel, frame.OpText, append(payload, '}'), nil) // the next one makes it good
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running = len(c.due) > 0; c.running {
		time.AfterFunc(countDelay, func() { c.tell(p) })
	}
}

func appendInt(dst []byte, n int) []byte { return strconv.AppendInt(dst, int64(n), 10) }
