package pusher_test

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol/pusher"
)

// patience is for what a loaded machine takes long for.
const patience = 30 * time.Second

// An app, and a second one that must not be heard in the first.
var (
	first = pusher.App{ID: "1", Key: "key1", Secret: "secret1", ClientEvents: true}
	other = pusher.App{ID: "2", Key: "key2", Secret: "secret2", ClientEvents: true}
)

// rig is a server with two loops.
type rig struct {
	t   *testing.T
	srv *server.Server
}

func start(t *testing.T, change func(cfg *server.Config, o *pusher.Options)) *rig {
	t.Helper()
	cfg := server.Config{Listen: []string{"127.0.0.1:0"}, Engine: server.Engine{Loops: 2, KeepGOMAXPROCS: true}, Limits: server.Limits{MaxConnections: 1000}}
	options := pusher.Options{Apps: []pusher.App{first, other}}
	if change != nil {
		change(&cfg, &options)
	}
	p, err := pusher.New(options)
	if err != nil {
		t.Fatal(err)
	}
	p.Configure(&cfg)
	srv, err := server.New(cfg)
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = srv.Close()
		_ = p.EndHooks(context.Background())
	})
	return &rig{t, srv}
}

// sign is HMAC-SHA256, as a back end computes it.
func sign(app pusher.App, text string) string {
	h := hmac.New(sha256.New, []byte(app.Secret))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// A packet is a message to a client.
type packet struct {
	Event   string
	Channel string
	Data    json.RawMessage
	UserID  string `json:"user_id"`
}

// text is the packet's data where it is a text, which it is mostly.
func (p packet) text() string {
	var text string
	if json.Unmarshal(p.Data, &text) != nil {
		return string(p.Data)
	}
	return text
}

// client is a connection.
type client struct {
	t      *testing.T
	app    pusher.App
	conn   io.ReadWriter
	socket string
	close  func()
}

// dial opens a WebSocket.
func (r *rig) dial(path string) *client {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	conn, br, _, err := ws.Dial(ctx, "ws://"+r.srv.Addrs()[0].String()+path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	c := &client{t: r.t, conn: conn, close: func() { _ = conn.Close() }}
	if br != nil {
		c.conn = struct {
			io.Reader
			io.Writer
		}{br, conn} // what came with the response
	}
	return c
}

// connect opens the connection of a client of an app.
func (r *rig) connect(app pusher.App) *client {
	r.t.Helper()
	c := r.dial("/app/" + app.Key + "?protocol=7&client=js&version=8.6.0&flash=false")
	c.app = app
	var hello struct {
		SocketID        string `json:"socket_id"`
		ActivityTimeout int    `json:"activity_timeout"`
	}
	p := c.want("pusher:connection_established", "")
	if err := json.Unmarshal([]byte(p.text()), &hello); err != nil || hello.ActivityTimeout != 120 {
		r.t.Fatalf("the connection was established with %s: %v", p.Data, err)
	}
	c.socket = hello.SocketID
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := wsutil.WriteClientText(c.conn, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) sendf(format string, args ...any) {
	c.t.Helper()
	c.send(fmt.Sprintf(format, args...))
}

// read returns the next message.
func (c *client) read() packet {
	c.t.Helper()
	b, err := wsutil.ReadServerText(c.conn)
	if err != nil {
		c.t.Fatalf("reading: %v", err)
	}
	var p packet
	if err := json.Unmarshal(b, &p); err != nil {
		c.t.Fatalf("%s is not JSON: %v", b, err)
	}
	return p
}

// want reads the next message, which has to be this one.
func (c *client) want(event, channel string) packet {
	c.t.Helper()
	p := c.read()
	if p.Event != event || p.Channel != channel {
		c.t.Fatalf("got %s of channel %q with %s, want %s of %q", p.Event, p.Channel, p.Data, event, channel)
	}
	return p
}

// wantError reads the next message, which has to be an error.
func (c *client) wantError(code int, message string) {
	c.t.Helper()
	p := c.want("pusher:error", "")
	var e struct {
		Code    *int
		Message string
	}
	if err := json.Unmarshal(p.Data, &e); err != nil || (e.Code == nil) != (code == 0) || e.Code != nil && *e.Code != code || !strings.Contains(e.Message, message) {
		c.t.Fatalf("got the error %s, want code %d and %q", p.Data, code, message)
	}
}

// wantClose reads the end of the connection.
func (c *client) wantClose(code int) {
	c.t.Helper()
	_, err := wsutil.ReadServerText(c.conn)
	var closed wsutil.ClosedError
	if closed, _ = err.(wsutil.ClosedError); int(closed.Code) != code {
		c.t.Fatalf("got %v, want a close with %d", err, code)
	}
}

// nothing checks that no message waits: an answer comes first.
func (c *client) nothing() {
	c.t.Helper()
	c.send(`{"event":"pusher:ping"}`)
	c.want("pusher:pong", "")
}

// auth signs a subscription.
func (c *client) auth(channel, data string) string {
	text := c.socket + ":" + channel
	if data != "" {
		text += ":" + data
	}
	return c.app.Key + ":" + sign(c.app, text)
}

// subscribe subscribes to a channel, with channel_data for a presence channel, and returns
// the answer's data.
func (c *client) subscribe(channel, data string) string {
	c.t.Helper()
	c.ask(channel, c.auth(channel, data), data)
	return c.want("pusher_internal:subscription_succeeded", channel).text()
}

func (c *client) ask(channel, auth, data string) {
	c.t.Helper()
	c.sendf(`{"event":"pusher:subscribe","data":{"channel":%q,"auth":%q,"channel_data":%q}}`, channel, auth, data)
}

// api makes a signed request of the HTTP API.
func (r *rig) api(app pusher.App, method, path, query, body string) (status int, response string) {
	r.t.Helper()
	path = "/apps/" + app.ID + path
	values, _ := url.ParseQuery(query)
	values.Set("auth_key", app.Key)
	values.Set("auth_version", "1.0")
	values.Set("auth_timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	if body != "" {
		sum := md5.Sum([]byte(body))
		values.Set("body_md5", hex.EncodeToString(sum[:]))
	}
	signed := method + "\n" + path + "\n"
	plain, _ := url.QueryUnescape(values.Encode())
	values.Set("auth_signature", sign(app, signed+plain))
	return r.request(method, path+"?"+values.Encode(), body)
}

func (r *rig) request(method, target, body string) (status int, response string) {
	r.t.Helper()
	request, err := http.NewRequest(method, "http://"+r.srv.Addrs()[0].String()+target, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// wantAPI makes a request that has to be answered so.
func (r *rig) wantAPI(app pusher.App, method, path, query, body string, status int, response string) {
	r.t.Helper()
	if s, got := r.api(app, method, path, query, body); s != status || !strings.Contains(got, response) {
		r.t.Errorf("%s %s?%s %.200s: %d %s, want %d %s", method, path, query, body, s, got, status, response)
	}
}

// trigger publishes an event by the HTTP API.
func (r *rig) trigger(app pusher.App, channel, event, data string) {
	r.t.Helper()
	r.wantAPI(app, "POST", "/events", "", fmt.Sprintf(`{"name":%q,"channels":[%q],"data":%q}`, event, channel, data), 200, "{}")
}

// contains reports whether text has all of these parts.
func contains(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
