package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll/engines"
)

// What public conformance suites ask of an echo server, strictly: exactly these
// frames come back, then the end of the connection. Names are the sections of
// the Autobahn test suite, whose 517 cases pass, 12 and 13 with --compression on
// and context (its cases 7.1.6 and 7.13 have no verdict).

// put is a client's frame, masked.
func put(fin bool, rsv byte, op ws.OpCode, payload string) string {
	var b bytes.Buffer
	f := ws.Frame{Header: ws.Header{Fin: fin, Rsv: rsv, OpCode: op, Length: int64(len(payload))}, Payload: []byte(payload)}
	_ = ws.WriteFrame(&b, ws.MaskFrameWith(f, [4]byte{0x37, 0xfa, 0x21, 0x3d})) // a bytes.Buffer takes everything
	return b.String()
}

func text(payload string) string      { return put(true, 0, ws.OpText, payload) }
func bin(payload string) string       { return put(true, 0, ws.OpBinary, payload) }
func ping(payload string) string      { return put(true, 0, ws.OpPing, payload) }
func more(payload string) string      { return put(false, 0, ws.OpContinuation, payload) }
func last(payload string) string      { return put(true, 0, ws.OpContinuation, payload) }
func begin(payload string) string     { return put(false, 0, ws.OpText, payload) }
func pongFrame(payload string) string { return put(true, 0, ws.OpPong, payload) }

func closing(code int, reason string) string {
	return put(true, 0, ws.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

var bye = closing(1000, "")

// got is how a frame from the server is written down.
func got(op ws.OpCode, payload string) string { return "0123456789abcdef"[op:op+1] + " " + payload }
func gotText(payload string) string           { return got(ws.OpText, payload) }
func gotBin(payload string) string            { return got(ws.OpBinary, payload) }
func gotPong(payload string) string           { return got(ws.OpPong, payload) }
func gotClose(code int) string                { return fmt.Sprintf("close %d", code) }

// A conformanceCase sends something and wants exactly this back.
type conformanceCase struct {
	name, send string
	want       []string
	// chop writes so many bytes at a time.
	chop int
}

// conformanceCases are made once: the race detector makes masking slow.
var conformanceCases = sync.OnceValue(func() (cases []conformanceCase) {
	add := func(name, send string, want ...string) {
		cases = append(cases, conformanceCase{name: name, send: send, want: want})
		if len(send) < 5000 {
			cases = append(cases, conformanceCase{name: name + ", byte by byte", send: send, want: want, chop: 1})
		}
	}
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536} {
		add(fmt.Sprint("1.1 text of ", n), text(strings.Repeat("*", n))+bye, gotText(strings.Repeat("*", n)), gotClose(1000))
		add(fmt.Sprint("1.2 binary of ", n), bin(strings.Repeat("\xfe", n))+bye, gotBin(strings.Repeat("\xfe", n)), gotClose(1000))
	}
	for _, payload := range []string{"", "Hello, world!", "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", strings.Repeat("\xfe", 125)} {
		add(fmt.Sprintf("2 ping %q", payload), ping(payload)+bye, gotPong(payload), gotClose(1000))
	}
	add("2.5 ping of 126", ping(strings.Repeat("\xfe", 126)), gotClose(1002))
	add("2.7 unsolicited pong", pongFrame("")+pongFrame("unsolicited")+ping("p")+bye, gotPong("p"), gotClose(1000))
	ten, tenPongs := "", []string{}
	for i := range 10 {
		ten += ping(fmt.Sprint("payload-", i))
		tenPongs = append(tenPongs, gotPong(fmt.Sprint("payload-", i)))
	}
	add("2.10 ten pings", ten+bye, append(tenPongs, gotClose(1000))...)
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpPing, ws.OpClose} {
			add(fmt.Sprintf("3 reserved bits %03b on opcode %x", rsv, byte(op)), text("before")+put(true, rsv, op, ""), gotText("before"), gotClose(1002))
		}
	}
	for _, op := range []ws.OpCode{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for _, payload := range []string{"", "reserved"} {
			add(fmt.Sprintf("4 opcode %x with %q", byte(op), payload), text("before")+put(true, 0, op, payload)+ping(""), gotText("before"), gotClose(1002))
		}
	}
	add("5.1 fragmented ping", put(false, 0, ws.OpPing, "a")+last("b"), gotClose(1002))
	add("5.2 fragmented pong", put(false, 0, ws.OpPong, "a")+last("b"), gotClose(1002))
	add("5.3 fragments", begin("fragment1")+last("fragment2")+bye, gotText("fragment1fragment2"), gotClose(1000))
	add("5.6 ping between fragments", begin("fragment1")+ping("ping")+last("fragment2")+bye, gotPong("ping"), gotText("fragment1fragment2"), gotClose(1000))
	add("5.9 continuation of nothing", last("non-continuation")+text("Hello"), gotClose(1002))
	add("5.12 continuation of nothing, unfinished", more("non-continuation")+text("Hello"), gotClose(1002))
	add("5.15 continuation behind the end", begin("a")+last("b")+more("c")+text("d"), gotText("ab"), gotClose(1002))
	add("5.18 text in a text", begin("fragment1")+text("fragment2"), gotClose(1002))
	add("5.19 pings between five fragments", begin("1")+more("2")+ping("a")+more("3")+more("4")+ping("b")+last("5")+bye,
		gotPong("a"), gotPong("b"), gotText("12345"), gotClose(1000))
	add("6.1 empty fragments", begin("")+more("")+last("")+begin("")+more("middle")+last("")+bye, gotText(""), gotText("middle"), gotClose(1000))
	const greek = "Hello-µ@ßöäüàá-UTF-8!! κόσμε"
	add("6.2 text", text(greek)+bye, gotText(greek), gotClose(1000))
	each := begin("")
	for i := range len(greek) {
		each += more(greek[i : i+1])
	}
	add("6.2 in fragments of a byte", each+last("")+bye, gotText(greek), gotClose(1000))
	for _, valid := range []string{"\xf4\x8f\xbf\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xef\xbf\xbe", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xed\x9f\xbf", "\x00", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80"} {
		add(fmt.Sprintf("6 valid %x", valid), text(valid)+bye, gotText(valid), gotClose(1000))
	}
	for _, invalid := range []string{
		"\xf4\x90\x80\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\x80", "\xbf", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf",
		"\xf0\x8f\xbf\xbf", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", "\xce\xba\xed\xa0\x80edited", "\xc2", "\xe1\x80", "\xf1\x80\x80", "a\xffb",
	} {
		add(fmt.Sprintf("6.3 invalid %x", invalid), text(invalid), gotClose(1007))
		add(fmt.Sprintf("6.3 invalid %x in fragments", invalid), begin(invalid[:1])+last(invalid[1:]), gotClose(1007))
	}
	// 6.4: found out before the message, or even the frame, has ended.
	cases = append(cases,
		conformanceCase{name: "6.4.1 fail fast between fragments", send: begin("κόσμε\xf4\x90"), want: []string{gotClose(1007)}},
		conformanceCase{name: "6.4.3 fail fast in a frame", send: text("κόσμε\xf4\x90\x80\x80edited")[:6+11+2], want: []string{gotClose(1007)}})
	add("7.1.1 close", bye, gotClose(1000))
	add("7.1.3 ping behind the close", bye+ping("late"), gotClose(1000))
	add("7.1.4 text behind the close", bye+text("late"), gotClose(1000))
	add("7.1.5 close in a message", begin("fragment1")+bye+last("fragment2"), gotClose(1000))
	add("7.3.1 close without a code", put(true, 0, ws.OpClose, ""), "close")
	add("7.3.2 close of one byte", put(true, 0, ws.OpClose, "a"), gotClose(1002))
	add("7.3.4 close with a reason", closing(1000, "Hello World!"), gotClose(1000))
	add("7.3.5 reason of 123 bytes", closing(1000, strings.Repeat("*", 123)), gotClose(1000))
	add("7.3.6 reason of 124 bytes", closing(1000, strings.Repeat("*", 124)), gotClose(1002))
	add("7.5.1 reason that is not UTF-8", closing(1000, "κόσμε\xed\xa0\x80edited"), gotClose(1007))
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		add(fmt.Sprint("7.7 code ", code), closing(code, ""), gotClose(code))
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		add(fmt.Sprint("7.9 code ", code), closing(code, ""), gotClose(1002))
	}
	for _, n := range []int{256 << 10, 1 << 20, 16 << 20} {
		add(fmt.Sprint("9.1 text of ", n), text(strings.Repeat("*", n))+bye, gotText(strings.Repeat("*", n)), gotClose(1000))
		add(fmt.Sprint("9.2 binary of ", n), bin(strings.Repeat("\xfe", n))+bye, gotBin(strings.Repeat("\xfe", n)), gotClose(1000))
	}
	for _, size := range []int{64, 1024, 64 << 10, 4 << 20} {
		payload := strings.Repeat("*", 4<<20)
		var frames strings.Builder
		frames.WriteString(begin(""))
		for rest := payload; len(rest) > 0; rest = rest[size:] {
			frames.WriteString(more(rest[:size]))
		}
		add(fmt.Sprint("9.3 4 MiB in fragments of ", size), frames.String()+last("")+bye, gotText(payload), gotClose(1000))
	}
	for _, chop := range []int{64, 2048} {
		payload := strings.Repeat("*", 1<<20)
		cases = append(cases, conformanceCase{name: fmt.Sprint("9.5 1 MiB, chopped to ", chop), chop: chop * 16, // 16 times fewer packets than the suite's
			send: text(payload) + bye, want: []string{gotText(payload), gotClose(1000)}})
	}
	return cases
})

func TestConformance(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		p := startRoost(t, loopback("--echo", "--engine", engine)...)
		for _, tc := range conformanceCases() {
			if engine != engines.Names()[0] && strings.HasSuffix(tc.name, " of 16777216") {
				continue // as in TestConformanceCompression
			}
			t.Run(tc.name, func(t *testing.T) {
				conn, _ := offer(t, p, "")
				go sendChopped(conn, tc.send, tc.chop)
				wantFrames(t, conn, tc.want)
			})
		}
	})
}

// offer upgrades with an offer of extensions, and returns what was agreed to.
func offer(t *testing.T, p *process, extensions string) (c *client, agreed string) {
	if extensions != "" {
		extensions = "Sec-WebSocket-Extensions: " + extensions + "\r\n"
	}
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.addr, testTimeout)
	if err != nil {
		t.Fatal(err)
	}
	c = &client{wstest.New(t, conn)}
	c.Put("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + extensions + "\r\n")
	return c, c.WantStatus(http.StatusSwitchingProtocols).Header.Get("Sec-WebSocket-Extensions")
}

// sendChopped writes p, chop bytes at a time. The server may end the connection
// meanwhile.
func sendChopped(c *client, p string, chop int) {
	if chop == 0 {
		chop = len(p)
	}
	for len(p) > 0 {
		n := min(chop, len(p))
		if _, err := io.WriteString(c, p[:n]); err != nil {
			return
		}
		p = p[n:]
	}
}

// wantFrames reads to the end of the connection and wants exactly these frames.
func wantFrames(t *testing.T, c *client, want []string) {
	t.Helper()
	var frames []string
	for {
		f, err := wstest.ReadFrame(c)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) && len(frames) > 0 && strings.HasPrefix(frames[len(frames)-1], "close") {
			break
		}
		if err != nil {
			t.Fatalf("after %d frames: %v", len(frames), err)
		}
		switch {
		case f.Header.Masked || f.Header.Rsv != 0 || !f.Header.Fin:
			t.Fatalf("frame %+v", f.Header)
		case f.Header.OpCode != ws.OpClose:
			frames = append(frames, got(f.Header.OpCode, string(f.Payload)))
		case len(f.Payload) == 0:
			frames = append(frames, "close")
		default:
			frames = append(frames, gotClose(int(binary.BigEndian.Uint16(f.Payload))))
		}
	}
	if !slices.Equal(frames, want) {
		t.Errorf("got %d frames %.100q, want %d frames %.100q", len(frames), frames, len(want), want)
	}
}

// 12 and 13: each combination of parameters that a client may offer, messages
// of all sizes, whole and in fragments, compressed by the standard library.
func TestConformanceCompression(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, engine string) {
		first := engine == engines.Names()[0]
		for _, compression := range []string{"on", "context"} {
			p := startRoost(t, loopback("--echo", "--engine", engine, "--compression", compression)...)
			for i, parameters := range []string{
				"", "; server_max_window_bits=9", "; client_no_context_takeover", "; client_max_window_bits", "; server_no_context_takeover",
				"; server_max_window_bits=15; client_max_window_bits; client_no_context_takeover", "; server_max_window_bits=8; server_no_context_takeover, permessage-deflate",
			} {
				// The race detector makes large messages slow, and what happens to them
				// is the same on all engines.
				sizes := compressedSizes
				switch {
				case !first:
					sizes = sizes[:len(sizes)-2]
				case i >= 2:
					sizes = sizes[:len(sizes)-1]
				}
				t.Run(compression+parameters, func(t *testing.T) { echoCompressed(t, p, "permessage-deflate"+parameters, sizes) })
			}
		}
	})
}

func echoCompressed(t *testing.T, p *process, extensions string, sizes []int) {
	c, agreed := offer(t, p, extensions)
	if !strings.HasPrefix(agreed, "permessage-deflate") {
		t.Fatalf("the offer %q was answered %q", extensions, agreed)
	}
	go func() {
		for _, size := range sizes {
			_, _ = io.WriteString(c, samples()[size].sent) // the reader tells
		}
		_, _ = io.WriteString(c, bye)
	}()
	// The server's window: all that it has sent compressed, if it refers back.
	var window []byte
	compressed := 0
	for _, size := range sizes {
		for round := 0; round < 2; {
			f, err := wstest.ReadFrame(c)
			if err != nil {
				t.Fatal(err)
			}
			if f.Header.OpCode == ws.OpPong {
				continue
			}
			payload := f.Payload
			if f.Header.Rsv == 4 {
				compressed++
				in := flate.NewReaderDict(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")), window)
				if payload, err = io.ReadAll(in); err != nil {
					t.Fatalf("message of %d: %v", size, err)
				}
				window = append(window, payload...)
				window = window[max(0, len(window)-32<<10):]
			}
			if f.Header.OpCode != ws.OpText || string(payload) != samples()[size].message {
				t.Fatalf("message of %d came back as %d bytes, opcode %x", size, len(payload), byte(f.Header.OpCode))
			}
			round++
		}
	}
	// Those of 256 bytes and more.
	if want := 2 * (len(sizes) - 3); compressed != want {
		t.Errorf("%d messages came back compressed, want %d", compressed, want)
	}
	wantFrames(t, c, []string{gotClose(1000)})
}

var compressedSizes = []int{0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072, 1 << 20}

// samples are messages by size, each with the frames that send it twice, whole and
// in fragments with a ping between. They are made once, as conformanceCases are.
var samples = sync.OnceValue(func() map[int]struct{ message, sent string } {
	bySize := map[int]struct{ message, sent string }{}
	for _, size := range compressedSizes {
		message := sample(size)
		packed := deflate(message)
		half := len(packed) / 2
		bySize[size] = struct{ message, sent string }{message, put(true, 4, ws.OpText, packed) +
			put(false, 4, ws.OpText, packed[:half]) + ping("between") + last(packed[half:])}
	}
	return bySize
})

// sample is a text that compresses like texts do.
func sample(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `{"id":%d,"name":"user %d","active":%v},`, i*7919, i%97, i%3 == 0)
	}
	return b.String()[:size]
}

// deflate compresses a message on its own (RFC 7692, section 7.2.1), within a
// window of 256 bytes or without: stored blocks and literals only refer to what
// every window holds.
func deflate(message string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.HuffmanOnly) // the level is valid
	_, _ = io.WriteString(w, message)              // a bytes.Buffer takes everything
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}
