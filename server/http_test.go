package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// bigBody is larger than all the buffers between two sockets.
var bigBody = strings.Repeat("0123456789abcdef", 5<<20/16)

func testHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/slow":
		_, _ = io.WriteString(w, bigBody[:2<<20])
	case "/big":
		_, _ = io.WriteString(w, bigBody)
	case "/panic":
		panic("on purpose")
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/file": // says how long it is, and writes nothing for HEAD
		http.ServeContent(w, r, "page.html", time.Time{}, strings.NewReader(strings.Repeat("x", 2124)))
	case "/unknown": // says nothing of its length, and writes nothing for HEAD
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, "x")
		}
	case "/last":
		w.Header().Set("Connection", "close")
	case "/unchanged":
		w.WriteHeader(http.StatusNotModified)
	case "/empty":
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("X-From", r.RemoteAddr[:strings.LastIndexByte(r.RemoteAddr, ':')])
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s %s %s %q %v", r.Method, r.URL.Path, r.URL.Query().Get("a"), body, err)
	}
}

func TestHTTP(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, HTTP: http.HandlerFunc(testHTTP), Limits: server.Limits{MessageMaxBytes: 1000}})

		t.Run("GET", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /page?a=1 HTTP/1.1\r\nHost: x\r\n\r\n")
			r := c.WantStatus(201)
			wantHeader(t, r, "X-From", "127.0.0.1")
			if r.Close {
				t.Error("the response says Connection: close")
			}
			wantBody(t, r, `GET /page 1 "" <nil>`)
		})
		t.Run("HEAD", func(t *testing.T) {
			c := connect(t, s)
			c.Put("HEAD /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if r := c.WantStatusTo(http.MethodHead, 201); r.ContentLength != int64(len(`HEAD /page  "" <nil>`)) {
				t.Errorf("Content-Length %d", r.ContentLength)
			}
			if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v behind the head", rest, err)
			}
		})
		t.Run("HEAD says what GET says", func(t *testing.T) {
			for path, length := range map[string]string{"/file": "2124", "/page": "20", "/empty": "", "/unknown": "", "/healthz": "23"} {
				c := connect(t, s)
				c.Put("HEAD " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				all, err := io.ReadAll(c)
				head, content, _ := strings.Cut(string(all), "\r\n\r\n")
				if err != nil || content != "" {
					t.Errorf("%s: %q behind the head, %v", path, content, err)
				}
				got := ""
				for line := range strings.Lines(head) {
					if name, value, _ := strings.Cut(line, ": "); name == "Content-Length" {
						got = strings.TrimSpace(value)
					}
				}
				if got != length {
					t.Errorf("%s: Content-Length %q, want %q", path, got, length)
				}
				if !strings.Contains(head, "\r\nDate: ") {
					t.Errorf("%s: no Date in %q", path, head)
				}
			}
		})
		t.Run("HTTP/1.0", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /old HTTP/1.0\r\n\r\n")
			wantBody(t, c.WantStatus(201), `GET /old  "" <nil>`)
		})
		t.Run("POST", func(t *testing.T) {
			c := connect(t, s)
			c.Put("POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
			wantBody(t, c.WantStatus(201), `POST /form  "hello" <nil>`)
		})
		t.Run("body byte by byte", func(t *testing.T) {
			c := connect(t, s)
			all := "POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
			for i := range len(all) {
				c.Put(all[i : i+1])
			}
			wantBody(t, c.WantStatus(201), `POST /form  "hello" <nil>`)
		})
		t.Run("more than the body, in pieces", func(t *testing.T) {
			c := connect(t, s)
			c.Put("POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nh")
			c.Put("el")
			c.Put("loGET /next HTTP/1.1\r\n")
			wantBody(t, c.WantStatus(201), `POST /form  "hello" <nil>`)
			c.Put("Host: x\r\n\r\n")
			wantBody(t, c.WantStatus(201), `GET /next  "" <nil>`)
		})
		for name, cut := range map[string]int{"head at once": 0, "head in pieces": 20} {
			t.Run("Expect, "+name, func(t *testing.T) {
				c := connect(t, s)
				head := "POST /form HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n"
				before := statsOf(s).Get("bytes_received")
				c.Put(head[:cut])
				if cut > 0 {
					// The first piece must have been read alone.
					eventually(t, "it is there", func() bool { return statsOf(s).Get("bytes_received") == before+int64(cut) })
				}
				c.Put(head[cut:])
				c.WantStatus(100)
				c.Put("hello")
				wantBody(t, c.WantStatus(201), `POST /form  "hello" <nil>`)
			})
		}
		t.Run("no body behind Expect", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /page HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
			c.WantStatus(201)
		})
		t.Run("5 MB", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			wantBody(t, c.WantStatus(200), bigBody)
			c.WantEnd()
		})
		t.Run("too large", func(t *testing.T) {
			c := connect(t, s)
			c.Put("POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n" + strings.Repeat("x", 1001))
			c.WantStatus(413)
			c.WantEnd()
		})
		t.Run("chunked", func(t *testing.T) {
			c := connect(t, s)
			c.Put("POST /form HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n")
			c.Put("6\r\n world\r\n0\r\n\r\n")
			wantBody(t, c.WantStatus(201), `POST /form  "hello world" <nil>`)
			c.WantEnd()
		})
		t.Run("no content", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /empty HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			wantBody(t, c.WantStatus(204), "")
			c.WantEnd()
		})
		t.Run("panic", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")
			c.WantStatus(500)
			c.WantEnd()
			wantPanics(t, s, 1)
		})
		t.Run("abort", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /abort HTTP/1.1\r\nHost: x\r\n\r\n")
			c.WantStatus(500)
			c.WantEnd()
		})
		t.Run("net/http's client", func(t *testing.T) {
			client := http.Client{Timeout: wstest.Patience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			r, err := client.Post("http://"+s.Addrs()[0].String()+"/form?a=2", "text/plain", strings.NewReader("hi"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Body.Close() }()
			wantBody(t, r, `POST /form 2 "hi" <nil>`)
		})
		eventually(t, "nothing is left", func() bool {
			st := statsOf(s)
			return st.Get("engine_conns") == 0 && st.Get("paused") == 0 && st.Get("stalled") == 0 && st.Get("pending_bytes") == 0
		})
	})
}

// TestHTTPSlowReader: as long as the reader makes progress, a response may take
// longer than CloseTimeout.
func TestHTTPSlowReader(t *testing.T) {
	eachEngineAtOnce(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, HTTP: http.HandlerFunc(testHTTP), Sockets: server.Sockets{SendBufferBytes: 64 << 10},
			Timeouts: server.Timeouts{CloseTimeout: 3 * time.Second, WriteStallTimeout: wstest.Patience}})
		for connection, closes := range map[string]bool{"close": true, "keep-alive": false} {
			t.Run(connection, func(t *testing.T) {
				t.Parallel()
				c := connect(t, s)
				if err := c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
					t.Fatal(err)
				}
				c.Put("GET /slow HTTP/1.1\r\nHost: x\r\nConnection: " + connection + "\r\n\r\n")
				r, err := c.Response(http.MethodGet)
				if err != nil {
					t.Fatal(err)
				}
				readSlowly(t, r.Body)
				if closes {
					c.WantEnd()
					return
				}
				c.Put("GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
				wantBody(t, c.WantStatus(201), `GET /page  "" <nil>`)
			})
		}
	})
}

// readSlowly reads what /slow returns, in some 4 s.
func readSlowly(t *testing.T, body io.Reader) {
	t.Helper()
	got := 0
	p := make([]byte, 128<<10)
	for {
		n, err := io.ReadFull(body, p)
		if string(p[:n]) != bigBody[got:got+n] {
			t.Fatalf("wrong bytes somewhere between %d and %d", got, got+n)
		}
		if got += n; err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v behind %d bytes", err, got)
		}
		time.Sleep(250 * time.Millisecond) // the pace of the reader
	}
	if got != 2<<20 {
		t.Fatalf("%d of %d bytes arrived", got, 2<<20)
	}
}
