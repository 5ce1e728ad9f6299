package bench

import (
	"bytes"
	"testing"
)

func TestPayloadRoundTrip(t *testing.T) {
	for _, size := range []int{MinPayloadBytes, MinPayloadBytes + 1, 128, 4096, 70000, MaxPayloadBytes} {
		m := message{stream: publishStream | 7, seq: 1<<47 + 12345, sentNs: 1<<60 + 99}
		p := appendPayload([]byte("kept "), m, size)
		if len(p) != size+5 || string(p[:5]) != "kept " {
			t.Fatalf("payload of %d bytes has %d", size, len(p)-5)
		}
		for _, envelope := range []string{"", `{"data":"`} {
			got, err := parsePayload(append([]byte(envelope), append(bytes.Clone(p[5:]), `"}`...)...))
			if err != nil || got != m {
				t.Errorf("parsePayload(%d bytes in %q) = %+v, %v, want %+v", size, envelope, got, err, m)
			}
		}
	}
}

// Whatever byte changes, it is noticed.
func TestPayloadDamage(t *testing.T) {
	p := appendPayload(nil, message{stream: 3, seq: 4, sentNs: 5}, 96)
	for i := range p {
		damaged := bytes.Clone(p)
		damaged[i] ^= 1
		if _, err := parsePayload(damaged); err == nil {
			t.Errorf("byte %d changed and nobody noticed", i)
		}
	}
	for n := range len(p) {
		if _, err := parsePayload(p[:n]); err == nil {
			t.Errorf("cut to %d bytes and nobody noticed", n)
		}
	}
	if _, err := parsePayload([]byte(`{"type":"welcome"}`)); err != errNoPayload {
		t.Errorf("parsePayload of a greeting: %v, want %v", err, errNoPayload)
	}
	a := appendPayload(nil, message{seq: 1}, 128)
	b := appendPayload(nil, message{seq: 2}, 128)
	if bytes.Equal(a[payloadHead:120], b[payloadHead:120]) {
		t.Error("two messages have the same filler: a mixed-up buffer would not show")
	}
}

func TestUpgradeCheck(t *testing.T) {
	good := "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: " +
		acceptKey(upgradeKey(7)) + "\r\n\r\n"
	if n, err := checkUpgradeResponse([]byte(good+"rest"), 7); n != len(good) || err != nil {
		t.Errorf("good response: %d, %v, want %d", n, err, len(good))
	}
	for n := range len(good) {
		if got, err := checkUpgradeResponse([]byte(good[:n]), 7); got != 0 || err != nil {
			t.Fatalf("%d bytes of a response: %d, %v, want 0, nil", n, got, err)
		}
	}
	for name, response := range map[string]string{
		"another's key": good[:len(good)-4-28] + acceptKey(upgradeKey(8)) + "\r\n\r\n",
		"refused":       "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n",
		"no upgrade":    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
		"extension":     good[:len(good)-2] + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
	} {
		if _, err := checkUpgradeResponse([]byte(response), 7); err == nil {
			t.Errorf("%s: taken for an upgrade", name)
		}
	}
	// RFC 6455, section 1.3.
	if got := acceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("acceptKey = %s", got)
	}
}

func TestPerConn(t *testing.T) {
	pc, err := newPerConn(`{"type":"join","channel":"c{{.N}}"}`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := pc.expand(12); got != `{"type":"join","channel":"c12"}` || err != nil {
		t.Errorf("expand(12) = %s, %v", got, err)
	}
	for _, bad := range []string{"{{.Nope}}", "{{"} {
		if _, err := newPerConn(bad); err == nil {
			t.Errorf("template %q was accepted", bad)
		}
	}
}

func TestSplitURL(t *testing.T) {
	to, host, path, err := splitURL("ws://127.0.0.1:8080/ws?user=u{{.N}}")
	if err != nil || to.String() != "127.0.0.1:8080" || host != "127.0.0.1:8080" || path != "/ws?user=u{{.N}}" {
		t.Errorf("splitURL = %v, %q, %q, %v", to, host, path, err)
	}
	if to, _, path, _ := splitURL("ws://[::1]"); to.String() != "[::1]:80" || path != "/" {
		t.Errorf("splitURL without port and path = %v, %q", to, path)
	}
	for _, bad := range []string{"wss://127.0.0.1/", "http://127.0.0.1/", "ws://127.0.0.1:99999/", "::"} {
		if _, _, _, err := splitURL(bad); err == nil {
			t.Errorf("splitURL(%q) was accepted", bad)
		}
	}
}
