package main

import (
	"crypto/tls"
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
	changed time.Time // of the newer file, when current was read
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

// get answers the certificate for a handshake. Two looks at files are nothing
// beside the milliseconds that a handshake takes. A pair that does not fit,
// because the second file is still to come, leaves the old one in force.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.lastChange()
	if err == nil && !changed.Equal(c.changed) {
		if err = c.read(changed); err == nil {
			c.logger.Info("the certificate was read again", "file", c.certFile)
		}
	}
	if err != nil {
		c.logger.Warn("the certificate on disk cannot be used, the last one stays", "err", err)
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
