package socketio_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/internal/wstest"
	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker/memory"
	"github.com/roostws/roost/server/protocol/socketio"
)

// patience is for what a loaded machine takes long for.
const patience = 30 * time.Second

// rig is a server with two loops.
type rig struct {
	t   *testing.T
	srv *server.Server
	io  *socketio.Server
	tls bool
}

func start(t *testing.T, change func(cfg *server.Config, io *socketio.Server)) *rig {
	t.Helper()
	return startWith(t, socketio.Options{PollingMax: 16}, change)
}

func startWith(t *testing.T, options socketio.Options, change func(cfg *server.Config, io *socketio.Server)) *rig {
	t.Helper()
	cfg := server.Config{Listen: []string{"127.0.0.1:0"}, Engine: server.Engine{Loops: 2, KeepGOMAXPROCS: true}, Limits: server.Limits{MaxConnections: 1000}}
	io := socketio.New(options)
	if change != nil {
		change(&cfg, io)
	}
	io.Configure(&cfg)
	srv, err := server.New(cfg)
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return &rig{t, srv, io, len(cfg.ListenTLS) > 0}
}

func (r *rig) url(scheme, query string) string {
	if r.tls {
		scheme += "s"
	}
	return scheme + "://" + r.srv.Addrs()[0].String() + "/socket.io/?EIO=4" + query
}

// webClient takes any certificate.
func webClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: patience}
}

// poller is a client that polls. Each request has a connection of its own every other time.
type poller struct {
	r    *rig
	http *http.Client
	sid  string
	got  []string // packets
}

// try makes one request.
func (p *poller) try(method, query, body string) (int, string) {
	p.r.t.Helper()
	request, err := http.NewRequest(method, p.r.url("http", "&transport=polling"+query), strings.NewReader(body))
	if err != nil {
		p.r.t.Fatal(err)
	}
	response, err := p.http.Do(request)
	if err != nil {
		p.r.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.r.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

func (p *poller) get() bool {
	status, content := p.try("GET", "&sid="+p.sid, "")
	if status != 200 {
		return false
	}
	p.got = append(p.got, strings.Split(content, "\x1e")...)
	return true
}

func (p *poller) post(packets ...string) {
	p.r.t.Helper()
	if status, content := p.try("POST", "&sid="+p.sid, strings.Join(packets, "\x1e")); status != 200 || content != "ok" {
		p.r.t.Fatalf("a post was answered with %d %q", status, content)
	}
}

// await polls until a packet with this beginning has come.
func (p *poller) await(begin string) string {
	p.r.t.Helper()
	for at := 0; ; {
		for ; at < len(p.got); at++ {
			if strings.HasPrefix(p.got[at], begin) {
				return p.got[at]
			}
		}
		if !p.get() {
			p.r.t.Fatalf("no %q among %q", begin, p.got)
		}
	}
}

func (r *rig) poller() *poller {
	r.t.Helper()
	p := &poller{r: r, http: webClient()}
	status, content := p.try("GET", "", "")
	var open struct {
		SID      string
		Upgrades []string
	}
	if status != 200 || json.Unmarshal([]byte(strings.TrimPrefix(content, "0")), &open) != nil || len(open.Upgrades) != 1 {
		r.t.Fatalf("the handshake was answered with %d %q", status, content)
	}
	p.sid = open.SID
	return p
}

// websocket opens one and connects to the main namespace.
func (r *rig) websocket() *wstest.Client {
	r.t.Helper()
	c := r.dial("")
	c.Text() // open
	c.Send("40")
	c.Text()
	return c
}

func (r *rig) dial(query string) *wstest.Client {
	r.t.Helper()
	return wstest.DialWith(r.t, ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}, Timeout: patience}, r.url("ws", "&transport=websocket"+query))
}

// collector gathers what handlers report.
type collector struct {
	mu  sync.Mutex
	all []string
}

func (c *collector) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, text)
}

func (c *collector) wait(t *testing.T, want ...string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		got := strings.Join(c.all, "|")
		c.mu.Unlock()
		if got == strings.Join(want, "|") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got %s, want %s", got, strings.Join(want, "|"))
		}
	}
}

// A client upgrades while a stream of events comes, from either loop to either: it gets all
// of them once and in order, over plain connections and TLS.
func TestUpgradeLosesNothing(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			r := start(t, func(cfg *server.Config, io *socketio.Server) {
				io.OnConnection(func(s *socketio.Socket) { _ = s.Join("room") })
				if secure {
					cert := httptest.NewUnstartedServer(nil)
					cert.StartTLS()
					t.Cleanup(cert.Close)
					cfg.Listen, cfg.ListenTLS, cfg.TLS = nil, cfg.Listen, cert.TLS
				}
			})
			for round := range 8 {
				p := r.poller()
				p.post("40")
				p.await("40")
				stop, ended := make(chan struct{}), make(chan int)
				go func() {
					n := 0
					for {
						if err := r.io.To("room").Emit("n", n); err != nil {
							t.Error(err)
						}
						n++
						select {
						case <-stop:
							ended <- n
							return
						case <-time.After(100 * time.Microsecond):
						}
					}
				}()
				p.await("42")
				c := r.dial("&sid=" + p.sid)
				c.Send("2probe")
				c.Want("3probe")
				for p.get() && p.got[len(p.got)-1] != "6" {
				}
				c.Send("5")
				c.Send(`421["ack"]`) // behind the upgrade: for the session
				next := 0
				take := func(packet string) {
					var event []any
					if strings.HasPrefix(packet, "42") {
						if err := json.Unmarshal([]byte(packet[2:]), &event); err != nil || event[1] != float64(next) {
							t.Fatalf("round %d: got %s, want number %d", round, packet, next)
						}
						next++
					}
				}
				for _, packet := range p.got {
					if len(packet) > 2 {
						// The first ones are from before the room was joined.
						if next == 0 && strings.HasPrefix(packet, "42") {
							_, _ = fmt.Sscanf(packet, `42["n",%d]`, &next)
						}
						take(packet)
					}
				}
				for from := next; next < from+20; {
					take(c.Text())
				}
				close(stop)
				for n := <-ended; next < n; {
					take(c.Text())
				}
				if p.get() {
					t.Error("the mailbox is still there")
				}
			}
		})
	}
}

// upgrade moves a client that polls to a WebSocket.
func (p *poller) upgrade() *wstest.Client {
	p.r.t.Helper()
	c := p.r.dial("&sid=" + p.sid)
	c.Send("2probe")
	c.Want("3probe")
	for p.get() && p.got[len(p.got)-1] != "6" {
	}
	c.Send("5")
	return c
}

// A session upgrades where the application gives each request an identity, and keeps its own.
func TestUpgradeWithUser(t *testing.T) {
	user := func(r *server.UpgradeRequest) string {
		values, _ := url.ParseQuery(r.RawQuery())
		return values.Get("user")
	}
	for name, handler := range map[string]server.Handler{
		"Upgrade":   {Upgrade: func(r *server.UpgradeRequest) error { r.User = user(r); return nil }},
		"Authorize": {Authorize: func(_ context.Context, r *server.UpgradeRequest) error { r.User = user(r); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(cfg *server.Config, io *socketio.Server) {
				cfg.Handler = handler
				io.Of("/").On("echo", func(_ *socketio.Socket, e *socketio.Event) { _ = e.Ack(e.Values()...) })
			})
			for _, user := range []string{"ann", "bob", ""} {
				p := &poller{r: r, http: webClient()}
				_, content := p.try("GET", "&user=ann", "")
				if _, err := fmt.Sscanf(content, `0{"sid":%q`, &p.sid); err != nil {
					t.Fatal(content, err)
				}
				p.post("40")
				p.await("40")
				own := p.sid
				p.sid += "&user=" + user
				c := p.upgrade()
				p.sid = own
				c.Send(`421["echo",1]`)
				c.Want("431[1]")
				for user, want := range map[string]int{"ann": 1, "bob": 0} {
					if n, err := r.srv.Disconnect(t.Context(), server.Audience{User: user}, frame.CloseNormal, "over"); n != want || err != nil {
						t.Errorf("%d connections of %s, %v; want %d", n, user, err, want)
					}
				}
			}
		})
	}
}

// What leaves a socket out, or is for it alone, follows it when it upgrades.
func TestExceptionsFollowUpgrades(t *testing.T) {
	ids := make(chan string, 1)
	r := start(t, func(_ *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) {
			_ = s.Join("room")
			select {
			case ids <- s.ID():
			default:
			}
		})
		io.Of("/").On("shout", func(s *socketio.Socket, e *socketio.Event) {
			_ = s.Broadcast().Emit("heard")
			_ = e.Ack()
		})
	})
	p := r.poller()
	p.post("40")
	p.await("40")
	id := <-ids
	witness := r.websocket()
	c := p.upgrade()
	c.Send(`421["shout"]`)
	c.Want("431[]") // and nothing before it
	witness.Want(`42["heard"]`)
	for _, b := range []socketio.Broadcast{r.io.Except(id), r.io.To("room").Except(id)} {
		if err := b.Emit("without"); err != nil {
			t.Fatal(err)
		}
		witness.Want(`42["without"]`)
	}
	if err := r.io.To(id, "room").Emit("once"); err != nil {
		t.Fatal(err)
	}
	c.Want(`42["once"]`)
	witness.Want(`42["once"]`)
	if err := r.io.To(id).Emit("alone"); err != nil {
		t.Fatal(err)
	}
	if err := r.io.To("room").Emit("end"); err != nil {
		t.Fatal(err)
	}
	c.Want(`42["alone"]`)
	c.Want(`42["end"]`)
	witness.Want(`42["end"]`)
	c.Send(`422["shout"]`)
	c.Want("432[]")
}

// A client that has upgraded counts for its address, whatever loop its WebSocket came to.
func TestUpgradeCountsForTheAddress(t *testing.T) {
	const limit = 4
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		io.Of("/")
		cfg.Limits.ConnectionsPerAddress = limit
	})
	upgraded := 0
	attempt := func() {
		p := &poller{r: r, http: webClient()}
		defer p.http.CloseIdleConnections()
		request := func(query string) (string, bool) {
			response, err := p.http.Get(r.url("http", "&transport=polling"+query))
			if err != nil {
				return "", false
			}
			defer response.Body.Close()
			content, err := io.ReadAll(response.Body)
			return string(content), err == nil && response.StatusCode == 200
		}
		content, ok := request("")
		if !ok {
			return
		}
		if _, err := fmt.Sscanf(content, `0{"sid":%q`, &p.sid); err != nil {
			t.Fatal(content, err)
		}
		p.http.CloseIdleConnections() // it counts, too
		dialer := ws.Dialer{Timeout: patience}
		conn, _, _, err := dialer.Dial(t.Context(), r.url("ws", "&transport=websocket&sid="+p.sid))
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if err := wsutil.WriteClientText(conn, []byte("2probe")); err != nil {
			return
		}
		if answer, err := wsutil.ReadServerText(conn); err != nil || string(answer) != "3probe" {
			return
		}
		if wsutil.WriteClientText(conn, []byte("5")) != nil || wsutil.WriteClientText(conn, []byte("40")) != nil {
			return
		}
		if answer, err := wsutil.ReadServerText(conn); err == nil && strings.HasPrefix(string(answer), "40") {
			upgraded++
		}
	}
	for range 8 * limit {
		attempt()
	}
	if upgraded < 1 || upgraded > limit {
		t.Errorf("%d clients of one address have upgraded, at most %d may", upgraded, limit)
	}
}

// A room whose name cannot be one of a channel is refused, and a socket that has left its
// namespace emits nothing.
func TestSocketRefuses(t *testing.T) {
	var got collector
	r := start(t, func(_ *server.Config, io *socketio.Server) {
		io.Of("/").On("leave", func(s *socketio.Socket, e *socketio.Event) {
			for _, room := range []string{strings.Repeat("r", 1<<16), "\xff"} {
				if err := s.Join("fine", room); !errors.Is(err, server.ErrBadName) {
					got.add(fmt.Sprintf("the room %.10q: %v", room, err))
				}
			}
			s.OnDisconnect(func(string) {
				got.add(fmt.Sprint(s.Emit("late")))
				_ = e.Ack()
			})
			_ = s.Disconnect(false)
		})
		io.Of("/other")
	})
	c := r.websocket()
	c.Send("40/other,")
	c.Text()
	c.Send(`421["leave"]`)
	c.Want("41")
	got.wait(t, socketio.ErrGone.Error())
	if err := r.io.Of("/other").Emit("end"); err != nil {
		t.Fatal(err)
	}
	c.Want(`42/other,["end"]`)
	if n, err := r.srv.Disconnect(t.Context(), server.Audience{Channel: socketio.Channel("/", "fine")}, frame.CloseNormal, ""); n != 0 || err != nil {
		t.Errorf("%d connections, %v in a room of a socket that is gone", n, err)
	}
}

// Without pings clients hang up, and those that poll never end.
func TestPingsAreNeeded(t *testing.T) {
	cfg := server.Config{Listen: []string{"127.0.0.1:0"}, Timeouts: server.Timeouts{PingInterval: -1}}
	socketio.New(socketio.Options{}).Configure(&cfg)
	if _, err := server.New(cfg); err == nil || !strings.Contains(err.Error(), "Timeouts.PingInterval") {
		t.Errorf("a server without pings: %v", err)
	}
}

// The attachments of an event come in time, and after CONNECT.
func TestAttachmentsComeInTime(t *testing.T) {
	var gone collector
	r := startWith(t, socketio.Options{ConnectTimeout: 4 * time.Second}, func(_ *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) { s.OnDisconnect(func(string) { gone.add("gone") }) })
		io.Of("/").On("echo", func(_ *socketio.Socket, e *socketio.Event) { _ = e.Ack() })
	})
	c, whole := r.websocket(), r.websocket()
	whole.Send(`451-1["echo",{"_placeholder":true,"num":0}]`)
	whole.SendBinary("x")
	whole.Want("431[]")
	c.Send(`451-["echo",{"_placeholder":true,"num":0}]`)
	gone.wait(t, "gone")
	whole.Send(`422["echo"]`)
	whole.Want("432[]")
	early := r.dial("")
	early.Text()
	early.Send(`451-["echo",{"_placeholder":true,"num":0}]`)
	if op, payload, err := early.Receive(); err == nil || !strings.Contains(err.Error(), "1003") {
		t.Errorf("an event before CONNECT: got %v %q, %v, want Close 1003", op, payload, err)
	}
}

// Rooms, exceptions and the sender: each socket gets an event once, polling or not.
func TestBroadcasts(t *testing.T) {
	r := start(t, func(_ *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) {
			s.On("join", func(e *socketio.Event) {
				for i := range e.Len() {
					_ = s.Join(e.Arg(i).String())
				}
				_ = e.Ack(s.ID())
			})
			s.On("shout", func(e *socketio.Event) { _ = s.To("a").To("b").Except("c").Emit("heard", e.Values()...) })
			s.On("everyone", func(e *socketio.Event) { _ = s.Broadcast().Emit("all", e.Values()...) })
		})
	})
	join := func(c *wstest.Client, rooms ...string) (id string) {
		c.Send(fmt.Sprintf(`421["join",%s]`, strings.Join(rooms, ",")))
		if _, err := fmt.Sscanf(c.Text(), `431[%q]`, &id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	sender, both, other, out := r.websocket(), r.websocket(), r.websocket(), r.websocket()
	join(sender, `"a"`)
	join(both, `"a"`, `"b"`)
	id := join(other, `"z"`)
	join(out, `"b"`, `"c"`)
	p := r.poller()
	p.post("40", `421["join","b"]`)
	p.await("431")
	sender.Send(`42["shout",1]`)
	both.Want(`42["heard",1]`)
	p.await(`42["heard",1]`)
	sender.Send(`42["everyone",2]`)
	for _, c := range []*wstest.Client{both, other, out} {
		c.Want(`42["all",2]`)
	}
	p.await(`42["all",2]`)
	if n := strings.Count(strings.Join(p.got, "|"), "heard"); n != 1 {
		t.Errorf("the polling client has got %d events, want 1", n)
	}
	// The ID of a socket is a room.
	if err := r.io.To(id).Emit("you", []byte{1, 2}); err != nil {
		t.Fatal(err)
	}
	other.Want(`451-["you",{"_placeholder":true,"num":0}]`)
	other.WantBinary("\x01\x02")
	if err := r.io.To("b").Except(id).Emit("bin", map[string]int{"x": 1}, []byte{3}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*wstest.Client{both, out} {
		c.Want(`451-["bin",{"x":1},{"_placeholder":true,"num":0}]`)
		c.WantBinary("\x03")
	}
	p.await(`451-["bin"`)
	p.await("bAw==")
	// The publish API speaks to the same channels.
	if err := r.srv.Publish(socketio.Channel("/", "b"), server.Text, []byte(`["api",{"y":2}]`)); err != nil {
		t.Fatal(err)
	}
	both.Want(`42["api",{"y":2}]`)
	if err := r.srv.Publish(socketio.Channel("/", "b"), server.Text, []byte(`{"y":2}`)); err != nil {
		t.Fatal(err)
	}
	both.Want(`42["message",{"y":2}]`)
	sender.Send(`42["everyone","end"]`) // nothing else has come to the others
	other.Want(`42["all","end"]`)
}

// Middleware refuses with a message and data, the checks of one client wait for nothing
// else, and namespaces of one connection are apart.
func TestNamespacesAndMiddleware(t *testing.T) {
	var gone collector
	r := start(t, func(_ *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) { s.OnDisconnect(func(why string) { gone.add("/:" + why) }) })
		chat := io.Of("/chat")
		chat.Use(func(_ context.Context, s *socketio.Socket) error {
			var auth struct{ Token string }
			if err := s.Handshake().Auth.Decode(&auth); err != nil {
				return err
			}
			switch auth.Token {
			case "good":
				return nil
			case "panic":
				panic("as it should")
			}
			return &socketio.Error{Message: "not authorized", Data: map[string]int{"code": 7}}
		})
		chat.OnConnection(func(s *socketio.Socket) { s.OnDisconnect(func(why string) { gone.add("/chat:" + why) }) })
		chat.On("echo", func(_ *socketio.Socket, e *socketio.Event) { _ = e.Ack(e.Values()...) })
	})
	c := r.websocket()
	c.Send(`40/chat,{"token":"bad"}`)
	c.Want(`44/chat,{"message":"not authorized","data":{"code":7}}`)
	c.Send(`40/chat,{"token":"panic"}`)
	c.Want(`44/chat,{"message":"something went wrong in the server"}`)
	c.Send(`40/chat,{"token":"good"}`)
	if text := c.Text(); !strings.HasPrefix(text, `40/chat,{"sid":"`) {
		t.Fatalf("got %s", text)
	}
	c.Send(`42/chat,3["echo",{"a":[1,null]}]`)
	c.Want(`43/chat,3[{"a":[1,null]}]`)
	if err := r.io.Of("/chat").Emit("here"); err != nil {
		t.Fatal(err)
	}
	c.Want(`42/chat,["here"]`)
	c.Send("41/chat,")
	gone.wait(t, "/chat:client namespace disconnect")
	if err := r.io.Of("/chat").Emit("gone"); err != nil {
		t.Fatal(err)
	}
	if err := r.io.Emit("still"); err != nil {
		t.Fatal(err)
	}
	c.Want(`42["still"]`)
	r.io.Of("/").Disconnect(false)
	c.Want("41")
	gone.wait(t, "/chat:client namespace disconnect", "/:server namespace disconnect")
}

// Acknowledgements of the client come to the function that waits for them, or do not come
// in time.
func TestAcknowledgementsOfClients(t *testing.T) {
	var got collector
	r := start(t, func(_ *server.Config, io *socketio.Server) {
		io.OnConnection(func(s *socketio.Socket) {
			done := func(args []socketio.Value, err error) {
				switch {
				case errors.Is(err, socketio.ErrTimeout):
					got.add("timeout")
				case err != nil:
					got.add(err.Error())
				default:
					got.add(args[0].String() + string(args[1].Bytes()))
				}
			}
			_ = s.EmitWithAck(patience, done, "first", "x")
			s.On("next", func(*socketio.Event) { _ = s.EmitWithAck(time.Millisecond, done, "second") })
		})
	})
	c := r.websocket()
	c.Want(`420["first","x"]`)
	c.Send(`461-0["yes",{"_placeholder":true,"num":0}]`)
	c.SendBinary("!")
	got.wait(t, "yes!")
	c.Send(`42["next"]`)
	c.Want(`421["second"]`)
	got.wait(t, "yes!", "timeout")
	c.Send(`431["late"]`)
	c.Send(`42["next"]`)
	c.Want(`422["second"]`)
}

// What cannot be ends the connection of its sender, and no other.
func TestHostileClients(t *testing.T) {
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		cfg.Limits.MessageMaxBytes = 4096
		io.OnConnection(func(s *socketio.Socket) {
			s.On("echo", func(e *socketio.Event) { _ = s.Emit("echo", e.Values()...) })
		})
	})
	witness := r.websocket()
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for _, packets := range [][]string{
		{""}, {"x"}, {"0"}, {"5"}, {"4"}, {"49"}, {"42"}, {"42{}"}, {"42[]"}, {"42[null]"}, {`42["connect"]`}, {`42["disconnect",1]`}, {`42["a",` + deep + `]`},
		{"43[1]"}, {"431{}"}, {"44{}"}, {"40"}, {"45-[]"}, {`4511-["a"]`}, {`45999999-["a"]`}, {`451["a"]`}, {`42["a"`}, {`4299999999999999999999["a"]`},
		{`451-["a",{"_placeholder":true,"num":1}]`}, {`451-["a",{"num":7,"_placeholder":true}]`}, {`451-["a"]`, `42["echo"]`}, {"\xffbin"},
		{"4" + "2/" + strings.Repeat("n", 200) + `,["a"]`}, {"40[]"}, {`40"a"`}, {"41{}"}, {`42/nowhere,["a"]`},
	} {
		c := r.websocket()
		for _, p := range packets {
			if strings.HasPrefix(p, "\xff") {
				c.SendBinary(p)
			} else {
				c.Send(p)
			}
		}
		for {
			op, _, err := c.Receive()
			if err != nil || op == ws.OpClose {
				break
			}
		}
		p := r.poller()
		p.post("40")
		p.await("40")
		payload := strings.Join(packets, "\x1e")
		if strings.HasPrefix(payload, "\xff") {
			payload = "bAAAA"
		}
		if status, _ := p.try("POST", "&sid="+p.sid, payload); status == 200 {
			t.Errorf("%.40q was taken from a client that polls", packets)
		}
		if status, _ := p.try("GET", "&sid="+p.sid, ""); status != 400 {
			t.Errorf("after %.40q the session goes on", packets)
		}
	}
	// A body that is too large is refused, and changes nothing.
	p := r.poller()
	if status, _ := p.try("POST", "&sid="+p.sid, strings.Repeat("4", 5000)); status != 413 {
		t.Errorf("a large body: status %d", status)
	}
	p.post("40")
	p.await("40")
	witness.Send(`42["echo",{"_placeholder":true,"num":3}]`) // in a text packet it means nothing
	witness.Want(`42["echo",null]`)
	for _, query := range []string{"&sid=x", "&sid=" + strings.Repeat("A", 22), "&sid=" + strings.Repeat("_", 22)} {
		if status, content := (&poller{r: r, http: webClient()}).try("GET", query, ""); status != 400 || content != `{"code":1,"message":"Session ID unknown"}` {
			t.Errorf("%s: status %d, %s", query, status, content)
		}
	}
	witness.Send(`42["echo",1]`)
	witness.Want(`42["echo",1]`)
}

// Clients that poll are bounded, and end when they do not ask.
func TestPollingIsBounded(t *testing.T) {
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		cfg.Timeouts = server.Timeouts{PingInterval: time.Second, PongTimeout: 500 * time.Millisecond}
		cfg.Engine.Loops = 1
	})
	full := 0
	for range 17 {
		if status, _ := (&poller{r: r, http: webClient()}).try("GET", "", ""); status == 503 {
			full++
		}
	}
	if full == 0 {
		t.Error("17 clients poll, 16 may")
	}
	for end := time.Now().Add(patience); r.srv.Stats().Get("mailboxes") > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d mailboxes are left", r.srv.Stats().Get("mailboxes"))
		}
	}
	if n := r.srv.Stats().Get("connections"); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// A client that polls and does not fetch what comes is a slow consumer.
func TestMailboxThatIsFull(t *testing.T) {
	var gone collector
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		cfg.Limits.PendingMaxBytes, cfg.Limits.LagMaxBytes = 4096, 16384
		io.OnConnection(func(s *socketio.Socket) { s.OnDisconnect(func(string) { gone.add("gone") }) })
	})
	p := r.poller()
	p.post("40")
	p.await("40")
	payload := bytes.Repeat([]byte("x"), 1000)
	for range 8 {
		if err := r.io.Emit("e", string(payload)); err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < 8; n = strings.Count(strings.Join(p.got, "|"), `42["e"`) {
		if !p.get() {
			t.Fatal("a client that lags has lost its session")
		}
	}
	for range 400 {
		if err := r.io.Emit("e", string(payload)); err != nil {
			t.Fatal(err)
		}
	}
	for p.get() {
	}
	gone.wait(t, "gone")
	if n := r.srv.Stats().Get("slow_disconnects"); n != 1 {
		t.Errorf("slow_disconnects = %d, want 1", n)
	}
}

// With a broker events reach the sockets of all servers, but for the sender and those that
// are left out.
func TestTwoServers(t *testing.T) {
	h := memory.New()
	var rigs [2]*rig
	for i := range rigs {
		rigs[i] = start(t, func(cfg *server.Config, io *socketio.Server) {
			cfg.Broker = h.Node()
			cfg.Engine.Loops = 1 // both servers have connections with the same names
			io.OnConnection(func(s *socketio.Socket) {
				s.On("join", func(e *socketio.Event) { _, _ = s.Join(e.Arg(0).String()), e.Ack() })
				s.On("id", func(e *socketio.Event) { _ = e.Ack(s.ID()) })
				s.On("say", func(e *socketio.Event) { _ = s.To("room").Except("quiet").Emit("said", e.Values()...) })
			})
		})
	}
	join := func(c *wstest.Client, room string) {
		c.Send(`421["join","` + room + `"]`)
		c.Want("431[]")
	}
	sender, near, far, quiet := rigs[0].websocket(), rigs[0].websocket(), rigs[1].websocket(), rigs[1].websocket()
	for _, c := range []*wstest.Client{sender, near, far, quiet} {
		join(c, "room")
	}
	join(quiet, "quiet")
	// The interest of a server in a channel takes its time to get about.
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		receipt, err := rigs[0].srv.PublishMessage(t.Context(), server.Publication{Channel: socketio.Channel("/", "room"), Payload: []byte(`["ready"]`)})
		if err != nil || time.Now().After(end) {
			t.Fatal(receipt, err)
		}
		if receipt.Matched == 4 { // the other server has it, too
			break
		}
	}
	sender.Send(`42["say",1]`)
	for _, c := range []*wstest.Client{near, far} {
		for c.Text() != `42["said",1]` {
		}
	}
	// The ID of a socket is a room on every server, alone and among others.
	far.Send(`421["id"]`)
	var id string
	if text := far.Text(); json.Unmarshal([]byte(text[3:]), &[]any{&id}) != nil {
		t.Fatal(text)
	}
	for _, b := range []socketio.Broadcast{rigs[0].io.To(id), rigs[0].io.To("nobody", id), rigs[0].io.Except(id, "room"), rigs[0].io.To("room").Except(id, "quiet")} {
		if err := b.Emit("told"); err != nil {
			t.Fatal(err)
		}
	}
	want := func(c *wstest.Client, text string) {
		t.Helper()
		got := c.Text()
		for got == `42["ready"]` {
			got = c.Text()
		}
		if got != text {
			t.Errorf("got %s, want %s", got, text)
		}
	}
	for _, c := range []*wstest.Client{far, far, near, sender} {
		want(c, `42["told"]`)
	}
	if err := rigs[1].io.To("room").Emit("end"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*wstest.Client{far, near, sender, quiet} {
		want(c, `42["end"]`)
	}
}

// A WebSocket on which a client tries to upgrade, and goes no further, is ended: the client
// goes on polling, and may try again.
func TestProbesComeToAnEnd(t *testing.T) {
	r := start(t, func(cfg *server.Config, io *socketio.Server) {
		cfg.Timeouts.HandshakeTimeout = time.Second
		io.Of("/").On("echo", func(_ *socketio.Socket, e *socketio.Event) { _ = e.Ack() })
	})
	p := r.poller()
	p.post("40")
	p.await("40")
	for _, said := range [][]string{nil, {"2probe"}} {
		c := r.dial("&sid=" + p.sid)
		for _, packet := range said {
			c.Send(packet)
			c.Want("3probe")
		}
		c.WantClosing(1008)
	}
	p.post(`421["echo"]`)
	p.await("431[]")
	c := p.upgrade()
	c.Send(`422["echo"]`)
	c.Want("432[]")
}
