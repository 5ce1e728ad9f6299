package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server"
)

// A connection goes on after a response of Config.HTTP, as RFC 9112 wants it.
func TestHTTPKeepAlive(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := start(t, server.Config{Engine: server.Engine{Driver: engine}, HTTP: http.HandlerFunc(testHTTP),
			Limits: server.Limits{MessageMaxBytes: 1000}, Handler: server.Handler{Message: echo}, Application: tokenUsers})
		const (
			host    = " HTTP/1.1\r\nHost: x\r\n"
			page    = "GET /page" + host + "\r\n"
			content = `GET /page  "" <nil>`
		)
		t.Run("section 9.3, one after the other", func(t *testing.T) {
			c := connect(t, s)
			for range 3 {
				c.Put(page)
				if r := c.WantStatus(201); r.Close || r.ContentLength != int64(len(content)) {
					t.Errorf("close %v, %d bytes", r.Close, r.ContentLength)
				} else {
					wantBody(t, r, content)
				}
			}
		})
		t.Run("section 9.3.2, pipelined", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /1" + host + "\r\n" +
				"POST /2" + host + "Content-Length: 5\r\n\r\nhello" +
				"POST /3" + host + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
				"HEAD /4" + host + "\r\n" +
				"GET /empty" + host + "\r\n" +
				"GET /5" + host + "Connection: close\r\n\r\n" + "GET /not-served" + host + "\r\n")
			wantBody(t, c.WantStatus(201), `GET /1  "" <nil>`)
			wantBody(t, c.WantStatus(201), `POST /2  "hello" <nil>`)
			wantBody(t, c.WantStatus(201), `POST /3  "abc" <nil>`)
			c.WantStatusTo(http.MethodHead, 201)
			c.WantStatus(204)
			r := c.WantStatus(201)
			wantBody(t, r, `GET /5  "" <nil>`)
			if !r.Close {
				t.Error("the last response does not say Connection: close")
			}
			c.WantEnd()
		})
		t.Run("section 9.3.2, a hundred at once", func(t *testing.T) {
			c := connect(t, s)
			c.Put(strings.Repeat(page, 100))
			for range 100 {
				wantBody(t, c.WantStatus(201), content)
			}
		})
		t.Run("requests that are cut anywhere", func(t *testing.T) {
			c := connect(t, s)
			two := "POST /form" + host + "Content-Length: 5\r\n\r\nhello" + page
			for cut := 1; cut < len(two); cut += 7 {
				c.Put(two[:cut])
				c.Put(two[cut:])
				wantBody(t, c.WantStatus(201), `POST /form  "hello" <nil>`)
				wantBody(t, c.WantStatus(201), content)
			}
		})
		for name, request := range map[string]string{
			"section 9.3, Connection: close":           "GET /page" + host + "Connection: close\r\n\r\n",
			"section 9.3, among other tokens":          "GET /page" + host + "Connection: x, Close\r\n\r\n",
			"appendix C.2.2, HTTP/1.0":                 "GET /page HTTP/1.0\r\n\r\n",
			"appendix C.2.2, HTTP/1.0 with keep-alive": "GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				c := connect(t, s)
				c.Put(request)
				r := c.WantStatus(201)
				if wantBody(t, r, content); !r.Close {
					t.Error("the response does not say Connection: close")
				}
				c.WantEnd()
			})
		}
		t.Run("section 9.6, the handler says close", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /last" + host + "\r\n" + page)
			if r := c.WantStatus(200); !r.Close {
				t.Error("the response does not say Connection: close")
			}
			c.WantEnd()
		})
		t.Run("section 6.3, 304 and HEAD have no content", func(t *testing.T) {
			c := connect(t, s)
			for range 2 {
				c.Put("GET /unchanged" + host + "\r\n")
				c.WantStatus(304)
				c.Put("HEAD /file" + host + "\r\n")
				c.WantStatusTo(http.MethodHead, 200)
				c.Put("HEAD /unknown" + host + "\r\n")
				c.WantStatusTo(http.MethodHead, 200)
			}
			c.Put(page)
			wantBody(t, c.WantStatus(201), content)
		})
		t.Run("RFC 9110, section 10.1.1, Expect", func(t *testing.T) {
			c := connect(t, s)
			for range 2 {
				c.Put("POST /form" + host + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
				c.WantStatus(100)
				c.Put("hello")
				wantBody(t, c.WantStatus(201), `POST /form  "hello" <nil>`)
			}
		})
		t.Run("section 9.2, a request that is refused ends it", func(t *testing.T) {
			for request, status := range map[string]int{
				"GET /page HTTP/1.1\r\n\r\n":                                            400,
				"POST /form" + host + "Content-Length: 1001\r\n\r\n":                    413,
				"POST /form" + host + "Transfer-Encoding: chunked\r\n\r\nx\r\n":         400,
				"POST /form" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx": 400,
				"GET /panic" + host + "\r\n":                                            500,
			} {
				c := connect(t, s)
				c.Put(page + request + page)
				wantBody(t, c.WantStatus(201), content)
				if r := c.WantStatus(status); !r.Close {
					t.Errorf("%q: the response does not say Connection: close", request)
				}
				c.WantEnd()
			}
			wantPanics(t, s, 1)
		})
		t.Run("section 9.6, a client that has said everything", func(t *testing.T) {
			c := connect(t, s)
			c.Put(page + "GET /slow" + host + "\r\n")
			if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantBody(t, c.WantStatus(201), content)
			wantBody(t, c.WantStatus(200), bigBody[:2<<20])
			c.WantEnd()
		})
		t.Run("5 MB, then more", func(t *testing.T) {
			c := connect(t, s)
			c.Put("GET /big" + host + "\r\n" + page)
			wantBody(t, c.WantStatus(200), bigBody)
			wantBody(t, c.WantStatus(201), content)
		})
		t.Run("a poll, then a page, then a WebSocket", func(t *testing.T) {
			c := connect(t, s)
			c.poll("", `{"id":1,"connect":{}}`)
			if got, _ := c.answer(); !strings.HasPrefix(got, `[{"id":1,"connect":`) {
				t.Fatalf("got %s", got)
			}
			c.Put(page)
			wantBody(t, c.WantStatus(201), content)
			c.Put(wstest.Upgrade())
			c.WantStatus(101)
			c.Put(wstest.Masked(ws.OpText, "hello"))
			c.WantFrame(ws.OpText, "hello")
		})
		t.Run("net/http's client", func(t *testing.T) {
			before := statsOf(s).Get("accepted")
			client := http.Client{Timeout: wstest.Patience, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range 20 {
				r, err := client.Post(fmt.Sprintf("http://%s/form?a=%d", s.Addrs()[0], i), "text/plain", io.MultiReader(strings.NewReader("hi"))) // in chunks
				if err != nil {
					t.Fatal(err)
				}
				wantBody(t, r, fmt.Sprintf(`POST /form %d "hi" <nil>`, i))
				_ = r.Body.Close()
			}
			if n := statsOf(s).Get("accepted") - before; n != 1 {
				t.Errorf("%d connections for 20 requests", n)
			}
		})
		eventually(t, "nothing is left", func() bool {
			st := statsOf(s)
			return st.Get("engine_conns") == 0 && st.Get("paused") == 0 && st.Get("stalled") == 0 && st.Get("pending_bytes") == 0
		})
		c := connect(t, s)
		c.Put(page)
		wantBody(t, c.WantStatus(201), content)
		if err := s.Shutdown(within(t)); err != nil {
			t.Fatal(err)
		}
		c.WantEnd()
	})
}

// A proxy sends requests of several clients over one connection: each has its own
// address.
func TestHTTPKeepAliveBehindProxy(t *testing.T) {
	s := start(t, server.Config{HTTP: http.HandlerFunc(testHTTP), Proxies: server.Proxies{TrustedProxies: []string{"127.0.0.1"}}})
	c := connect(t, s)
	for _, client := range []string{"198.51.100.7", "", "198.51.100.8", "198.51.100.8"} {
		header, want := "X-Forwarded-For: "+client+"\r\n", client
		if client == "" {
			header, want = "", "127.0.0.1"
		}
		c.Put("POST / HTTP/1.1\r\nHost: x\r\n" + header + "Content-Length: 1\r\n\r\n")
		c.Put("x")
		r := c.WantStatus(201)
		wantHeader(t, r, "X-From", want)
		wantBody(t, r, `POST /  "x" <nil>`)
	}
}

func TestHTTPKeepAliveTLS(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine netpoll.Driver) {
		s := startTLS(t, server.Config{Engine: server.Engine{Driver: engine}, HTTP: http.HandlerFunc(testHTTP)})
		c := rawTLS(t, s)
		for range 3 {
			c.Put("GET /page HTTP/1.1\r\nHost: x\r\n\r\nGET /big HTTP/1.1\r\nHost: x\r\n\r\n")
			wantBody(t, c.WantStatus(201), `GET /page  "" <nil>`)
			wantBody(t, c.WantStatus(200), bigBody)
		}
		if n := statsOf(s).Get("accepted"); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}
