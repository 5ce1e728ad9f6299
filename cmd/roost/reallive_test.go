//go:build realclients

package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Several people edit one text at once, also without a connection, and beyond what the
// history holds: no letter is lost.
func TestRealClientSharedText(t *testing.T) {
	t.Parallel()
	nodePath(t)
	modules := t.TempDir()
	if err := os.CopyFS(modules, os.DirFS("../../web")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(modules, "package.json"), []byte(`{"type":"module"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	p := startRoost(t, loopback("--demo", "--namespaces", `[{name: together, history-messages: 150, publish: granted}]`)...)
	seed := rand.Uint32()
	t.Logf("the seed is %d", seed)
	script(t, "node", "sheet.mjs", modules, p.addr, strconv.FormatUint(uint64(seed), 10))
}

// The live demos do what their pages say.
func TestBrowserLiveDemos(t *testing.T) {
	nodePath(t)
	needEnv(t, "ROOST_CHROMIUM", "Chromium")
	for _, demo := range []string{"ticker", "together", "game", "transports"} {
		t.Run(demo, func(t *testing.T) {
			p := startRoost(t, loopback("--demo")...)
			script(t, "node", demo+".js", "http://"+p.addr+"/")
		})
	}
	t.Run("ticker in firefox", func(t *testing.T) {
		needEnv(t, "ROOST_FIREFOX", "Firefox")
		p := startRoost(t, loopback("--demo")...)
		script(t, "node", "ticker_firefox.mjs", "http://"+p.addr+"/")
	})
}
