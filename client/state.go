package client

import (
	"encoding/json"
	"time"
)

// A State is a state of the client's connection.
type State string

// The states, each with the fields of a StateEvent that are set.
const (
	// StateConnecting: an attempt begins. Attempt.
	StateConnecting State = "connecting"
	// StateConnected: the server has accepted connect. Client, User, Data.
	StateConnected State = "connected"
	// StateDisconnected: the connection is lost, or the attempt has failed. Err, RetryIn.
	StateDisconnected State = "disconnected"
	// StateClosed is the last state: Close was called (Err is ErrClosed), or the client has
	// given up (Err is the reason).
	StateClosed State = "closed"
)

// A StateEvent is a change of the connection.
type StateEvent struct {
	State State
	// Attempt counts from 1 since the last connection that lasted.
	Attempt int
	// Client is the connection's name at the server, User its user, empty if it is
	// anonymous.
	Client, User string
	// Data is the application's reply to connect, JSON or nothing.
	Data json.RawMessage
	// Err is the reason: a *frame.CloseError with the server's code and reason, a *ServerError, an
	// *UpgradeError, an error of this package, of the token source or of the network.
	Err error
	// RetryIn is the time until the next attempt.
	RetryIn time.Duration
}

// statesMax is how many changes may wait for OnState.
const statesMax = 64

// tellStates calls OnState until run has returned.
func (c *Client) tellStates() {
	for e := range c.states {
		if c.cfg.OnState != nil {
			c.cfg.OnState(e)
		}
	}
}
