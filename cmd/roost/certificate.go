package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a key pair in two files, read again when they change.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	// Guarded by mu.
	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time // modification time of the newer file at the last read
	missing bool      // a file did not exist at the last check
}

// loadCertificate reads the files.
func loadCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	changed, err := c.lastChange()
	if err != nil {
		return nil, err
	}
	if err := c.read(changed); err != nil {
		return nil, err
	}
	return c, nil
}

// config returns a tls.Config that uses the certificate.
func (c *certificate) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get}
}

// demandClients makes config check clients' certificates against the authorities in
// caFile. If required is true, clients without a certificate are refused.
func demandClients(config *tls.Config, caFile string, required bool) error {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate in PEM", caFile)
	}
	config.ClientAuth = tls.VerifyClientCertIfGiven
	if required {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return nil
}

// reload reads the files, whether they have changed or not. SIGHUP calls it.
func (c *certificate) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.lastChange()
	if err == nil {
		err = c.read(changed)
	}
	c.report(err)
}

// report logs the outcome of reading the files.
func (c *certificate) report(err error) {
	if err != nil {
		c.logger.Warn("the certificate files cannot be used: the previous certificate stays", "err", err)
		return
	}
	c.logger.Info("the certificate was read again", "file", c.certFile)
}

// get returns the certificate for a handshake, after a check whether the files have
// changed: two calls of stat are cheap beside a handshake. While only one of the
// two files has been replaced, they do not match and the old pair stays.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.lastChange()
	switch {
	case err != nil && c.missing:
		// Logged once: otherwise clients could fill the log.
	case err != nil:
		c.missing = true
		c.report(err)
	case c.missing || !changed.Equal(c.changed):
		c.missing = false
		c.report(c.read(changed))
	}
	return c.current, nil
}

func (c *certificate) lastChange() (time.Time, error) {
	var last time.Time
	for _, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}

// read loads the files. Files that cannot be used are not read again until they
// change.
func (c *certificate) read(changed time.Time) error {
	c.changed = changed
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.current = &pair
	return nil
}
