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

// certificate is a key pair in two files that somebody renews.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	// Guarded by mu.
	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time // of the newer file, when they were read last
	missing bool      // a file was not there when it was looked at last
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

// config is what a server needs of it.
func (c *certificate) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get}
}

// demandClients has clients' certificates checked against the authorities in
// caFile; required reports whether a client must show one.
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

// reload reads the files now, changed or not: SIGHUP asks for it.
func (c *certificate) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.lastChange()
	if err == nil {
		err = c.read(changed)
	}
	c.report(err)
}

// report logs what became of an attempt to read the files.
func (c *certificate) report(err error) {
	if err != nil {
		c.logger.Warn("the certificate on disk cannot be used, the last one stays", "err", err)
		return
	}
	c.logger.Info("the certificate was read again", "file", c.certFile)
}

// get returns the certificate for a handshake. Two looks at files are nothing
// beside the milliseconds that a handshake takes. A pair that does not fit,
// because the second file is still to come, leaves the old one in force.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.lastChange()
	switch {
	case err != nil && c.missing:
		// Said once: clients must not be able to fill the log.
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

// read takes the files as they are. What cannot be used is not tried again
// until it changes.
func (c *certificate) read(changed time.Time) error {
	c.changed = changed
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.current = &pair
	return nil
}
