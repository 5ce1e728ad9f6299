package client

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

func TestConnect(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) {
		cfg.Name, cfg.Data = "tests", []byte(`{"a":"<b>"}`)
		cfg.Header = http.Header{"X-Mine": {"1"}, "Host": {"other.test"}}
		cfg.Token = func(context.Context) (string, error) { return "t0k", nil }
	}, func(t *testing.T, n *fakeNet, l *log, c *Client) {

		p := n.accept()
		r := p.request
		if r.URL.String() != "/socket?a=b" || r.Host != "other.test" || r.Header.Get("X-Mine") != "1" ||
			r.Header.Get("Sec-WebSocket-Protocol") != Subprotocol || r.Header.Get("Sec-WebSocket-Version") != "13" ||
			r.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Errorf("the request is %s of %s with %v", r.URL, r.Host, r.Header)
		}
		p.upgrade("")
		id := p.wantBody("connect", `{"token":"t0k","name":"tests","data":{"a":"<b>"}}`)
		l.want(t)
		p.send(`{"id":%d,"connect":{"client":"c-1","user":"42","ping":25,"data":[7],"of":"the future"}}`, id)
		l.want(t, "connected as c-1 42 [7]")
		if name, user := c.Identity(); name != "c-1" || user != "42" {
			t.Errorf("Identity() = %q, %q", name, user)
		}
		c.Close()
		p.wantText("close 1000 ")
		p.close(frame.CloseNormal, "")
		<-c.Done()
		l.want(t, "closed: client: closed")
		if _, err := c.Publish(t.Context(), "a", 1); !errors.Is(err, ErrClosed) {
			t.Errorf("Publish after Close: %v", err)
		}
		if _, err := c.Subscribe(t.Context(), "a", l.message, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Subscribe after Close: %v", err)
		}
	})
}

// A server that does not answer a Close frame does not keep the client.
func TestCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		c := n.start(n.config(l))
		p := n.welcome("")
		synctest.Wait()
		begin := time.Now()
		c.Close()
		p.wantText("close 1000 ")
		<-c.Done()
		if took := time.Since(begin); took != closeTimeout {
			t.Errorf("closing took %s, want %s", took, closeTimeout)
		}
	})
}

func TestUpgradeRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(*peer)
		want   string
	}{
		{"status", func(p *peer) { p.refuse(404, "") }, "client: upgrade refused with status 404: not now (there is nothing at this path: check the URL)"},
		{"subprotocol", func(p *peer) {
			p.write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"))
		}, "client: the server does not speak roost.v1.json at this address: its answer to the upgrade has a wrong Sec-WebSocket-Accept"},
		{"extension", func(p *peer) { p.upgrade("Sec-WebSocket-Extensions: permessage-deflate\r\n") },
			"client: the server does not speak roost.v1.json at this address: frame: server's Sec-WebSocket-Extensions does not fit the offer"},
		{"no HTTP", func(p *peer) { p.write([]byte("SSH-2.0-x\r\n\r\n")) },
			`client: connect: net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-x"`},
		{"silence", func(*peer) {}, "client: connect: context deadline exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newFakeNet(t), new(log)
				c := n.start(n.config(l))
				defer n.end(c)
				test.answer(n.accept())
				n.welcome("")
				l.want(t, "disconnected: "+test.want, "connected as c-1 42 ")
			})
		})
	}
}

// Dial returns the last reason when its time is over, and a lasting one at once.
func TestDialErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l := newFakeNet(t), new(log)
		cfg := n.config(l)
		cfg.NetDial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := Dial(ctx, cfg)
		if c != nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no route") {
			t.Errorf("Dial = %v, %v", c, err)
		}
		if _, err := Dial(t.Context(), Config{URL: "http://server.test", CommandTimeout: -1, Header: http.Header{"upgrade": nil}}); err == nil ||
			!strings.Contains(err.Error(), "it has to be ws://") || !strings.Contains(err.Error(), "CommandTimeout is negative") ||
			!strings.Contains(err.Error(), "Header has Upgrade") {
			t.Errorf("Dial of http:// = %v", err)
		}

		go func() {
			p := n.accept()
			p.upgrade("")
			id, _ := p.want("connect")
			p.send(`{"id":%d,"error":{"code":101,"message":"who are you"}}`, id)
			p.wantText("close 1000 ")
			p.close(frame.CloseNormal, "")
		}()
		_, err = Dial(t.Context(), n.config(l))
		var refused *ServerError
		if !errors.Is(err, ErrClosed) || !errors.As(err, &refused) || refused.Code != CodeUnauthorized {
			t.Errorf("Dial without a token = %v", err)
		}
		synctest.Wait()
		time.Sleep(closeTimeout) // the last attempt of the first one ends
	})
}

// Where trying again is of no use, Dial ends with the reason and the next step; a
// client that was let in once, or is of New, goes on.
func TestDialEndsWhereNothingMends(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(*peer)
		want   []string // in the error; nil: it goes on
	}{
		{"401", func(p *peer) { p.refuse(401, "") }, []string{"status 401", "user:password@"}},
		{"403", func(p *peer) { p.refuse(403, "") }, []string{"status 403", "log"}},
		{"404", func(p *peer) { p.refuse(404, "") }, []string{"status 404", "check the URL"}},
		{"426", func(p *peer) { p.refuse(426, "") }, []string{"status 426", "Upgrade"}},
		{"200", func(p *peer) { p.refuse(200, "") }, []string{"status 200", "check host, port and path"}},
		{"redirect", func(p *peer) { p.refuse(308, "Location: wss://other.test/\r\n") }, []string{"status 308", "use wss://other.test/"}},
		{"subprotocol", func(p *peer) {
			sum := sha1.Sum([]byte(p.request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			p.write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
				base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"))
		}, []string{"does not speak roost.v1.json", "--native"}},
		{"not HTTP", func(p *peer) { p.write([]byte("SSH-2.0-x\r\n\r\n")) }, []string{"malformed HTTP", "SSH"}},
		{"408", func(p *peer) { p.refuse(408, "") }, nil},
		{"429", func(p *peer) { p.refuse(429, "") }, nil},
		{"500", func(p *peer) { p.refuse(500, "") }, nil},
		{"503", func(p *peer) { p.refuse(503, "") }, nil},
		{"cut", func(p *peer) { _ = p.conn.Close() }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newFakeNet(t), new(log)
				go func() {
					test.answer(n.accept())
					if test.want != nil {
						return
					}
					n.welcome("").close(frame.CloseGoingAway, "")
					n.accept().refuse(404, "") // a proxy whose server is away for a moment
					n.welcome("")
				}()
				c, err := Dial(t.Context(), n.config(l))
				if test.want == nil {
					if err != nil {
						t.Fatal(err)
					}
					defer n.end(c)
					time.Sleep(5 * time.Minute)
					if got := c.Stats().Connects; got != 2 || c.Err() != nil {
						t.Errorf("%d connections, %v; want 2", got, c.Err())
					}
					return
				}
				for _, want := range test.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%v lacks %q", err, want)
					}
				}
				if n.dials != 1 {
					t.Errorf("%d attempts, want 1", n.dials)
				}
				synctest.Wait()
			})
		})
	}
}

// User and password of the address are sent, as browsers do, and in no error.
func TestUserOfURL(t *testing.T) {
	for _, test := range []struct{ user, header, want string }{
		{"ann:s3cret@", "", "Basic YW5uOnMzY3JldA=="},
		{"ann@", "", "Basic YW5uOg=="},
		{"a%40b:p%3Aq@", "", "Basic YUBiOnA6cQ=="},
		{"ann:s3cret@", "Bearer x", "Bearer x"},
		{"", "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			n, l := newFakeNet(t), new(log)
			cfg := n.config(l)
			cfg.URL = "ws://" + test.user + "server.test/"
			if test.header != "" {
				cfg.Header = http.Header{"Authorization": {test.header}}
			}
			c := n.start(cfg)
			defer n.end(c)
			p := n.accept()
			if got := p.request.Header.Get("Authorization"); got != test.want || p.request.Host != "server.test" {
				t.Errorf("%s: Authorization is %q, want %q; the host is %q", cfg.URL, got, test.want, p.request.Host)
			}
		})
	}
	for _, address := range []string{"http://ann:s3cret@server.test/", "ws://ann:s3cret@server.test/#x", "ws://ann:s3cret@server.test:port/"} {
		if _, err := New(Config{URL: address}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Through a proxy, plain and TLS connections are tunnels (RFC 6455, section 4.1).
func TestProxy(t *testing.T) {
	for _, test := range []struct{ url, proxy, dialled, target, authorization string }{
		{"ws://server.test/a", "http://proxy.test:3128", "proxy.test:3128", "server.test:80", ""},
		{"ws://server.test:9000/a", "http://ann:s3cret@proxy.test", "proxy.test:80", "server.test:9000", "Basic YW5uOnMzY3JldA=="},
		{"wss://server.test/a", "http://ann:s3cret@proxy.test:3128", "proxy.test:3128", "server.test:443", "Basic YW5uOnMzY3JldA=="},
	} {
		synctest.Test(t, func(t *testing.T) {
			n, l := newFakeNet(t), new(log)
			cfg := n.config(l)
			cfg.URL = test.url
			cfg.Proxy = func(r *http.Request) (*url.URL, error) {
				if r.URL.User != nil || r.URL.Hostname() != "server.test" {
					t.Errorf("a proxy is asked for for %v", r.URL)
				}
				return url.Parse(test.proxy)
			}
			var dialled string
			cfg.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dialled = addr
				return n.dial(ctx, network, addr)
			}
			c := n.start(cfg)
			defer n.end(c)
			p := n.accept()
			if r := p.request; r.Method != http.MethodConnect || r.Host != test.target || r.Header.Get("Proxy-Authorization") != test.authorization || dialled != test.dialled {
				t.Fatalf("%s: %s to %s over %s with %v", test.url, r.Method, r.Host, dialled, r.Header)
			}
			if strings.HasPrefix(test.url, "wss:") {
				return // net/http does the rest
			}
			p.write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
			request, err := http.ReadRequest(p.br)
			if err != nil || request.Method != http.MethodGet || request.URL.String() != "/a" || request.Header.Get("Proxy-Authorization") != "" {
				t.Fatalf("in the tunnel: %+v, %v", request, err)
			}
			p.request = request
			p.upgrade("")
			p.want("connect")
		})
	}
	// A proxy that refuses is named, its password is not.
	withClient(t, func(cfg *Config, l *log) {
		cfg.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://ann:s3cret@proxy.test:3128") }
	}, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		n.accept().refuse(407, "")
		l.want(t, "disconnected: client: connect: proxy http://ann:xxxxx@proxy.test:3128: it refuses the tunnel to server.test:80: 407 Proxy Authentication Required")
	})
}

// What no server of the protocol sends ends the connection, with a Close frame
// that says so, and another one begins.
func TestBrokenServer(t *testing.T) {
	for _, test := range []struct{ name, message, want string }{
		{"no object", frameOf(frame.OpText, `[1]`), "close 1007 not roost.v1.json: json: cannot unmarshal array into Go value of type client.incoming"},
		{"no JSON", frameOf(frame.OpText, `hello`), "close 1007 not roost.v1.json: invalid character 'h' looking for beginning of value"},
		{"binary", frameOf(frame.OpBinary, `{}`), "close 1003 binary message in roost.v1.json"},
		{"reserved opcode", "\x83\x00", "close 1002 reserved opcode"},
		{"masked", "\x81\x81\x00\x00\x00\x00x", "close 1002 frame from a server is masked"},
		{"too big", "\x81\x7f\x00\x00\x00\x00\x01\x00\x00\x00", "close 1009 message is longer than 4194304 bytes"},
		{"encoding", frameOf(frame.OpText, `{"pub":{"channel":"a","data":"x","encoding":"rot13"}}`), `close 1007 not roost.v1.json: data has the unknown encoding "rot13"`},
		{"base64", frameOf(frame.OpText, `{"pub":{"channel":"a","data":"?","encoding":"base64"}}`), "close 1007 not roost.v1.json: base64 data: illegal base64 data at input byte 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, l := newFakeNet(t), new(log)
				c := n.start(n.config(l))
				defer n.end(c)
				p := n.welcome("")
				p.write([]byte(test.message))
				p.wantText(test.want)
				p.wantText("end")
				n.welcome("")
			})
		})
	}
}

func frameOf(op frame.Opcode, payload string) string {
	return string(frame.AppendFrame(nil, op, []byte(payload)))
}

func TestCompression(t *testing.T) {
	withClient(t, func(cfg *Config, l *log) {
		cfg.Compression = true
		cfg.OnState, cfg.OnMessage = nil, l.message
	}, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.accept()
		params, response, err := frame.NegotiateDeflate(p.request.Header.Get("Sec-WebSocket-Extensions"), frame.DeflateConfig{})
		if err != nil || !params.Enabled {
			t.Fatalf("the offer is %q: %v", p.request.Header.Get("Sec-WebSocket-Extensions"), err)
		}
		p.deflate = params
		p.upgrade("Sec-WebSocket-Extensions: " + response + "\r\n")
		id, _ := p.want("connect")
		p.send(`{"id":%d,"connect":{"client":"c-1"}}`, id)
		long := strings.Repeat("abc", 1000)
		p.write(frame.AppendDeflatedFrame(nil, frame.OpText, []byte(`{"message":{"data":"`+long+`"}}`), params.ServerMaxWindowBits, nil))
		l.want(t, ` 0 "`+long+`"`)
		go func() { _, _ = c.Publish(t.Context(), "a", long) }()
		id = p.wantBody("publish", `{"channel":"a","data":"`+long+`"}`)
		p.send(`{"id":%d,"publish":{}}`, id)
	})
}
