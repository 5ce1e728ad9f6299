package intake

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

// fullLoop is a loop whose sockets take as many bytes as there is room for.
type fullLoop struct {
	netpoll.Loop
	room int
	sent bytes.Buffer
}

func (l *fullLoop) Write(_ netpoll.ID, p []byte) (int, error) {
	n := min(len(p), l.room)
	l.room -= n
	l.sent.Write(p[:n])
	return n, nil
}

// shaken returns a TLS whose handshake is done, and its client: what the client
// writes can be read from wire.
func shaken(t *testing.T) (server *TLS, client *tls.Conn, wire net.Conn) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	wire, far := net.Pipe()
	t.Cleanup(func() { wire.Close(); far.Close() })
	client = tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	go client.Handshake()
	done := make(chan error, 1)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true}
	server = StartTLS(config, nil, func(flight []byte) error {
		_, err := wire.Write(flight)
		return err
	}, func(err error) { done <- err })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := wire.Read(buf)
			if err != nil || !server.Feed(buf[:n]) {
				return
			}
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = wire.SetReadDeadline(time.Unix(1, 0)) // ends the feeding goroutine
	server.Finish()
	return server, client, wire
}

// What the socket does not take waits in Out, nothing is encrypted meanwhile, and
// the client gets every byte once.
func TestTLSWriteWaitsForTheSocket(t *testing.T) {
	server, client, wire := shaken(t)
	message := bytes.Repeat([]byte("0123456789abcdef"), 4*recordBytes/16)
	loop, b := &fullLoop{room: recordBytes + 5000}, &Buffer{}
	written, err := server.Write(loop, 1, b, message)
	if err != nil || written != 2*recordBytes || len(server.Out()) == 0 {
		t.Fatalf("Write = %d, %v with %d bytes waiting; want two records and the rest of the second", written, err, len(server.Out()))
	}
	if n, err := server.Write(loop, 1, b, message[written:]); n != 0 || err != nil {
		t.Errorf("Write behind waiting ciphertext = %d, %v, want nothing", n, err)
	}
	for written < len(message) || len(server.Out()) > 0 {
		loop.room = 5000
		if len(server.Out()) > 0 {
			if _, err := server.Flush(loop, 1); err != nil {
				t.Fatal(err)
			}
		}
		n, err := server.Write(loop, 1, b, message[written:])
		if err != nil {
			t.Fatal(err)
		}
		written += n
	}
	go wire.Write(loop.sent.Bytes())
	got := make([]byte, len(message))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, message) {
		t.Errorf("the client got something else: %v", err)
	}
}

// A handshake that the client does not go on with is starved, one that is abandoned
// ends.
func TestTLSHandshakeStarves(t *testing.T) {
	done := make(chan error, 1)
	server := StartTLS(&tls.Config{}, []byte{22, 3, 1}, func([]byte) error { return nil }, func(err error) { done <- err })
	for !server.Starved() {
		time.Sleep(time.Millisecond)
	}
	if server.Feed(make([]byte, inputMax+1)) {
		t.Error("a handshake took more than inputMax")
	}
	server.Abandon()
	if err := <-done; err == nil {
		t.Error("an abandoned handshake succeeded")
	}
}

// Limits count a connection under one address at a time, and a place is given back
// under the address that it was taken for.
func TestLimits(t *testing.T) {
	var l Limits
	limits := &Addresses{Limit: 1}
	var a, b Address
	addr := netip.MustParseAddrPort("192.0.2.1:7")
	l.Move(&a, addr)
	l.Move(&b, addr)
	if v, _ := l.Admit(&a, limits, 0, nil); v != Admitted {
		t.Errorf("the first is %v", v)
	}
	if v, _ := l.Admit(&b, limits, 0, nil); v != TooMany {
		t.Errorf("the second is %v, want TooMany", v)
	}
	l.Move(&a, netip.MustParseAddrPort("192.0.2.2:7"))
	if v, _ := l.Admit(&b, limits, 0, nil); v != Admitted {
		t.Errorf("the second is %v after the first moved, want Admitted", v)
	}
	l.Move(&b, netip.AddrPort{})
	if n := l.Counted(); n != 0 {
		t.Errorf("%d are counted, want none", n)
	}
}
