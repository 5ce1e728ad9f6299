package socketio

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// A socket's ID is its first connection, its namespace, and how many sockets of that client had
// ended before it, as one block of a cipher whose key the process alone has: the server that has
// given it finds the socket without a table of all, and compares the whole ID with the socket's.
// So no other server takes it for one of its own, and nobody can make one.

// socketIDChars is the length of an ID.
const socketIDChars = 22 // base64url of aes.BlockSize bytes

func newCipher() cipher.Block {
	var key [16]byte
	_, _ = rand.Read(key[:]) // it never fails
	block, _ := aes.NewCipher(key[:])
	return block
}

func (io *Server) socketID(id netpoll.ID, namespace uint16, ended uint32) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	binary.BigEndian.PutUint16(b[8:], namespace)
	binary.BigEndian.PutUint32(b[10:], ended) // the rest is zero
	io.cipher.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// decodeSocketID reads the ID of a socket, if this process has given it.
func (io *Server) decodeSocketID(text string) (id netpoll.ID, namespace uint16, ok bool) {
	var b [aes.BlockSize]byte
	if len(text) != socketIDChars {
		return 0, 0, false
	}
	if n, err := base64.RawURLEncoding.Decode(b[:], []byte(text)); err != nil || n != len(b) {
		return 0, 0, false
	}
	io.cipher.Decrypt(b[:], b[:])
	if b[14] != 0 || b[15] != 0 {
		return 0, 0, false
	}
	return netpoll.ID(binary.BigEndian.Uint64(b[:])), binary.BigEndian.Uint16(b[8:]), true
}

// mayBeSocketID reports whether a room's name could be the ID of a socket, of whatever
// server.
func mayBeSocketID(room string) bool {
	if len(room) != socketIDChars {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(room)
	return err == nil
}

// Named returns the connection of a socket by the channel of the room that is its ID.
func (io *Server) Named(s *shard.Shard, channel string) netpoll.ID {
	namespace, room, _ := splitChannel(channel)
	if socket := io.socketNamed(s, room); socket != nil && socket.ns.name == namespace {
		return socket.conn.ID()
	}
	return 0
}

// Single reports whether a channel is that of a room that may be the ID of a socket: the
// channel is its name, then. Where clients may come back, what is published to any room goes
// through the namespace.
func (io *Server) Single(channel string) (whole, name string, ok bool) {
	namespace, room, ok := splitChannel(channel)
	if ok && !mayBeSocketID(room) {
		ns := io.find(namespace)
		ok = room != "" && ns != nil && ns.recovers()
	}
	return Channel(namespace, ""), channel, ok
}

// Owned reports whether a channel is that of a room that may be the ID of a socket.
func (io *Server) Owned(channel string) bool {
	_, room, ok := splitChannel(channel)
	return ok && mayBeSocketID(room)
}

// socketNamed returns the socket of this loop with an ID, nil for none. Loop only.
func (io *Server) socketNamed(s *shard.Shard, name string) *Socket {
	id, number, ok := io.decodeSocketID(name)
	if at := io.lost.at(name); at != 0 {
		id = at
	}
	if !ok || id.Loop() != s.Loop().Index() {
		return nil
	}
	c := io.Conn(s, s.Current(id))
	if c == nil {
		return nil
	}
	cl, _ := c.App.(*client)
	if cl == nil {
		return nil
	}
	for socket := cl.first; socket != nil; socket = socket.next {
		if socket.ns.number == number && socket.ID() == name {
			return socket
		}
	}
	return nil
}

var _ protocol.Namer = (*Server)(nil)
