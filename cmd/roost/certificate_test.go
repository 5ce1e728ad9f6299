package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// writeCertificate makes a certificate for 127.0.0.1 with a serial number, its
// files changed at a given time.
func writeCertificate(t *testing.T, dir string, serial int64, changed time.Time) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "roost.pem"), filepath.Join(dir, "roost.key")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{
		certFile: certPEM,
		keyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}

func TestTLS(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, engine string) {
		certFile, keyFile, pool := writeCertificate(t, t.TempDir(), 1, time.Now())
		p := startRoost(t, "--addr", "127.0.0.1:0", "--tls-addr", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile, "--demo", "--engine", engine)
		var addrs []string
		for line := range strings.Lines(p.said()) {
			if _, rest, found := strings.Cut(line, `"addr":"`); found {
				addrs = strings.Split(rest[:strings.Index(rest, `"`)], ",")
			}
		}
		if len(addrs) != 2 {
			t.Fatalf("addresses %q, want a plain one and one with TLS", addrs)
		}
		dialer := ws.Dialer{TLSConfig: &tls.Config{RootCAs: pool}}
		ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
		defer cancel()
		conn, early, _, err := dialer.Dial(ctx, "wss://"+addrs[1]+"/")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		secure := &client{t: t, conn: conn, in: conn}
		if early != nil {
			secure.in = early
		}
		plain := dial(t, addrs[0], "/")
		secure.want(ws.OpText, greeting)
		plain.want(ws.OpText, greeting)
		plain.send(ws.OpText, "from the open")
		plain.wantChat("from the open")
		secure.wantChat("from the open")
	})
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	then := time.Now().Add(-time.Hour)
	certFile, keyFile, _ := writeCertificate(t, dir, 1, then)
	c, err := loadCertificate(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	wantSerial := func(when string, want int64) {
		t.Helper()
		got, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil || leaf.SerialNumber.Int64() != want {
			t.Errorf("%s: serial %v, %v; want %d", when, leaf.SerialNumber, err, want)
		}
	}
	wantSerial("at first", 1)
	writeCertificate(t, dir, 2, then.Add(time.Minute))
	wantSerial("after a renewal", 2)
	if err := os.WriteFile(certFile, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantSerial("while the file is no certificate", 2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	wantSerial("while there is no file", 2)
	writeCertificate(t, dir, 3, then.Add(2*time.Minute))
	wantSerial("after another renewal", 3)
}
