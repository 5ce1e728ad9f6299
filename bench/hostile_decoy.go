package bench

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"
)

// A decoy is the least that a server can do with a hostile client: it takes the
// connection, accepts the upgrade, and reads. A hostile client on the decoy
// costs the machine what the client itself costs, and what its bytes cost in any
// kernel; so what the others notice of the same client on the server, beyond
// that, is the server's doing.
type decoyManner int

const (
	decoyReads  decoyManner = iota // reads and drops everything
	decoyCloses                    // closes after the first bytes, as a server does that throws the client out
	decoyStops                     // reads no more after the upgrade: its client does not read either
)

// serveDecoy serves clients of kind k until l is closed.
func serveDecoy(l net.Listener, k *hostileKind, secure bool) {
	var config *tls.Config
	if secure && !k.raw {
		config = decoyTLS()
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			if config != nil {
				conn = tls.Server(conn, config)
			}
			k.decoy.serve(conn, k.upgraded)
		}()
	}
}

func (m decoyManner) serve(conn net.Conn, upgraded bool) {
	in := bufio.NewReaderSize(conn, hostileBytes)
	if upgraded {
		request, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		accept := acceptKey(request.Header.Get("Sec-WebSocket-Key"))
		if write(conn, []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+accept+"\r\n\r\n")) != nil {
			return
		}
	}
	switch m {
	case decoyCloses:
		_, _ = in.ReadByte() // or the client is gone
	case decoyStops:
		// The client's socket is full soon, and stays so until the client leaves,
		// which a socket that is not read from does not show.
		time.Sleep(decoyPatience)
	default:
		_, _ = io.Copy(io.Discard, in) // until the client leaves
	}
}

// decoyPatience is how long a decoy holds a connection from which it does not
// read.
const decoyPatience = time.Minute

// decoyTLS makes a certificate that no client has to trust.
func decoyTLS() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
}
