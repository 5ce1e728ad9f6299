package pusher

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/gcra"
	"github.com/roostws/roost/server/internal/jsonx"
	"github.com/roostws/roost/server/internal/shard"
	"github.com/roostws/roost/server/protocol"
)

// loop is what a Server has for one event loop.
type loop struct {
	sessions *protocol.Sessions
	conns    map[netpoll.ID]conn
}

// conn is one connection, beside its place in the shard's tables. Owned by the loop.
type conn struct {
	app  *app
	rest *rest // nil if there is nothing
}

// rest is what most connections do not have.
type rest struct {
	// members are who the connection is in presence channels, by the server's name.
	members map[string]member
	// tokens are for client events.
	tokens gcra.Bucket
}

// A member is who a connection is in a presence channel.
type member struct {
	user string
	info []byte // JSON; nil for none
}

// opening is what a request for a connection says.
type opening struct{ key, query string }

// loop returns what belongs to the loop of s.
func (p *Server) loop(s *shard.Shard) *loop {
	at := &p.loops[s.Loop().Index()]
	if *at == nil {
		*at = &loop{conns: map[netpoll.ID]conn{}}
	}
	return *at
}

// rest returns what a connection has beside its app, made if need be.
func (l *loop) rest(id netpoll.ID) *rest {
	c := l.conns[id]
	if c.rest == nil {
		c.rest = &rest{}
		l.conns[id] = c
	}
	return c.rest
}

// Open greets a connection, or turns it away.
func (p *Server) Open(x *protocol.Sessions, s *shard.Shard, id netpoll.ID, kept any) bool {
	l := p.loop(s)
	l.sessions = x
	o, _ := kept.(opening)
	app := p.byKey[o.key]
	if code, reason := checkVersion(o.query); code != 0 {
		p.end(s, id, code, reason)
		return false
	}
	if app == nil {
		p.end(s, id, codeNoApp, fmt.Sprintf("App key %.64s does not exist", strings.ToValidUTF8(o.key, "")))
		return false
	}
	if n := app.connections.Add(1); app.MaxConnections > 0 && n > int64(app.MaxConnections) {
		app.connections.Add(-1)
		p.end(s, id, codeOverQuota, "The app is over its connection quota")
		return false
	}
	l.conns[id] = conn{app: app}
	s.Ready(id)
	x.Connected(s, id)
	data := append(appendSocketID([]byte(`{"socket_id":"`), p.rules.Host.Node(), id), `","activity_timeout":`...)
	data = strconv.AppendInt(data, int64(math.Ceil(p.options.ActivityTimeout.Seconds())), 10)
	p.send(s, id, "pusher:connection_established", "", inText(append(data, '}')))
	return true
}

// checkVersion returns the code that turns a request away; 0 if it may come in.
func checkVersion(query string) (code int, reason string) {
	values, _ := url.ParseQuery(query)
	text := values.Get("protocol")
	version, err := strconv.Atoi(text)
	switch {
	case text == "":
		return codeNoProtocol, "No protocol version supplied"
	case err != nil:
		return codeVersion, "Invalid version string format"
	case version < 5 || version > 7:
		return codeProtocol, fmt.Sprintf("Unsupported protocol version %d: want 5, 6 or 7", version)
	}
	return 0, ""
}

// end tells a client what is wrong, and closes with the same code.
func (p *Server) end(s *shard.Shard, id netpoll.ID, code int, reason string) {
	p.fail(s, id, code, reason)
	s.Shut(id, frame.CloseCode(code), reason)
}

func (p *Server) fail(s *shard.Shard, id netpoll.ID, code int, message string) {
	s.Reply(id, frame.OpText, appendError(nil, code, message))
}

func (p *Server) send(s *shard.Shard, id netpoll.ID, event, channel string, data []byte) {
	s.Reply(id, frame.OpText, appendPacket(nil, event, channel, data))
}

// Received acts on a message.
func (p *Server) Received(s *shard.Shard, id netpoll.ID, b []byte, binary bool) {
	l := p.loop(s)
	c, ok := l.conns[id]
	if !ok {
		return // it was turned away
	}
	k, ok := parse(b)
	if !ok || binary {
		p.fail(s, id, codeMalformed, "Invalid message format: want a JSON object with event, channel and data")
		return
	}
	switch {
	case k.event == "pusher:ping":
		s.Reply(id, frame.OpText, []byte(pongText))
	case k.event == "pusher:pong": // in another way than the shard knows it
	case k.event == "pusher:subscribe":
		p.subscribe(s, id, c.app, &k)
	case k.event == "pusher:unsubscribe":
		p.unsubscribe(s, id, c.app, &k)
	case k.event == "pusher:signin":
		p.signin(s, id, c.app, &k)
	case strings.HasPrefix(k.event, "client-"):
		p.clientEvent(s, id, c.app, &k)
	default:
		p.fail(s, id, 0, fmt.Sprintf("The event %.80q is none that clients send", k.event))
	}
}

// clientEvent sends an event to the others in a channel.
func (p *Server) clientEvent(s *shard.Shard, id netpoll.ID, a *app, k *packet) {
	l, channel := p.loop(s), p.hubName(a, k.channel)
	reject := func(why string) { p.fail(s, id, codeClientEvent, "Client event rejected - "+why) }
	switch {
	case !a.ClientEvents:
		reject("the app does not have client events enabled")
	case !isGuarded(k.channel) || isEncrypted(k.channel):
		reject("only supported on private and presence channels")
	case !validChannel(k.channel) || !s.Subscribed(id, channel):
		reject("you are not subscribed to the channel")
	case len(k.event) > eventNameMax:
		reject(fmt.Sprintf("the name of the event has more than %d bytes", eventNameMax))
	case len(k.data) > a.EventMaxBytes:
		reject(fmt.Sprintf("the data has more than %d bytes", a.EventMaxBytes))
	default:
		if wait := l.rest(id).tokens.Take(s.Clock(), a.ClientEventRate); wait > 0 {
			reject(fmt.Sprintf("more than %d events a second", a.ClientEventRate))
			return
		}
		data := k.data
		if data == nil {
			data = []byte("null")
		}
		payload := append(append(jsonx.AppendText([]byte(`{"event":`), k.event), `,"data":`...), data...)
		if m, ok := l.rest(id).members[channel]; ok {
			payload = jsonx.AppendText(append(payload, `,"user_id":`...), m.user)
		}
		if err := l.sessions.Say(s, id, channel, append(payload, '}')); err != nil {
			reject(err.Message)
		}
	}
}

// Expired is not called: connections have no deadline of their own.
func (*Server) Expired(*shard.Shard, netpoll.ID) {}

// Dismissed tells a client why the application closes its connection.
func (p *Server) Dismissed(s *shard.Shard, id netpoll.ID, code frame.CloseCode, reason string) {
	if code >= codeNoApp {
		p.fail(s, id, int(code), reason)
	}
}

// Closed ends a connection, and reports whether it was a client: not one that was turned
// away.
func (p *Server) Closed(s *shard.Shard, id netpoll.ID, why shard.Closed) bool {
	l := p.loop(s)
	c, ok := l.conns[id]
	if !ok {
		return false
	}
	l.sessions.Tell(s, id, protocol.Event{Type: protocol.EventDisconnected, Code: why.Code, Reason: why.Reason, Age: why.Age})
	if c.app.SubscriptionCounts {
		s.Channels(id, func(channel string) bool {
			p.count.changed(p, c.app, channel)
			return true
		})
	}
	c.app.connections.Add(-1)
	delete(l.conns, id)
	if len(l.conns) == 0 {
		l.conns = map[netpoll.ID]conn{} // a storm has made it large
	}
	return true
}
