package handshake

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// memConn is a connection whose input is there already: what gobwas/ws's
// Upgrader reads from and writes to.
type memConn struct {
	in  bytes.Reader
	out bytes.Buffer
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.Write(p) }

// oracle answers the head with gobwas/ws's Upgrader.
func oracle(head []byte, subprotocols []string) (response string, hs ws.Handshake, err error) {
	var c memConn
	c.in.Reset(head)
	u := ws.Upgrader{
		ReadBufferSize: max(4096, len(head)),
		Protocol:       func(p []byte) bool { return slices.Contains(subprotocols, string(p)) },
	}
	hs, err = u.Upgrade(&c)
	return c.out.String(), hs, err
}

// What we accept and gobwas/ws does not, with the reason why we do.
var beyondOracle = []struct {
	why, head string
	want      error
}{
	{"RFC 9110 section 5.3: Connection is one list, over any number of lines; the Upgrader wants upgrade in each",
		replaced("Connection", "Connection: keep-alive", "Connection: upgrade"), ws.ErrHandshakeBadConnection},
	{"RFC 9110 section 7.8: Upgrade is a list; the Upgrader wants websocket alone",
		replaced("Upgrade", "Upgrade: h2c, websocket"), ws.ErrHandshakeBadUpgrade},
	{"the same over two lines", ok("Upgrade: h2c"), ws.ErrHandshakeBadUpgrade},
	{"RFC 9112 section 2.2: an empty line before the request is ignored", "\r\n" + ok(), ws.ErrMalformedRequest},
}

func TestWhatOnlyWeAccept(t *testing.T) {
	for _, c := range beyondOracle {
		if _, _, err := openHead(c.head, new(Policy)); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
		if _, _, err := oracle([]byte(c.head), nil); err != c.want {
			t.Errorf("%s: the oracle says %v, want %v: is this line still needed?", c.why, err, c.want)
		}
	}
}

// What gobwas/ws accepts and we do not. The reasons stand in
// docs/decisions/0003-upgrade-parser.md; this holds its table to the truth.
var stricterThanOracle = []string{
	"bare LF everywhere", "bare LF in the middle", "bare LF hides a header", "blank line of LF",
	"bare CR in a value", "bare CR in a name", "bare CR in the target", "bare CR at the end of a line",
	"NUL in a value", "NUL in a name", "NUL in the target", "escape in a value", "DEL in a value",
	"folded with a tab", "white space before the first header", "space before the colon",
	"tab before the colon", "space in a name", "empty name", "non-ASCII name", "brackets in a name", "101 headers",
	"version with more digits", "Kelvin sign",
	"non-ASCII target", "fragment", "path without slash", "%00 in the path", "%zz in the path", "% at the end of the path",
	"* with GET", "user in the target", "absolute target without host", "other scheme",
	"two Hosts", "two Hosts, other case", "Host with a path", "Host with a user", "Host list", "Host with a bad port",
	"Host with two ports", "Host of a port alone", "Host with open bracket", "Host with junk behind the bracket", "empty Host",
	"Content-Length twice, equal", "Content-Length list", "Content-Length negative", "Content-Length with a plus",
	"Content-Length in hex", "Content-Length empty", "Content-Length too long",
	"CL.TE", "TE.CL", "TE.TE", "TE obscured", "TE with gzip", "body by length", "body in chunks",
	"Connection without comma", "version twice", "key twice", "key of 17 bytes",
	"key in the URL alphabet", "key without padding", "key with a space",
	"extensions: a parameter without a name", "extensions: semicolons", "extensions: an empty value", "extensions: commas",
	"extensions: a parameter with an empty value", "extensions: an open quote", "extensions: two words", "extensions: bad behind the good",
	"protocol without comma", "bad protocol behind the good", "origin twice", "foreign origin",
}

func TestWhatOnlyTheOracleAccepts(t *testing.T) {
	var got []string
	for _, c := range hostileHeads {
		if _, _, err := oracle([]byte(c.head), []string{"chat"}); err == nil {
			got = append(got, c.name)
		}
	}
	for _, name := range got {
		if !slices.Contains(stricterThanOracle, name) {
			t.Errorf("the oracle accepts %q, the table does not say so", name)
		}
	}
	for _, name := range stricterThanOracle {
		if !slices.Contains(got, name) {
			t.Errorf("the oracle refuses %q, the table says it accepts", name)
		}
	}
}

// agreeWithOracle demands that the oracle gives a head that we accept the same
// response, byte for byte.
func agreeWithOracle(t *testing.T, head []byte) {
	t.Helper()
	p := Policy{Origins: AllowAll(), Subprotocols: []string{"chat", "chat.v2"}}
	var r Request
	n := HeadEnd(head, 0)
	if n == 0 || Parse(head[:n], &r) != nil {
		return
	}
	res, err := Upgrade(&r, &p)
	if err != nil || wantsList(&r) || bytes.HasPrefix(head, []byte("\r\n")) {
		return
	}
	got, err := AppendResponse(nil, &res, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, hs, err := oracle(head[:n], p.Subprotocols)
	if err != nil {
		t.Fatalf("the oracle refuses what we accept: %v\n%q", err, head)
	}
	if string(got) != want || hs.Protocol != res.Subprotocol {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// wantsList tells a request that beyondOracle is about: one that uses Upgrade
// or Connection as the list it is.
func wantsList(r *Request) bool {
	return r.Count("Upgrade") > 1 || r.Count("Connection") > 1 || !equalFold(r.Get("Upgrade"), "websocket")
}

func TestAgreesWithOracle(t *testing.T) {
	for _, c := range realHeads {
		agreeWithOracle(t, []byte(c.head))
		agreeWithOracle(t, []byte(strings.ReplaceAll(c.head, "chat.v2", "x")))
	}
	got, err := AppendResponse(nil, &Result{key: [keyBytes]byte([]byte(testKey))}, nil, nil)
	if err != nil || !strings.Contains(string(got), "Sec-WebSocket-Accept: "+testAccept+"\r\n") {
		t.Errorf("RFC 6455 section 1.3 wants %s: %q", testAccept, got)
	}
}
