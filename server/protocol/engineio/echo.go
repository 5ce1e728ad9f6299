package engineio

import (
	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

// EchoProtocol is Engine.IO alone, with an Echo above it: what the protocol's own test
// suite is run against. Nothing that is published reaches its clients.
type EchoProtocol struct{ *Engine }

// NewEchoProtocol makes one.
func NewEchoProtocol(options Options) EchoProtocol { return EchoProtocol{New(options, Echo{})} }

var _ protocol.Keeper = EchoProtocol{}

// The methods of a protocol.Codec that have nothing to do.

func (EchoProtocol) Subprotocol() string { return "" }
func (EchoProtocol) Decode([]byte, bool, *protocol.Command) ([]byte, error) {
	return nil, protocol.EndMalformed
}
func (EchoProtocol) Reply(*protocol.Packets, *protocol.Command, *protocol.Result) {}
func (EchoProtocol) Error(*protocol.Packets, uint64, *protocol.Error)             {}
func (EchoProtocol) Message(*protocol.Packets, *protocol.Message)                 {}
func (EchoProtocol) Membership(*protocol.Packets, *protocol.Membership)           {}
func (EchoProtocol) Gap(*protocol.Packets, string, string, uint64, uint64)        {}
func (EchoProtocol) Reset(*protocol.Packets, string, history.Position)            {}
func (EchoProtocol) Subscribed(*protocol.Packets, *protocol.ChannelState)         {}
func (EchoProtocol) Unsubscribed(*protocol.Packets, string, *protocol.Error)      {}
func (EchoProtocol) Close(protocol.Ending) (frame.CloseCode, string) {
	return frame.ClosePolicyViolation, ""
}
