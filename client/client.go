package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/retry"
)

// A Client keeps one connection to a server open: it reconnects when the connection is
// lost, and keeps its subscriptions. All methods may be called from any goroutine,
// callbacks included.
type Client struct {
	// Immutable after New.
	cfg    Config
	dialed bool            // by Dial, which gives up where New goes on trying
	ctx    context.Context // until the client is closed
	cancel context.CancelFunc
	donec  chan struct{}
	states chan StateEvent // written by run only
	roomc  chan struct{}   // of one: wakes the reader to check whether there is room
	active sync.WaitGroup  // goroutines beside run; added to with mu held, while not closed

	// Owned by run.
	backoff retry.Backoff
	shown   string // the last result of Config.Token
	// lastRefusal is why the server refused the token in shown, nil if it did not.
	lastRefusal *ServerError

	// Guarded by mu.
	mu       sync.Mutex
	closed   bool
	err      error         // why it closed
	lastErr  error         // why there is no connection
	session  *session      // nil unless connected
	changed  chan struct{} // closed, and made anew, when session or closed changes
	identity StateEvent
	subs     map[string]*Subscription
	order    uint64 // of the next subscription
	inbox    queue  // for channels without a subscription of their own
	buffered int    // bytes in all queues
	stats    Stats
}

// Stats are counters since New.
type Stats struct {
	// Connects is how often the server has accepted connect.
	Connects uint64
	// Messages is the number of messages received, without duplicates.
	Messages uint64
	// Duplicates is the number of messages that were received again, and dropped.
	Duplicates uint64
	// Missed is the number of offsets in the gaps that were reported; some of their
	// messages may have come later.
	Missed uint64
	// Unhandled is the number of messages without a Subscription and Config.OnMessage,
	// or of a subscription that was being ended.
	Unhandled uint64
	// BufferedBytes is the size of what waits for handlers now.
	BufferedBytes int
}

// New returns a client, which begins to connect at once and goes on until Close. It
// returns an error only if cfg is invalid.
func New(cfg Config) (*Client, error) { return start(cfg, false) }

func start(cfg Config, dialed bool) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Header = cfg.Header.Clone()
	c := &Client{
		cfg:     cfg,
		dialed:  dialed,
		donec:   make(chan struct{}),
		states:  make(chan StateEvent, statesMax),
		roomc:   make(chan struct{}, 1),
		backoff: retry.Backoff{Min: cfg.ReconnectMin, Max: cfg.ReconnectMax},
		changed: make(chan struct{}),
		subs:    map[string]*Subscription{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.active.Add(1)
	go func() {
		defer c.active.Done()
		c.tellStates()
	}()
	go c.run()
	return c, nil
}

// Dial returns a client that is connected. If ctx is done before, or if another attempt
// would fail in the same way, the client is closed and the error holds the last reason:
// the server refuses the token, does not speak the protocol, cannot be trusted (TLS), or
// refuses the upgrade with a status such as 401, 403, 404 or 426. After the first
// connection the client behaves like one of New.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	c, err := start(cfg, true)
	if err != nil {
		return nil, err
	}
	if _, err := c.connected(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the client: nothing is delivered or sent any more, the context of every
// handler is done, and the connection is closed in the background. Messages that wait
// for handlers are dropped; another client can go on from Subscription.Position. Close
// does not wait: receive from Done for that.
func (c *Client) Close() { c.shut(ErrClosed) }

// Done returns a Go channel that is closed when the client is closed and its last
// goroutine and handler have ended. A callback must not wait for it.
func (c *Client) Done() <-chan struct{} { return c.donec }

// Err returns nil until the client is closed, then ErrClosed or the reason why the
// client gave up.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Identity returns the connection's name at the server and the user that the server
// identified, as of the last connection; empty before the first.
func (c *Client) Identity() (client, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity.Client, c.identity.User
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := c.stats
	stats.BufferedBytes = c.buffered
	return stats
}

// shut closes the client for a reason; the first one stays.
func (c *Client) shut(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed, c.err = true, err
	c.cancel()
	c.change()
	c.discard(&c.inbox)
	for _, sub := range c.subs {
		c.discard(sub.queue)
		c.end(sub, c.closedError())
	}
}

// closedError returns the error of calls on a closed client. With mu held.
func (c *Client) closedError() error {
	if errors.Is(c.err, ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("%w: %w", ErrClosed, c.err)
}

// change wakes the goroutines that wait for a connection. With mu held.
func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// connected waits for a connection.
func (c *Client) connected(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, changed := c.session, c.changed
		if c.closed {
			err := c.closedError()
			c.mu.Unlock()
			return nil, err
		}
		c.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, c.notConnected(context.Cause(ctx))
		}
	}
}

// notConnected returns the error of a wait for a connection in vain. With mu held.
func (c *Client) notConnected(cause error) error {
	if c.lastErr == nil {
		return fmt.Errorf("client: not connected: %w", cause)
	}
	return fmt.Errorf("client: not connected: %w (last attempt: %w)", cause, c.lastErr)
}

// run connects, and connects again, until the client is closed.
func (c *Client) run() {
	defer func() {
		c.states <- StateEvent{State: StateClosed, Err: c.Err()}
		close(c.states)
		c.active.Wait()
		close(c.donec)
	}()
	for {
		c.states <- StateEvent{State: StateConnecting, Attempt: c.backoff.Attempts + 1}
		lasted, err := c.once()
		if c.ctx.Err() == nil && c.permanent(err) {
			c.shut(err)
		}
		if c.ctx.Err() != nil {
			return
		}
		// A server that lets clients in and drops them at once must not be asked again
		// without delay.
		if lasted >= c.cfg.ReconnectMax {
			c.backoff.Reset()
		}
		// The server's delay is either this client's own slot or the same for many
		// clients: the jitter on top is right for both.
		delay := serverDelay(err) + c.backoff.Next()
		c.mu.Lock()
		c.lastErr = err
		c.mu.Unlock()
		c.states <- StateEvent{State: StateDisconnected, Err: err, RetryIn: delay}
		if !sleep(delay, c.ctx.Done()) || !c.drained() {
			return
		}
	}
}

// sleep waits. It returns false if end is closed before.
func sleep(delay time.Duration, end <-chan struct{}) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-end:
		return false
	}
}

// permanent reports whether another attempt would fail in the same way.
func (c *Client) permanent(err error) bool {
	if errors.Is(err, ErrUnauthorized) {
		return true
	}
	if closed, ok := errors.AsType[*frame.CloseError](err); ok {
		return closed.Code == CloseDisconnected
	}
	if c.dialed && misdirected(err) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.stats.Connects == 0
	}
	return c.cfg.Token == nil && refusesToken(err)
}

// refusesToken reports whether the server would refuse the same token again.
func refusesToken(err error) bool {
	refused, ok := errors.AsType[*ServerError](err)
	return ok && (refused.Code == CodeUnauthorized || refused.Code == CodeTokenExpired)
}

// once makes one connection and returns when it has ended. lasted is how long the
// client was connected.
func (c *Client) once() (lasted time.Duration, err error) {
	var token string
	if c.cfg.Token != nil {
		if token, err = c.token(c.cfg.Token); err != nil {
			return 0, err
		}
		if c.lastRefusal != nil && token == c.shown {
			return 0, fmt.Errorf("%w: the token was refused, and Config.Token returns the same one again: %w", ErrUnauthorized, c.lastRefusal)
		}
		c.shown, c.lastRefusal = token, nil
	}
	sock, err := dial(c.ctx, &c.cfg)
	if err != nil {
		return 0, err
	}
	s := newSession(&c.cfg, sock, c.take, c.room)
	err = c.introduce(s, token)
	if err == nil {
		since := time.Now()
		c.states <- c.introduced()
		select {
		case <-s.done:
		case <-c.ctx.Done():
		}
		lasted = time.Since(since)
	}
	s.finish(err)
	c.detach(s)
	if refused, ok := errors.AsType[*ServerError](err); ok {
		if refusesToken(refused) {
			c.lastRefusal = refused
		}
		return 0, refused
	}
	return lasted, s.failure()
}

// introduce sends connect and waits for the reply. An error other than a
// *ServerError is that of the session.
func (c *Client) introduce(s *session, token string) error {
	resume := c.resumable()
	command := connectCommand{Token: token, Name: c.cfg.Name, Data: c.cfg.Data, Resume: resume}
	replied := make(chan error, 1)
	// The reply is handled on the reader, since what the server sends after it depends
	// on it.
	if _, err := s.send("connect", command, true, func(body json.RawMessage, err error) {
		if err == nil {
			err = c.welcome(s, body, resume)
		}
		replied <- err
	}); err != nil {
		return err
	}
	select {
	case err := <-replied:
		return err
	case <-c.ctx.Done():
		return ErrClosed
	case <-s.done:
		<-s.readc
		select {
		case err := <-replied: // the connection was lost behind the reply
			return err
		default:
			return s.failure()
		}
	}
}

// introduced returns the event of a connection.
func (c *Client) introduced() StateEvent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity
}

// token calls a token source, for at most CommandTimeout.
func (c *Client) token(source func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.CommandTimeout)
	defer cancel()
	token, err := source(ctx)
	if err != nil {
		return "", fmt.Errorf("client: token: %w", err)
	}
	return token, nil
}
