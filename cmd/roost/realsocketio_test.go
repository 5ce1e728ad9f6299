//go:build realclients

package main

import "testing"

// An unchanged socket.io-client in Node.js, over WebSockets, polling, and polling with upgrade.
func TestRealClientSocketIO(t *testing.T) {
	t.Parallel()
	nodePath(t)
	p, _ := startSocketIO(t)
	script(t, "node", "socketio.js", "http://"+p.addr)
}

// Its bundle in a page of Chromium does the same.
func TestBrowserSocketIO(t *testing.T) {
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	p, _ := startSocketIO(t)
	script(t, "node", "socketio.js", "http://"+p.addr, "chromium")
}
