package client

import (
	"encoding/json"
	"time"
)

// A State is what the client's connection is in.
type State string

// The states, and what is set of a StateEvent beside State.
const (
	// StateConnecting: an attempt begins. Attempt.
	StateConnecting State = "connecting"
	// StateConnected: the server has let the client in. Client, User, Data.
	StateConnected State = "connected"
	// StateDisconnected: the connection is lost, or the attempt was in vain. Err, RetryIn.
	StateDisconnected State = "disconnected"
	// StateClosed is the last: Close was called (Err is ErrClosed), or nothing
	// else would help (Err tells what is wrong).
	StateClosed State = "closed"
)

// A StateEvent is a change of the connection.
type StateEvent struct {
	State State
	// Attempt counts from 1 since the last connection that lasted.
	Attempt int
	// Client is the connection's name at the server, User the identity that it was given, empty if none.
	Client, User string
	// Data is what the application answered to the connect, JSON or nothing.
	Data json.RawMessage
	// Err is why: a *frame.CloseError with the server's code and reason, a *ServerError, an
	// *UpgradeError, an error of this package, of the token source or of the network.
	Err error
	// RetryIn is when the next attempt begins.
	RetryIn time.Duration
}

// statesMax is how many changes may wait for OnState.
const statesMax = 64

// tellStates calls OnState until the run is over.
func (c *Client) tellStates() {
	for e := range c.states {
		if c.cfg.OnState != nil {
			c.cfg.OnState(e)
		}
	}
}
