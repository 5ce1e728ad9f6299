package token

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/protocol/native"
)

// A storm of clients with tokens leaves little garbage: 36 allocations to check a
// token, most of them golang-jwt's, and 30 for the rest of a connect.
func TestAllocations(t *testing.T) {
	v := newVerifier(t, Config{Secrets: [][]byte{secret}})
	text := func(user string) string {
		text, err := Sign(Claims{Subject: user, ExpiresAt: time.Now().Add(time.Hour)}, secret, "")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	token := text("user-1")
	check := func() {
		r := protocol.ConnectRequest{Token: token}
		if err := v.Connect(t.Context(), &r); err != nil || r.User != "user-1" {
			t.Fatal(r.User, err)
		}
	}
	if n := testing.AllocsPerRun(200, check); n > 38 {
		t.Errorf("%.1f allocations to check a token, want at most 38", n)
	}

	s, err := server.New(server.Config{Listen: []string{"127.0.0.1:0"},
		Application: &protocol.Application{Connect: v.Connect, Protocols: []protocol.Codec{native.Codec{}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const runs = 200
	var clients []*wstest.Client
	var commands [][]byte
	for i := range runs + 1 {
		clients = append(clients, wstest.DialWith(t, ws.Dialer{Protocols: []string{native.Subprotocol}}, "ws://"+s.Addrs()[0].String()+"/"))
		command := fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, text(fmt.Sprint("user-", i)))
		commands = append(commands, []byte(wstest.Masked(ws.OpText, command)))
	}
	next, reply := 0, make([]byte, 1024)
	n := testing.AllocsPerRun(runs, func() {
		c := clients[next]
		if _, err := c.Write(commands[next]); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(reply); err != nil || !bytes.Contains(reply[:n], []byte(`"connect":{"client":`)) {
			t.Fatalf("%s, %v", reply[:n], err)
		}
		next++
	})
	if n > 72 { // 68, and some more under the race detector
		t.Errorf("%.1f allocations for a connect, want at most 72", n)
	}
}
