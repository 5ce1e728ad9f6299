package handshake

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// openHead runs the whole of the package over one head, as a loop would.
func openHead(head string, p *Policy) (*Request, Result, error) {
	var r Request
	n := HeadEnd([]byte(head), 0)
	if n == 0 {
		return nil, Result{}, errIncomplete
	}
	if err := Parse([]byte(head)[:n], &r); err != nil {
		return nil, Result{}, err
	}
	res, err := Upgrade(&r, p)
	return &r, res, err
}

func TestRealClientsAreAccepted(t *testing.T) {
	for _, c := range realHeads {
		t.Run(c.name, func(t *testing.T) {
			var offered []string
			p := Policy{
				Subprotocols: []string{"chat", "chat.v2"},
				Negotiate: func(offers []byte) string {
					offered = append(offered, string(offers))
					return "permessage-deflate"
				},
			}
			r, res, err := openHead(c.head, &p)
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if !IsUpgrade(r) {
				t.Error("IsUpgrade = false")
			}
			if got := string(r.Host); got != "localhost:8080" {
				t.Errorf("Host = %q", got)
			}
			if got, want := len(r.Fields()), strings.Count(c.head, "\r\n")-2; got != want {
				t.Errorf("%d fields, want %d", got, want)
			}
			first, _, _ := strings.Cut(c.protocols, ",")
			if res.Subprotocol != first {
				t.Errorf("Subprotocol = %q, want the client's first, %q", res.Subprotocol, first)
			}
			if got := strings.Join(offered, "|"); got != c.extensions {
				t.Errorf("Negotiate got %q, want %q", got, c.extensions)
			}
			if (res.Extensions != "") != (c.extensions != "") {
				t.Errorf("Extensions = %q for the offer %q", res.Extensions, c.extensions)
			}
			if hasOrigin := r.Get("origin") != nil; hasOrigin != c.origin {
				t.Errorf("Get(origin) = %q", r.Get("origin"))
			}
		})
	}
}

// ok is the smallest head that opens a WebSocket.
func ok(edit ...string) string {
	lines := []string{"GET /ws HTTP/1.1", "Host: a.example", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + testKey}
	return crlfLines(append(lines, edit...)...)
}

// replaced is ok with one line's beginning found and the line exchanged for
// others; an empty replacement drops the line.
func replaced(begin string, by ...string) string {
	var out []string
	found := false
	for _, l := range strings.Split(strings.TrimSuffix(ok(), "\r\n\r\n"), "\r\n") {
		if strings.HasPrefix(l, begin) {
			found = true
			out = append(out, by...)
			continue
		}
		out = append(out, l)
	}
	if !found {
		panic("no line begins with " + begin)
	}
	return crlfLines(out...)
}

// The heads that must not get through Parse, or not through Upgrade, and with
// which reason.
var hostileHeads = []struct {
	name, head string
	want       *Error
}{
	// Line ends and control characters.
	{"bare LF everywhere", strings.ReplaceAll(ok(), "\r\n", "\n"), errBareLF},
	{"bare LF in the middle", strings.Replace(ok(), "a.example\r\n", "a.example\n", 1), errBareLF},
	{"bare LF hides a header", ok("X: y\nContent-Length: 5"), errBareLF},
	{"blank line of LF", strings.TrimSuffix(ok(), "\r\n") + "\n", errBareLF},
	{"bare CR in a value", ok("X: y\rContent-Length: 5"), errBareCR},
	{"bare CR in a name", ok("X\rY: z"), errBareCR},
	{"bare CR in the target", replaced("GET", "GET /ws\rx HTTP/1.1"), errBareCR},
	{"bare CR at the end of a line", ok("X: y\r"), errBareCR},
	{"NUL in a value", ok("X: a\x00b"), errNUL},
	{"NUL in a name", ok("X\x00: b"), errNUL},
	{"NUL in the method", replaced("GET", "GE\x00T /ws HTTP/1.1"), errNUL},
	{"NUL in the target", replaced("GET", "GET /ws\x00 HTTP/1.1"), errNUL},
	{"NUL in the version", replaced("GET", "GET /ws HTTP/1\x001"), errNUL},
	{"escape in a value", ok("X: \x1b[2J"), errControl},
	{"DEL in a value", ok("X: \x7f"), errControl},
	{"two blank lines before", "\r\n\r\n" + ok(), errBlankLines},
	{"bare LF before", "\n" + ok(), errBareLF},

	// Header lines.
	{"folded line", ok("X: a\r\n b"), errFold},
	{"folded with a tab", ok("X: a\r\n\tContent-Length: 5"), errFold},
	{"white space before the first header", replaced("Host", " Host: a.example"), errFold},
	{"space before the colon", ok("Content-Length : 5"), errSpaceInName},
	{"tab before the colon", ok("Transfer-Encoding\t: chunked"), errSpaceInName},
	{"space in a name", ok("X Y: z"), errSpaceInName},
	{"no colon", ok("garbage"), errNoColon},
	{"empty name", ok(": x"), errEmptyName},
	{"non-ASCII name", ok("Überschrift: x"), errName},
	{"brackets in a name", ok("X[0]: y"), errName},
	{"101 headers", ok(strings.Split(strings.TrimSuffix(strings.Repeat("X: y\n", MaxFields-4), "\n"), "\n")...), errTooManyFields},

	// Request line.
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", errHTTPVersion},
	{"HTTP/0.9", "GET /\r\n\r\n", errTarget},
	{"HTTP/3.0", replaced("GET", "GET /ws HTTP/3.0"), errHTTPVersion},
	{"version in lower case", replaced("GET", "GET /ws http/1.1"), errVersion},
	{"version with more digits", replaced("GET", "GET /ws HTTP/1.11"), errVersion},
	{"space behind the version", replaced("GET", "GET /ws HTTP/1.1 "), errVersion},
	{"two spaces", replaced("GET", "GET  /ws HTTP/1.1"), errTarget},
	{"tab for a space", replaced("GET", "GET\t/ws HTTP/1.1"), errMethod},
	{"space before the method", replaced("GET", " GET /ws HTTP/1.1"), errMethod},
	{"method with a colon", replaced("GET", "G:T /ws HTTP/1.1"), errMethod},
	{"space in the target", replaced("GET", "GET /w s HTTP/1.1"), errVersion},
	{"non-ASCII target", replaced("GET", "GET /wß HTTP/1.1"), errTarget},
	{"fragment", replaced("GET", "GET /ws#x HTTP/1.1"), errTarget},
	{"path without slash", replaced("GET", "GET ws HTTP/1.1"), errTarget},
	{"%00 in the path", replaced("GET", "GET /ws%00.png HTTP/1.1"), errPercentNUL},
	{"%zz in the path", replaced("GET", "GET /ws%zz HTTP/1.1"), errPercent},
	{"% at the end of the path", replaced("GET", "GET /ws%2?x HTTP/1.1"), errPercent},
	{"* with GET", replaced("GET", "GET * HTTP/1.1"), errTarget},
	{"CONNECT", replaced("GET", "CONNECT a.example:443 HTTP/1.1"), errConnect},
	{"user in the target", replaced("GET", "GET http://u@a.example/ws HTTP/1.1"), errTarget},
	{"absolute target without host", replaced("GET", "GET http:///ws HTTP/1.1"), errTarget},
	{"other scheme", replaced("GET", "GET ftp://a.example/ws HTTP/1.1"), errTarget},

	// Host.
	{"no Host", replaced("Host"), errNoHost},
	{"two Hosts", ok("Host: a.example"), errManyHosts},
	{"two Hosts, other case", ok("hOST: b.example"), errManyHosts},
	{"Host with a path", replaced("Host", "Host: a.example/x"), errHost},
	{"Host with a user", replaced("Host", "Host: u@a.example"), errHost},
	{"Host list", replaced("Host", "Host: a.example, b.example"), errHost},
	{"Host with a bad port", replaced("Host", "Host: a.example:65536"), errHost},
	{"Host with two ports", replaced("Host", "Host: a.example:1:2"), errHost},
	{"Host of a port alone", replaced("Host", "Host: :80"), errHost},
	{"Host with open bracket", replaced("Host", "Host: [::1"), errHost},
	{"Host with junk behind the bracket", replaced("Host", "Host: [::1]x:80"), errHost},
	{"empty Host", replaced("Host", "Host:"), errEmptyHost},

	// Bodies, and where they end.
	{"Content-Length twice, equal", ok("Content-Length: 0", "Content-Length: 0"), errManyLengths},
	{"Content-Length list", ok("Content-Length: 0, 0"), errLength},
	{"Content-Length negative", ok("Content-Length: -1"), errLength},
	{"Content-Length with a plus", ok("Content-Length: +1"), errLength},
	{"Content-Length in hex", ok("Content-Length: 0x1"), errLength},
	{"Content-Length empty", ok("Content-Length:"), errLength},
	{"Content-Length too long", ok("Content-Length: 9999999999999999999"), errLength},
	{"CL.TE", ok("Content-Length: 5", "Transfer-Encoding: chunked"), errLengthAndEncoding},
	{"TE.CL", ok("Transfer-Encoding: chunked", "Content-Length: 5"), errLengthAndEncoding},
	{"TE.TE", ok("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), errManyEncodings},
	{"TE obscured", ok("Transfer-Encoding: xchunked"), errEncoding},
	{"TE with gzip", ok("Transfer-Encoding: gzip, chunked"), errEncoding},
	{"TE in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errEncodingIn10},
	{"body by length", ok("Content-Length: 1"), errUpgradeBody},
	{"body in chunks", ok("Transfer-Encoding: chunked"), errUpgradeBody},

	// RFC 6455 section 4.2.1.
	{"method in lower case", replaced("GET", "get /ws HTTP/1.1"), errUpgradeMethod},
	{"POST", replaced("GET", "POST /ws HTTP/1.1"), errUpgradeMethod},
	{"OPTIONS *", replaced("GET", "OPTIONS * HTTP/1.1"), errUpgradeMethod},
	{"HTTP/1.0", replaced("GET", "GET /ws HTTP/1.0"), errUpgradeVersion},
	{"absolute target, HTTP/1.1, no Host", "GET http://a.example/ws HTTP/1.1\r\n\r\n", errNoHost},
	{"no Upgrade", replaced("Upgrade"), ErrUpgradeRequired},
	{"Upgrade to h2c", replaced("Upgrade", "Upgrade: h2c"), ErrUpgradeRequired},
	{"Upgrade to something like it", replaced("Upgrade", "Upgrade: websockets"), ErrUpgradeRequired},
	{"Kelvin sign", replaced("Upgrade", "Upgrade: websoc\u212aet"), ErrUpgradeRequired},
	{"no Connection", replaced("Connection"), errNoConnection},
	{"Connection: close", replaced("Connection", "Connection: close"), errNoConnection},
	{"Connection: upgraded", replaced("Connection", "Connection: upgraded"), errNoConnection},
	{"Connection in quotes", replaced("Connection", `Connection: "Upgrade"`), errConnection},
	{"Connection without comma", replaced("Connection", "Connection: keep-alive Upgrade"), errConnection},
	{"no version", replaced("Sec-WebSocket-Version"), errWSVersion},
	{"version 8", replaced("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), errWSVersion},
	{"version list", replaced("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13, 8"), errWSVersion},
	{"version 013", replaced("Sec-WebSocket-Version", "Sec-WebSocket-Version: 013"), errWSVersion},
	{"version 14 with a key of another form", strings.Replace(strings.Replace(ok(), ": 13", ": 14", 1), testKey, strings.Repeat("a", 43)+"=", 1), errWSVersion},
	{"version 14 with other headers of another form", strings.Replace(ok("Sec-WebSocket-Protocol: \"a\"", "Sec-WebSocket-Extensions: ;"), ": 13", ": 14", 1), errWSVersion},
	{"version twice", ok("Sec-WebSocket-Version: 13"), errManyWSVersions},
	{"no key", replaced("Sec-WebSocket-Key"), errNoKey},
	{"key twice", ok("Sec-WebSocket-Key: " + testKey), errManyKeys},
	{"key empty", replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key:"), errKey},
	{"key of 15 bytes", replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), errKey},
	{"key of 17 bytes", replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), errKey},
	{"key in the URL alphabet", replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2-jZQ=="), errKey},
	{"key without padding", replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA"), errKey},
	{"key with a space", replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBs SBub25jZQ=="), errKey},
	{"protocol of commas", ok("Sec-WebSocket-Protocol: ,,"), errSubprotocol},
	{"protocol in quotes", ok(`Sec-WebSocket-Protocol: "chat"`), errSubprotocol},
	{"protocol without comma", ok("Sec-WebSocket-Protocol: chat superchat"), errSubprotocol},
	{"bad protocol behind the good", ok("Sec-WebSocket-Protocol: chat, a/b"), errSubprotocol},
	{"extensions: a parameter without a name", ok("Sec-WebSocket-Extensions: permessage-deflate; ="), errExtensions},
	{"extensions: semicolons", ok("Sec-WebSocket-Extensions: ;;"), errExtensions},
	{"extensions: an empty value", ok("Sec-WebSocket-Extensions:"), errExtensions},
	{"extensions: commas", ok("Sec-WebSocket-Extensions: , ,"), errExtensions},
	{"extensions: a parameter with an empty value", ok("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="), errExtensions},
	{"extensions: an open quote", ok(`Sec-WebSocket-Extensions: x; a="b`), errExtensions},
	{"extensions: two words", ok("Sec-WebSocket-Extensions: permessage deflate"), errExtensions},
	{"extensions: bad behind the good", ok("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: a/b"), errExtensions},
	{"origin twice", ok("Origin: http://a.example", "Origin: http://a.example"), errManyOrigins},
	{"foreign origin", ok("Origin: http://b.example"), ErrOrigin},
}

func TestHostileHeadsAreRefused(t *testing.T) {
	for _, c := range hostileHeads {
		t.Run(c.name, func(t *testing.T) {
			p := Policy{Subprotocols: []string{"chat"}}
			_, _, err := openHead(c.head, &p)
			if err != error(c.want) {
				t.Fatalf("got  %v\nwant %v", err, c.want)
			}
		})
	}
}

// What is unusual and yet right.
func TestUnusualHeadsAreAccepted(t *testing.T) {
	for name, head := range map[string]string{
		"one blank line before":       "\r\n" + ok(),
		"absolute target":             replaced("GET", "GET http://A.example/ws?x HTTP/1.1"),
		"absolute target, no path":    replaced("GET", "GET http://a.example HTTP/1.1"),
		"absolute target, ws":         replaced("GET", "GET ws://a.example/ws HTTP/1.1"),
		"absolute target, WSS":        replaced("GET", "GET WSS://a.example/ws HTTP/1.1"),
		"absolute target, port":       replaced("GET", "GET http://a.example:80/ws HTTP/1.1"),
		"absolute target, other host": replaced("GET", "GET http://b.example/ws HTTP/1.1"),
		"key of RFC 6455, 4.1":        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="),
		"key of 22 characters":        replaced("Sec-WebSocket-Key", "Sec-WebSocket-Key: zzzzzzzzzzzzzzzzzzzzzz=="),
		"protocol empty":              ok("Sec-WebSocket-Protocol:"),
		"protocol empty, then one":    ok("Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: chat"),
		"origin empty":                ok("Origin:"),
		"origin of a device":          ok("Origin: localhost"),
		"origin with a slash":         ok("Origin: http://a.example/"),
		"extensions with quotes":      ok(`Sec-WebSocket-Extensions: ,x;a="b" , permessage-deflate`),
		"extensions, one line empty":  ok("Sec-WebSocket-Extensions:", "Sec-WebSocket-Extensions: permessage-deflate"),
		"HTTP/1.2":                    replaced("GET", "GET /ws HTTP/1.2"),
		"no space behind the colons":  strings.ReplaceAll(ok(), ": ", ":"),
		"tabs and spaces round value": strings.ReplaceAll(strings.ReplaceAll(ok(), ": ", ": \t "), "\r\n", "\t \r\n")[len("GET /ws HTTP/1.1\t \r\n"):],
		"names in upper case":         strings.ReplaceAll(ok(), "Sec-WebSocket", "SEC-WEBSOCKET"),
		"Upgrade list":                replaced("Upgrade", "Upgrade: h2c, WebSocket"),
		"Upgrade in two lines":        ok("Upgrade: h2c"),
		"Connection list":             replaced("Connection", "Connection: keep-alive,, UPGRADE"),
		"Connection list, other end":  replaced("Connection", "Connection: Upgrade, keep-alive"),
		"Connection in two lines":     replaced("Connection", "Connection: keep-alive", "Connection: upgrade"),
		"Connection empty, then good": replaced("Connection", "Connection:", "Connection: upgrade"),
		"Content-Length: 0":           ok("Content-Length: 0"),
		"value with UTF-8":            ok("X: grüß"),
		"value empty":                 ok("X:"),
		"percent in the query":        replaced("GET", "GET /ws?100%&%00 HTTP/1.1"),
		"path //":                     replaced("GET", "GET //b.example/ws HTTP/1.1"),
		"IPv6 host":                   replaced("Host", "Host: [2001:db8::1]:8080"),
		"host with empty port":        replaced("Host", "Host: a.example:"),
		"100 headers": ok(strings.Split(strings.TrimSuffix(
			strings.Repeat("X: y\n", MaxFields-5), "\n"), "\n")...),
	} {
		if name == "tabs and spaces round value" {
			head = "GET /ws HTTP/1.1\r\n" + strings.TrimSuffix(head, "\t \r\n\t \r\n") + "\r\n\r\n"
		}
		if _, _, err := openHead(head, new(Policy)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, head)
		}
	}
}

func TestParse(t *testing.T) {
	var r Request
	// What an earlier request left behind must not show.
	if err := Parse([]byte(ok("Content-Length: 7", "X: y")), &r); err != nil {
		t.Fatal(err)
	}
	head := crlfLines("POST /a/b%20c?q=1?2 HTTP/1.0", "x-TWICE:1", "Other:", "X-Twice: \t2 \t", "Content-Length: 12")
	if err := Parse([]byte(head), &r); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, got, want string }{
		{"Method", string(r.Method), "POST"},
		{"Target", string(r.Target), "/a/b%20c?q=1?2"},
		{"Path", string(r.Path), "/a/b%20c"},
		{"RawQuery", string(r.RawQuery), "q=1?2"},
		{"Get(x-twice)", string(r.Get("x-twice")), "1"},
		{"second line", string(r.Fields()[2].Value), "2"},
	} {
		if c.got != c.want {
			t.Errorf("%s = %q, want %q", c.what, c.got, c.want)
		}
	}
	if r.Minor != 0 || r.BodyBytes != 12 || r.Host != nil || len(r.Fields()) != 4 {
		t.Errorf("Minor %d, BodyBytes %d, Host %q, %d fields", r.Minor, r.BodyBytes, r.Host, len(r.Fields()))
	}
	if r.Count("X-Twice") != 2 || r.Count("x") != 0 {
		t.Errorf("Count = %d, %d", r.Count("X-Twice"), r.Count("x"))
	}
	if r.Get("Other") == nil || len(r.Get("Other")) != 0 || r.Get("None") != nil {
		t.Errorf("Get: empty %q, absent %q", r.Get("Other"), r.Get("None"))
	}

	if err := Parse([]byte(crlfLines("OPTIONS * HTTP/1.1", "Host: a", "Transfer-Encoding: Chunked")), &r); err != nil {
		t.Fatal(err)
	}
	if string(r.Path) != "*" || r.BodyBytes != BodyChunked || r.RawQuery != nil {
		t.Errorf("Path %q, BodyBytes %d, RawQuery %q", r.Path, r.BodyBytes, r.RawQuery)
	}
	if err := Parse([]byte(crlfLines("GET http://a:80?q HTTP/1.1", "Host: A:80")), &r); err != nil {
		t.Fatal(err)
	}
	if string(r.Path) != "/" || string(r.RawQuery) != "q" || string(r.Host) != "a:80" || r.BodyBytes != 0 {
		t.Errorf("Path %q, RawQuery %q, Host %q, BodyBytes %d", r.Path, r.RawQuery, r.Host, r.BodyBytes)
	}
	// RFC 9112, section 3.2.2: the Host header is ignored then.
	if err := Parse([]byte(crlfLines("GET ws://a.example/chat HTTP/1.1", "Host: b.example")), &r); err != nil {
		t.Fatal(err)
	}
	if string(r.Path) != "/chat" || string(r.Host) != "a.example" {
		t.Errorf("Path %q, Host %q", r.Path, r.Host)
	}
}

// Parse is told where the head ends; told wrongly, it says so.
func TestParseWantsExactlyOneHead(t *testing.T) {
	var r Request
	head := ok()
	for n := range len(head) {
		if err := Parse([]byte(head[:n]), &r); err == nil {
			t.Fatalf("the first %d of %d bytes were taken for a head", n, len(head))
		}
	}
	if err := Parse([]byte(head+"x\r\n"), &r); err != error(errBehindHead) {
		t.Errorf("with a line behind: %v", err)
	}
}

func TestHeadEnd(t *testing.T) {
	for _, c := range []struct {
		p    string
		want int
	}{
		{"", 0}, {"\r\n", 0}, {"a\r\n\r", 0}, {"a\n\r", 0}, {"a\n", 0},
		{"a\r\n\r\nrest", 5}, {"a\n\nrest", 3}, {"a\n\r\nrest", 4}, {"a\r\n\nrest", 4},
		{"\r\na\r\n\r\n", 7}, {"\r\n\r\na", 4}, {"a\r\n\rb\r\n\r\n", 9}, {"a\r\rb\r\n", 0},
	} {
		if got := HeadEnd([]byte(c.p), 0); got != c.want {
			t.Errorf("HeadEnd(%q, 0) = %d, want %d", c.p, got, c.want)
		}
		if got := headEndInChunks([]byte(c.p), func() int { return 1 }); got != c.want {
			t.Errorf("HeadEnd(%q) byte by byte = %d, want %d", c.p, got, c.want)
		}
	}
}

// headEndInChunks asks HeadEnd each time that more has come, as a loop does.
func headEndInChunks(p []byte, size func() int) int {
	for searched := 0; searched < len(p); {
		n := min(searched+size(), len(p))
		if end := HeadEnd(p[:n:n], searched); end > 0 {
			return end
		}
		searched = n
	}
	return 0
}

// A head that comes byte by byte is searched once: an end before from, which
// the earlier call would have found, is not seen again.
func TestHeadEndDoesNotRescan(t *testing.T) {
	p := []byte("a\r\n\r\n" + strings.Repeat("x", 100))
	if got := HeadEnd(p, 50); got != 0 {
		t.Errorf("HeadEnd looked behind from: %d", got)
	}
	long := bytes.Repeat([]byte("x"), 64<<10)
	if got := HeadEnd(long, 0); got != 0 {
		t.Errorf("a 64 KiB line has an end at %d", got)
	}
}

func TestCheckStart(t *testing.T) {
	for _, c := range []struct {
		p    string
		want error
	}{
		{"", nil}, {"GET / HT", nil}, {"\r\nGET", nil}, {"\n", nil},
		{"\x16\x03\x01\x02\x00\x01", ErrTLS}, {"\x00", errNotHTTP}, {"{\"a\":1}", errNotHTTP}, {"\x81\x85", errNotHTTP},
	} {
		if got := CheckStart([]byte(c.p)); got != c.want {
			t.Errorf("CheckStart(%q) = %v, want %v", c.p, got, c.want)
		}
	}
}

func TestTooLong(t *testing.T) {
	long := strings.Repeat("a", 100)
	for p, want := range map[string]*Error{
		"GET /" + long:                                     errTargetTooLong,
		"\r\nGET /" + long:                                 errTargetTooLong,
		"GET / HTTP/1.1\r\nCookie: " + long:                ErrHeadTooLarge,
		"\r\nGET / HTTP/1.1\r\nHost: a\r\nCookie: " + long: ErrHeadTooLarge,
	} {
		if got := TooLong([]byte(p)); got != error(want) {
			t.Errorf("TooLong(%q) = %v, want %v", p, got, want)
		}
	}
	if errTargetTooLong.Status != 414 || ErrHeadTooLarge.Status != 431 {
		t.Errorf("%d and %d, want 414 and 431", errTargetTooLong.Status, ErrHeadTooLarge.Status)
	}
}

func TestIsHEAD(t *testing.T) {
	for p, want := range map[string]bool{"HEAD / HTTP/1.1\r\n": true, "\r\nHEAD ": true, "HEAD": false, "HEADS /": false, "GET /": false, "": false} {
		if IsHEAD([]byte(p)) != want {
			t.Errorf("IsHEAD(%q) = %v", p, !want)
		}
	}
}

func TestRefusePlain(t *testing.T) {
	for head, want := range map[string]*Error{
		replaced("Upgrade"):               ErrUpgradeRequired,
		replaced("GET", "GET / HTTP/1.0"): errUpgradeVersion,
	} {
		var r Request
		if err := Parse([]byte(head), &r); err != nil {
			t.Fatal(err)
		}
		if got := RefusePlain(&r); got != error(want) || want.Status != 426 {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

func TestSubprotocol(t *testing.T) {
	for _, c := range []struct {
		offers []string
		speaks []string
		want   string
	}{
		{nil, []string{"a"}, ""},
		{[]string{"a"}, nil, ""},
		{[]string{"b, a"}, []string{"a", "b"}, "b"},
		{[]string{"x ,\ty,a"}, []string{"a", "b"}, "a"},
		{[]string{"x", "b", "a"}, []string{"a", "b"}, "b"},
		{[]string{"A"}, []string{"a"}, ""},
		{[]string{"x, y"}, []string{"a"}, ""},
		{[]string{",a,"}, []string{"a"}, "a"},
		{[]string{""}, []string{"a"}, ""},
		{[]string{"", "a"}, []string{"a"}, "a"},
	} {
		var lines []string
		for _, o := range c.offers {
			lines = append(lines, "Sec-WebSocket-Protocol: "+o)
		}
		_, res, err := openHead(ok(lines...), &Policy{Subprotocols: c.speaks})
		if err != nil || res.Subprotocol != c.want {
			t.Errorf("%q of %q: %q, %v; want %q", c.offers, c.speaks, res.Subprotocol, err, c.want)
		}
	}
}

func TestNegotiate(t *testing.T) {
	var asked []string
	p := Policy{Negotiate: func(offers []byte) string {
		asked = append(asked, string(offers))
		if strings.Contains(string(offers), "mux") {
			return ""
		}
		return "permessage-deflate"
	}}
	_, res, err := openHead(ok("Sec-WebSocket-Extensions: mux", "X: y", "sec-websocket-extensions: permessage-deflate; a=\"b\"",
		"Sec-WebSocket-Extensions: permessage-bzip2"), &p)
	if err != nil || res.Extensions != "permessage-deflate" {
		t.Errorf("Extensions = %q, %v", res.Extensions, err)
	}
	if got, want := strings.Join(asked, "|"), "mux|permessage-deflate; a=\"b\""; got != want {
		t.Errorf("asked about %q, want %q: the second answered", got, want)
	}

	asked = nil
	if _, _, err := openHead(ok("Sec-WebSocket-Extensions: mux", "Origin: http://evil.example"), &p); err != error(ErrOrigin) || asked != nil {
		t.Errorf("refused request: %v, asked about %q", err, asked)
	}
	p.Negotiate = func([]byte) string { return "x\r\nSet-Cookie: y" }
	if _, _, err := openHead(ok("Sec-WebSocket-Extensions: x"), &p); err != error(errExtensionReply) {
		t.Errorf("answer with CR LF: %v", err)
	}
}

func TestIsUpgrade(t *testing.T) {
	for head, want := range map[string]bool{
		ok():                               true,
		replaced("GET", "GET / HTTP/1.0"):  false,
		replaced("Upgrade"):                false,
		replaced("Upgrade", "Upgrade: h2"): false,
		replaced("Upgrade", "Upgrade: h2", "upgrade: h2c ,WEBSOCKET"): true,
	} {
		var r Request
		if err := Parse([]byte(head), &r); err != nil {
			t.Fatal(err)
		}
		if got := IsUpgrade(&r); got != want {
			t.Errorf("IsUpgrade = %v for\n%s", got, head)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	_, _, err := openHead(replaced("Host"), new(Policy))
	var e *Error
	if !errors.As(err, &e) || e.Status != 400 || !strings.Contains(e.Error(), "Host header is missing") {
		t.Errorf("%#v", err)
	}
}

// A clone says what the request says, after the head has been overwritten.
func TestClone(t *testing.T) {
	var r Request
	head := []byte(crlfLines("POST /a?b HTTP/1.1", "Host: c", "Content-Length: 5", "X: y", "Z:"))
	if err := Parse(head, &r); err != nil {
		t.Fatal(err)
	}
	c := r.Clone()
	clear(head)
	if got := string(c.Method) + string(c.Target) + string(c.Path) + string(c.RawQuery) + string(c.Host) + string(c.Get("x")); got != "POST/a?b/abcy" {
		t.Errorf("clone has %q", got)
	}
	if c.Minor != 1 || c.BodyBytes != 5 || len(c.Fields()) != 4 || c.Get("Z") == nil {
		t.Errorf("clone: Minor %d, BodyBytes %d, %d fields, Z %v", c.Minor, c.BodyBytes, len(c.Fields()), c.Get("Z"))
	}
}
