package main

import (
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
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
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
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		certFile, keyFile, pool := writeCertificate(t, t.TempDir(), 1, time.Now())
		p := startRoost(t, "--addr", "127.0.0.1:0", "--tls-addr", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile, "--demo", "--engine", engine)
		secure, err := dialTLS(t, tlsAddr(t, p), &tls.Config{RootCAs: pool})
		if err != nil {
			t.Fatal(err)
		}
		plain := dial(t, p.addr, "/")
		secure.Want(greeting)
		plain.Want(greeting)
		plain.Send("from the open")
		plain.wantChat("from the open")
		secure.wantChat("from the open")
	})
}

func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
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

// tlsAddr is the address where p speaks TLS, its last.
func tlsAddr(t *testing.T, p *process) string {
	t.Helper()
	for line := range strings.Lines(p.said()) {
		if _, rest, found := strings.Cut(line, `"addr":"`); found {
			addrs := strings.Split(rest[:strings.Index(rest, `"`)], ",")
			return addrs[len(addrs)-1]
		}
	}
	t.Fatal("the start-up line names no address")
	return ""
}

// shown is the serial number of the certificate that p shows to a newcomer.
func shown(t *testing.T, p *process, pool *x509.CertPool) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", tlsAddr(t, p), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func dialTLS(t *testing.T, addr string, config *tls.Config) (*client, error) {
	t.Helper()
	conn, err := wstest.TryDial(ws.Dialer{TLSConfig: config}, "wss://"+addr+"/")
	if err != nil {
		return nil, err
	}
	return &client{wstest.New(t, conn)}, nil
}

// A renewed certificate is shown to newcomers, by itself or after SIGHUP, and
// those who are connected notice nothing. One that cannot be used changes
// nothing.
func TestCertificateIsRenewedUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	then := time.Now().Add(-time.Hour)
	certFile, keyFile, pool := writeCertificate(t, dir, 1, then)
	p := startRoost(t, "--addr", "127.0.0.1:0", "--tls-addr", "127.0.0.1:0", "--tls-cert", certFile, "--tls-key", keyFile, "--echo")
	old, err := dialTLS(t, tlsAddr(t, p), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	_, _, pool2 := writeCertificate(t, dir, 2, then.Add(time.Minute))
	if serial := shown(t, p, pool2); serial != 2 {
		t.Errorf("after the files changed a newcomer sees certificate %d, want 2", serial)
	}
	// Written within the clock's resolution: the file's time does not show the change.
	_, _, pool3 := writeCertificate(t, dir, 3, then.Add(time.Minute))
	p.signal(syscall.SIGHUP)
	p.waitLog("the certificate was read again", 2)
	if serial := shown(t, p, pool3); serial != 3 {
		t.Errorf("after SIGHUP a newcomer sees certificate %d, want 3", serial)
	}
	if err := os.WriteFile(keyFile, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.waitLog("cannot be used: the previous certificate stays", 1)
	if serial := shown(t, p, pool3); serial != 3 {
		t.Errorf("with a broken key a newcomer sees certificate %d, want 3", serial)
	}
	old.Send("still here")
	old.Want("still here")
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	certFile, keyFile, pool := writeCertificate(t, t.TempDir(), 1, time.Now())
	caFile, clientKey, _ := writeCertificate(t, t.TempDir(), 7, time.Now())
	known, err := tls.LoadX509KeyPair(caFile, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	strangerFile, strangerKey, _ := writeCertificate(t, t.TempDir(), 8, time.Now())
	stranger, err := tls.LoadX509KeyPair(strangerFile, strangerKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		flags    []string
		shows    []tls.Certificate
		accepted bool
	}{
		{"optional, none", nil, nil, true},
		{"optional, known", nil, []tls.Certificate{known}, true},
		{"optional, a stranger's", nil, []tls.Certificate{stranger}, false},
		{"required, none", []string{"--tls-client-required"}, nil, false},
		{"required, known", []string{"--tls-client-required"}, []tls.Certificate{known}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := startRoost(t, append(tc.flags, "--addr", "127.0.0.1:0", "--tls-addr", "127.0.0.1:0", "--tls-cert", certFile,
				"--tls-key", keyFile, "--tls-client-ca", caFile, "--echo")...)
			config := &tls.Config{RootCAs: pool}
			if tc.shows != nil {
				// Sent whatever authorities the server names.
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tc.shows[0], nil }
			}
			c, err := dialTLS(t, tlsAddr(t, p), config)
			if (err == nil) != tc.accepted {
				t.Fatalf("dial: %v; want it accepted: %v", err, tc.accepted)
			}
			if err == nil {
				c.Send("hello")
				c.Want("hello")
			}
		})
	}
}
