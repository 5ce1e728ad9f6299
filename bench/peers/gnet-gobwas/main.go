//go:build linux

// Command gnet-gobwas is the peer written with github.com/gobwas/ws on a bare
// github.com/panjf2000/gnet.
//
// Where the recommendations come from: gnet-io/gnet-examples, websocket/server
// (ws.Upgrade and ws.ReadHeader on the bytes at hand, WithMulticore, WithReusePort),
// and gnet's documentation of Conn (Peek and Discard copy nothing) and of
// EventLoop.Execute (to do work on another loop).
//
// What differs, in the peer's favour: the example copies all input into a buffer of
// its own for each connection, and this reads it where gnet keeps it; the example has
// no broadcast, and this posts each message once to each loop, which then writes to
// its own connections, cheaper than one AsyncWrite per connection.
package main

import (
	"bytes"
	"errors"
	"io"
	"log"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/panjf2000/gnet/v2"
	"github.com/roostws/roost/bench/peers/internal/peer"
)

const (
	requestMaxBytes = 8 << 10
	frameMaxBytes   = 16 << 20
)

// A connection's context is nil until it is upgraded, then upgraded, or a
// *fragments while a message is incomplete.
type upgraded struct{}

// fragments is a message whose last frame has not come.
type fragments struct {
	opcode  ws.OpCode
	payload []byte
}

type server struct {
	gnet.BuiltinEventEngine
	engine gnet.Engine
	relay  bool
	port   *reservedPort
	loops  loops
}

func main() {
	config := peer.Flags()
	port, err := reservePort(config.Addr)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{relay: config.Relay, port: port}
	go func() {
		log.Fatal(gnet.Run(s, "tcp://"+port.addr.String(),
			gnet.WithMulticore(true), gnet.WithReusePort(true), gnet.WithLogger(quiet{})))
	}()
	peer.WaitForSignal()
}

func (s *server) OnBoot(engine gnet.Engine) gnet.Action {
	s.engine = engine
	s.port.release()
	peer.Announce(s.port.addr)
	return gnet.None
}

func (s *server) OnClose(c gnet.Conn, err error) gnet.Action {
	if s.relay && c.Context() != nil {
		s.loops.remove(c)
	}
	return gnet.None
}

func (s *server) OnTraffic(c gnet.Conn) gnet.Action {
	if c.Context() == nil {
		if done, action := s.upgrade(c); !done {
			return action
		}
	}
	for c.InboundBuffered() > 0 {
		complete, err := s.readFrame(c)
		if err != nil {
			return gnet.Close
		}
		if !complete {
			break
		}
	}
	return gnet.None
}

// upgrade responds to the request once all of it is there.
func (s *server) upgrade(c gnet.Conn) (done bool, action gnet.Action) {
	b, _ := c.Peek(-1)
	if !bytes.Contains(b, []byte("\r\n\r\n")) {
		if len(b) > requestMaxBytes {
			return false, gnet.Close
		}
		return false, gnet.None
	}
	r := bytes.NewReader(b)
	if _, err := ws.Upgrade(readWriter{r, c}); err != nil {
		return false, gnet.Close
	}
	_, _ = c.Discard(len(b) - r.Len())
	c.SetContext(upgraded{})
	if s.relay {
		s.loops.add(c)
	}
	return true, gnet.None
}

type readWriter struct {
	io.Reader
	io.Writer
}

// readFrame takes one frame if all of it is there.
func (s *server) readFrame(c gnet.Conn) (complete bool, err error) {
	b, _ := c.Peek(-1)
	r := bytes.NewReader(b)
	header, err := ws.ReadHeader(r)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	message, fragmented := c.Context().(*fragments)
	state := ws.StateServerSide
	if fragmented {
		state = state.Set(ws.StateFragmented)
	}
	if err := ws.CheckHeader(header, state); err != nil {
		return false, err
	}
	if header.Length > frameMaxBytes {
		return false, ws.ErrHeaderLengthUnexpected
	}
	start := len(b) - r.Len()
	end := start + int(header.Length)
	if len(b) < end {
		return false, nil
	}
	payload := b[start:end]
	ws.Cipher(payload, header.Mask, 0)
	switch {
	case header.OpCode.IsControl():
		header.Masked = false // payload no longer is
		err = wsutil.ControlHandler{
			Src: bytes.NewReader(payload), Dst: c, State: ws.StateServerSide, DisableSrcCiphering: true,
		}.Handle(header)
	case header.Fin && !fragmented:
		err = s.deliver(c, header.OpCode, payload)
	default:
		if !fragmented {
			message = &fragments{opcode: header.OpCode}
			c.SetContext(message)
		}
		message.payload = append(message.payload, payload...)
		if header.Fin {
			c.SetContext(upgraded{})
			err = s.deliver(c, message.opcode, message.payload)
		} else if len(message.payload) > frameMaxBytes {
			err = ws.ErrHeaderLengthUnexpected
		}
	}
	if err != nil {
		return false, err
	}
	_, err = c.Discard(end)
	return true, err
}

// deliver sends a message to whom it is for.
func (s *server) deliver(c gnet.Conn, opcode ws.OpCode, payload []byte) error {
	frame, err := ws.CompileFrame(ws.NewFrame(opcode, true, payload))
	if err != nil {
		return err
	}
	if s.relay {
		s.loops.broadcast(frame)
		return nil
	}
	_, err = c.Write(frame)
	return err
}

// quiet logs only what ends the server. gnet's own logger writes to standard
// output, where the harness reads.
type quiet struct{}

func (quiet) Debugf(string, ...any)             {}
func (quiet) Infof(string, ...any)              {}
func (quiet) Warnf(string, ...any)              {}
func (quiet) Errorf(string, ...any)             {}
func (quiet) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
