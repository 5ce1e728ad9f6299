package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A HistoryQuery selects messages of a channel's history.
type HistoryQuery struct {
	// Since is the position after which the page begins (before which, with Reverse). If
	// nil, it begins at the oldest message, or the newest with Reverse.
	Since *Position
	// Limit bounds the number of messages. If zero, only the position is returned.
	Limit int
	// Reverse returns the newest first.
	Reverse bool
}

// A HistoryPage is the result of History.
type HistoryPage struct {
	// Position is that of the newest message.
	Position Position
	Messages []HistoryMessage
	// More reports whether there are more messages in this direction.
	More bool
	// Gap reports whether messages after Since (before it, with Reverse) are not kept
	// any more, or Since is of another epoch.
	Gap bool
}

// A HistoryMessage is a message in a channel's history.
type HistoryMessage struct {
	Message
	Time time.Time
}

// A Presence describes the members of a channel.
type Presence struct {
	// Clients is the number of connections that subscribe.
	Clients int `json:"clients"`
	// Members are some of them, at most as many as were asked for, in no order.
	Members []Member `json:"members"`
	// Truncated reports whether there are more.
	Truncated bool `json:"truncated"`
}

// A Member is one connection in a channel.
type Member struct {
	// Client is the connection's name at the server, User its user, empty if it is
	// anonymous.
	Client string `json:"client"`
	User   string `json:"user"`
	// Info is what the application tells about it, JSON or nothing.
	Info json.RawMessage `json:"info"`
}

// The commands below wait for a connection if there is none, as long as ctx and
// Config.CommandTimeout allow, and then for the reply. A *ServerError is the
// server's refusal. A *MessageTooLargeError says that the command is larger than the
// server allows, and was not sent. ErrDisconnected says that the connection was lost
// before the reply: the command may have been carried out, or not.

// Publish publishes data, as encoding/json writes it, to a channel. It returns the
// message's position, zero without history.
func (c *Client) Publish(ctx context.Context, channel string, data any) (Position, error) {
	return c.PublishKey(ctx, channel, "", data)
}

// PublishKey is Publish with a key: in channels with the policy latest, the message
// replaces older ones with that key that a slow client has not read.
func (c *Client) PublishKey(ctx context.Context, channel, key string, data any) (at Position, err error) {
	body, err := raw(data)
	if err != nil {
		return at, fmt.Errorf("client: publish: %w", err)
	}
	err = c.do(ctx, "publish", publishCommand{channel, body, key}, &at)
	return at, err
}

// History returns messages of a channel's history.
func (c *Client) History(ctx context.Context, channel string, q HistoryQuery) (page HistoryPage, err error) {
	var reply historyReply
	if err := c.do(ctx, "history", historyCommand{channel, q.Since, q.Limit, q.Reverse}, &reply); err != nil {
		return page, err
	}
	page = HistoryPage{Position: reply.Position, More: reply.More, Gap: reply.Gap}
	for _, wire := range reply.Messages {
		m, err := wire.message(channel, reply.Epoch)
		if err != nil {
			return HistoryPage{}, fmt.Errorf("client: history: %w", err)
		}
		page.Messages = append(page.Messages, HistoryMessage{*m, time.UnixMilli(wire.Time)})
	}
	return page, nil
}

// Presence returns the number of connections in a channel, and at most limit of them.
func (c *Client) Presence(ctx context.Context, channel string, limit int) (p Presence, err error) {
	err = c.do(ctx, "presence", presenceCommand{channel, limit}, &p)
	return p, err
}

// Call calls a method of the application with data, as encoding/json writes it. It
// returns the method's result: JSON, or nothing.
func (c *Client) Call(ctx context.Context, method string, data any) (json.RawMessage, error) {
	var body json.RawMessage
	if data != nil {
		var err error
		if body, err = raw(data); err != nil {
			return nil, fmt.Errorf("client: call: %w", err)
		}
	}
	var reply dataReply
	err := c.do(ctx, "call", callCommand{method, body}, &reply)
	return reply.Data, err
}

// Ack tells the application that this client has processed everything in a
// channel up to a position.
func (c *Client) Ack(ctx context.Context, channel string, at Position) error {
	return c.do(ctx, "ack", ackCommand{channel, at}, &struct{}{})
}

// do carries a command out and reads the reply into reply.
func (c *Client) do(ctx context.Context, name string, body, reply any) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CommandTimeout)
	defer cancel()
	s, err := c.connected(ctx)
	if err != nil {
		return err
	}
	// A client that is closed meanwhile ends the session, and with it the command.
	answer, err := c.exchange(ctx, s, name, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return fmt.Errorf("client: the reply to %s is %.60q: %w", name, answer, err)
	}
	return nil
}
