package native

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/frame"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
)

func TestDecode(t *testing.T) {
	at := history.Position{Epoch: "x3k9", Offset: 15}
	for _, test := range []struct {
		in   string
		want protocol.Command
	}{
		{`{"id":1,"connect":{}}`, protocol.Command{ID: 1, Kind: protocol.Connect, Limit: -1}},
		{`{"id":9007199254740991,"connect":{"token":"t","name":"web","data":{"a":[1,"}"]},"resume":{"user:42":{"epoch":"x3k9","offset":15}}}}`,
			protocol.Command{ID: 1<<53 - 1, Kind: protocol.Connect, Token: "t", Name: "web", Data: []byte(`{"a":[1,"}"]}`), Resume: map[string]history.Position{"user:42": at}, Limit: -1}},
		{` { "subscribe" : { "channel" : "news" , "resume" : { "offset" : 15 , "epoch" : "x3k9" } } , "id" : 2 } `,
			protocol.Command{ID: 2, Kind: protocol.Subscribe, Channel: "news", Position: at, HasPosition: true, Limit: -1}},
		{`{"subscribe":{"channel":"a\"b\\\u00e9\ud83d\ude00","token":null,"resume":null}}`, protocol.Command{Kind: protocol.Subscribe, Channel: "a\"b\\é😀", Limit: -1}},
		{`{"id":3,"unsubscribe":{"channel":"news"}}`, protocol.Command{ID: 3, Kind: protocol.Unsubscribe, Channel: "news", Limit: -1}},
		{`{"id":4,"publish":{"channel":"chat","data":null,"key":"k"}}`, protocol.Command{ID: 4, Kind: protocol.Publish, Channel: "chat", Data: []byte("null"), Key: "k", Limit: -1}},
		{`{"publish":{"encoding":"base64","channel":"chat","data":"AP8="}}`, protocol.Command{Kind: protocol.Publish, Channel: "chat", Data: []byte(`"AP8="`), Base64: true, Limit: -1}},
		{`{"id":5,"presence":{"channel":"chat","limit":0}}`, protocol.Command{ID: 5, Kind: protocol.Presence, Channel: "chat"}},
		{`{"id":6,"history":{"channel":"chat","since":{"epoch":"x3k9","offset":15},"limit":7,"reverse":true}}`,
			protocol.Command{ID: 6, Kind: protocol.History, Channel: "chat", Position: at, HasPosition: true, Limit: 7, Reverse: true}},
		{`{"id":7,"call":{"method":"add","data":[1,2]}}`, protocol.Command{ID: 7, Kind: protocol.Call, Method: "add", Data: []byte("[1,2]"), Limit: -1}},
		{`{"id":8,"refresh":{"token":"t","channel":"chat"}}`, protocol.Command{ID: 8, Kind: protocol.Refresh, Token: "t", Channel: "chat", Limit: -1}},
		{`{"id":9,"ack":{"channel":"chat","epoch":"x3k9","offset":15}}`, protocol.Command{ID: 9, Kind: protocol.Ack, Channel: "chat", Position: at, HasPosition: true, Limit: -1}},
		{`{"id":1.0,"history":{"channel":"c","since":{"epoch":"e","offset":16.0},"limit":1e1}}`,
			protocol.Command{ID: 1, Kind: protocol.History, Channel: "c", Position: history.Position{Epoch: "e", Offset: 16}, HasPosition: true, Limit: 10}},
		{` { } `, protocol.Command{Limit: -1}},
		// null is no member.
		{`{"id":null,"ack":null,"connect":{"resume":{"c":null}}}`, protocol.Command{Kind: protocol.Connect, Resume: map[string]history.Position{}, Limit: -1}},
		// What is not known is left alone, also what only looks like something known.
		{`{"id":1,"later":{"id":"x"},"Connect":{},"unsubscribe":{"channel":"c","Channel":5,"\ud800":1,"more":[{}]}}`,
			protocol.Command{ID: 1, Kind: protocol.Unsubscribe, Channel: "c", Limit: -1}},
	} {
		var got protocol.Command
		if err := decode([]byte(test.in), &got); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("decode(%s) = %+v, %v, want %+v", test.in, got, err, test.want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, test := range []struct {
		in   string
		id   uint64
		want string
	}{
		{`{"x":1}`, 0, "unknown command: want one of connect, subscribe, unsubscribe, publish, presence, history, call, refresh, ack"},
		{`{"id":1,"shout":{}}`, 1, "unknown command: want one of"},
		{`{"id":1,"connect":{},"ack":{}}`, 1, "one message holds two commands, connect and ack: want one"},
		{`{"id":1,"connect":{},"connect":{}}`, 1, "one message holds two commands, connect and connect: want one"},
		{`{"id":0,"connect":{}}`, 0, "id is 0: want a whole number from 1 to 9007199254740991"},
		{`{"id":-1,"connect":{}}`, 0, "id is -1: want"},
		{`{"id":1.5,"connect":{}}`, 0, "id is 1.5: want"},
		{`{"id":9007199254740992,"connect":{}}`, 0, "id is 9007199254740992: want"},
		{`{"id":` + strings.Repeat("9", 400) + `,"connect":{}}`, 0, "id is 999999999999999999999999: want"},
		{`{"id":"1","connect":{}}`, 0, "id is a string: want a number"},
		{`{"id":1,"id":2,"connect":{}}`, 1, "id is there twice"},
		{`{"id":1,"connect":5}`, 1, "connect is a number: want an object"},
		{`{"id":1,"connect":null}`, 1, "unknown command: want one of"},
		{`{"id":1,"connect":{"token":{}}}`, 1, "connect.token is an object: want a string"},
		{`{"id":1,"connect":{"resume":[]}}`, 1, "connect.resume is an array: want an object with a position for each channel"},
		{`{"id":1,"connect":{"resume":{"a":1}}}`, 1, `connect.resume."a" is a number: want an object with epoch and offset`},
		{`{"id":1,"connect":{"resume":{"a":{"epoch":"e"}}}}`, 1, `connect.resume."a".offset is missing`},
		{`{"id":1,"connect":{"resume":{"a":{"epoch":"e","offset":1},"\u0061":{"epoch":"e","offset":1}}}}`, 1, `connect.resume has the channel "a" twice`},
		{`{"id":1,"connect":{"resume":{"\udc00":{"epoch":"e","offset":1}}}}`, 1, `connect.resume has a channel whose name has an escape that is half of a surrogate pair`},
		{`{"id":1,"publish":{"channel":"c","data":"AP8","encoding":"base64"}}`, 1, "publish.data is not a string in base64 with padding"},
		{`{"id":1,"publish":{"channel":"c","data":5,"encoding":"base64"}}`, 1, "publish.data is not a string in base64 with padding"},
		{`{"id":1,"publish":{"channel":"c","data":5,"encoding":"gzip"}}`, 1, `publish.encoding is "gzip": want "base64", or leave it out`},
		{`{"id":1,"subscribe":{}}`, 1, "subscribe.channel is missing"},
		{`{"id":1,"subscribe":{"channel":""}}`, 1, "subscribe.channel is empty"},
		{`{"id":1,"subscribe":{"channel":null}}`, 1, "subscribe.channel is missing"},
		{`{"id":1,"subscribe":{"channel":true}}`, 1, "subscribe.channel is a boolean: want a string"},
		{`{"id":1,"subscribe":{"channel":"a\ud800b"}}`, 1, "subscribe.channel has an escape that is half of a surrogate pair"},
		{`{"id":1,"subscribe":{"channel":"a","channel":"b"}}`, 1, "subscribe.channel is there twice"},
		{`{"id":1,"subscribe":{"channel":"a","resume":{"epoch":5,"offset":1}}}`, 1, "subscribe.resume.epoch is a number: want a string"},
		{`{"id":1,"subscribe":{"channel":"a","resume":{"epoch":"e","offset":1e-3}}}`, 1, "subscribe.resume.offset is 1e-3: want a whole number from 0 to 9007199254740991"},
		{`{"id":1,"subscribe":{"channel":"a","resume":"e"}}`, 1, "subscribe.resume is a string: want an object with epoch and offset"},
		{`{"id":1,"publish":{"channel":"a"}}`, 1, "publish.data is missing"},
		{`{"id":1,"presence":{"channel":"a","limit":-1}}`, 1, "presence.limit is -1: want"},
		{`{"id":1,"history":{"channel":"a","reverse":1}}`, 1, "history.reverse is a number: want true or false"},
		{`{"id":1,"call":{"data":1}}`, 1, "call.method is missing"},
		{`{"id":1,"refresh":{}}`, 1, "refresh.token is missing"},
		{`{"id":1,"ack":{"channel":"a","epoch":"e"}}`, 1, "ack.offset is missing"},
	} {
		var c protocol.Command
		err := decode([]byte(test.in), &c)
		var named *memberError
		if !errors.As(err, &named) || !strings.HasPrefix(err.Error(), test.want) || c.ID != test.id {
			t.Errorf("decode(%.80s): id %d, %v; want id %d, %s", test.in, c.ID, err, test.id, test.want)
		}
	}
	for _, in := range []string{"", " ", "[]", "5", `"x"`, "null", "{", "{}{}", `{"id":1}x`, `{"id":01}`, "{'id':1}", strings.Repeat("[", 20000),
		`{"id":1,"call":{"method":"m","data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}}"} {
		if err := decode([]byte(in), new(protocol.Command)); err != protocol.EndMalformed {
			t.Errorf("decode(%.40s) = %v, want protocol.EndMalformed", in, err)
		}
	}
}

// encodeCommand is what a client would send.
func encodeCommand(t *testing.T, c *protocol.Command) []byte {
	t.Helper()
	body := map[string]any{}
	put := func(name, value string) {
		if value != "" {
			body[name] = value
		}
	}
	put("channel", c.Channel)
	put("token", c.Token)
	put("name", c.Name)
	put("method", c.Method)
	put("key", c.Key)
	if c.Data != nil {
		body["data"] = json.RawMessage(c.Data)
	}
	at := func(p history.Position) any { return map[string]any{"epoch": p.Epoch, "offset": p.Offset} }
	if c.HasPosition {
		switch c.Kind {
		case protocol.Subscribe:
			body["resume"] = at(c.Position)
		case protocol.History:
			body["since"] = at(c.Position)
		case protocol.Ack:
			body["epoch"], body["offset"] = c.Position.Epoch, c.Position.Offset
		}
	}
	if c.Resume != nil {
		resume := map[string]any{}
		for name, p := range c.Resume {
			resume[name] = at(p)
		}
		body["resume"] = resume
	}
	if c.Limit >= 0 {
		body["limit"] = c.Limit
	}
	if c.Reverse {
		body["reverse"] = true
	}
	if c.Base64 {
		body["encoding"] = "base64"
	}
	// What is required may be empty.
	for _, m := range commands[c.Kind-1].members {
		if _, there := body[m.name]; !there && m.required {
			body[m.name] = ""
		}
	}
	message := map[string]any{c.Kind.String(): body}
	if c.ID != 0 {
		message["id"] = c.ID
	}
	p, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What is accepted says the same when it is written anew; nothing panics.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"connect":{"token":"t","name":"n","data":{"a":"\""},"resume":{"c":{"epoch":"e","offset":1}}}}`,
		`{"id":2,"history":{"channel":"c","since":{"epoch":"e","offset":9},"limit":3,"reverse":true}}`,
		`{"publish":{"channel":"\ud83d\ude00","data":[1,{"x":"]"}],"key":"k"}}`, `{"ack":{"channel":"c","epoch":"","offset":0}}`,
		`{}`, `{"publish":{"encoding":"base64","data":"AP8=","channel":"c"}}`, `{"id":1,"call":{"method":"\ufffd\\"}}`, ` {"x" : [ { } , 1e9 ] , "refresh" : {"token":""}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if !utf8.Valid(p) {
			return // no WebSocket text
		}
		var c, again protocol.Command
		if err := decode(p, &c); err != nil || c.Kind == 0 {
			var named *memberError
			if err != nil && err != protocol.EndMalformed && !errors.As(err, &named) {
				t.Fatalf("decode(%q): an error of another kind: %v", p, err)
			}
			return
		}
		encoded := encodeCommand(t, &c)
		if err := decode(encoded, &again); err != nil {
			t.Fatalf("decode(%q) is %+v, but %s is refused: %v", p, c, encoded, err)
		}
		if c.Data != nil {
			var a, b any
			if json.Unmarshal(c.Data, &a) == nil && json.Unmarshal(again.Data, &b) == nil && !reflect.DeepEqual(a, b) {
				t.Fatalf("data %s has become %s", c.Data, again.Data)
			}
			if (again.Data == nil) != (c.Data == nil) {
				t.Fatalf("data %s has become %s", c.Data, again.Data)
			}
		}
		c.Data, again.Data = nil, nil
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("%q is %+v, and written anew %+v", p, c, again)
		}
	})
}

// said returns what the codec appends.
func said(say func(out *protocol.Packets)) string {
	var out protocol.Packets
	say(&out)
	text := ""
	out.Each(func(op frame.Opcode, payload []byte) {
		if op != frame.OpText {
			text += "(binary)"
		}
		text += string(payload)
	})
	return text
}

func pub(m protocol.Message) string {
	return said(func(out *protocol.Packets) { Codec{}.Message(out, &m) })
}

func reply(id uint64, kind protocol.Kind, r protocol.Result) string {
	return said(func(out *protocol.Packets) { Codec{}.Reply(out, &protocol.Command{ID: id, Kind: kind}, &r) })
}

func failed(id uint64, e protocol.Error) string {
	return said(func(out *protocol.Packets) { Codec{}.Error(out, id, &e) })
}

func TestPushes(t *testing.T) {
	at := history.Position{Epoch: "x3k9", Offset: 15}
	push := func(say func(c Codec, out *protocol.Packets)) string {
		return said(func(out *protocol.Packets) { say(Codec{}, out) })
	}
	wantAll(t, [][2]string{
		{pub(protocol.Message{Channel: "n", Epoch: "x3k9", Offset: 1, Data: []byte(`1`)}), `{"pub":{"channel":"n","epoch":"x3k9","offset":1,"data":1}}`},
		{pub(protocol.Message{Channel: "n", Offset: 16, Data: []byte(`{"a": 1}`)}), `{"pub":{"channel":"n","offset":16,"data":{"a": 1}}}`},
		{pub(protocol.Message{Channel: "n", Data: []byte(`plain "text"`), Key: "k", From: "ann"}), `{"pub":{"channel":"n","data":"plain \"text\"","key":"k","from":"ann"}}`},
		{pub(protocol.Message{Channel: "n", Data: []byte{0, 255}, Binary: true, From: "ann"}), `{"pub":{"channel":"n","data":"AP8=","encoding":"base64","from":"ann"}}`},
		{pub(protocol.Message{Channel: "n"}), `{"pub":{"channel":"n","data":""}}`},
		{pub(protocol.Message{Channel: "n", Data: []byte("\"a\xff\"")}), `{"pub":{"channel":"n","data":"\"a\ufffd\""}}`},
		{pub(protocol.Message{Data: []byte("5")}), `{"message":{"data":5}}`},
		{push(func(c Codec, out *protocol.Packets) {
			c.Membership(out, &protocol.Membership{Channel: "c", Client: "0-1", User: "ann"})
		}), `{"join":{"channel":"c","client":"0-1","user":"ann"}}`},
		{push(func(c Codec, out *protocol.Packets) {
			c.Membership(out, &protocol.Membership{Channel: "c", Client: "0-1", Left: true})
		}), `{"leave":{"channel":"c","client":"0-1"}}`},
		{push(func(c Codec, out *protocol.Packets) {
			c.Reset(out, "c", history.Position{Epoch: "x3k9", Offset: 7})
		}), `{"reset":{"channel":"c","epoch":"x3k9","offset":7}}`},
		{push(func(c Codec, out *protocol.Packets) { c.Gap(out, "c", "x3k9", 17, 120) }), `{"gap":{"channel":"c","epoch":"x3k9","from":17,"to":120}}`},
		{push(func(c Codec, out *protocol.Packets) {
			c.Subscribed(out, &protocol.ChannelState{Channel: "c", Position: at})
		}), `{"subscribed":{"channel":"c","epoch":"x3k9","offset":15}}`},
		{push(func(c Codec, out *protocol.Packets) { c.Subscribed(out, &protocol.ChannelState{Channel: "c"}) }), `{"subscribed":{"channel":"c"}}`},
		{push(func(c Codec, out *protocol.Packets) {
			c.Unsubscribed(out, "c", &protocol.Error{Code: 102, Message: "gone"})
		}), `{"unsubscribed":{"channel":"c","code":102,"message":"gone"}}`},
		{failed(0, protocol.Error{Code: 105, Message: "bad"}), `{"error":{"code":105,"message":"bad"}}`},
		{failed(7, protocol.Error{Code: 111, Message: "busy", RetryAfter: 1500 * time.Millisecond}), `{"id":7,"error":{"code":111,"message":"busy","retry":1.5}}`},
		{failed(7, protocol.Error{Code: 111, Message: "busy", RetryAfter: time.Nanosecond}), `{"id":7,"error":{"code":111,"message":"busy","retry":0.001}}`},
	})
}

func TestReplies(t *testing.T) {
	at := history.Position{Epoch: "x3k9", Offset: 15}
	expires := func(d time.Duration) protocol.Expiry { return protocol.Expiry{Set: true, Left: d} }
	page := history.Page{Position: history.Position{Epoch: "e", Offset: 3}, Gap: true, Messages: []history.Message{
		{Offset: 1, Time: time.UnixMilli(1700000000000), Payload: []byte(`"aaaaaaaaaa"`), Key: "k", From: "ann"},
		{Offset: 2, Time: time.UnixMilli(1700000000001), Payload: []byte{1}, Type: frame.OpBinary},
	}}
	wantAll(t, [][2]string{
		{reply(1, protocol.Connect, protocol.Result{Connected: protocol.Connected{Client: "0-1"}}), `{"id":1,"connect":{"client":"0-1","ping":0,"limits":{"message":0,"channels":0}}}`},
		{reply(1, protocol.Connect, protocol.Result{Connected: protocol.Connected{
			Client: "0-1", User: "42", Expires: expires(3600*time.Second - 1), Ping: 44100 * time.Millisecond, MessageMaxBytes: 65536, SubscriptionsMax: 8, Data: []byte("[]"),
			Channels: []protocol.ChannelState{{Channel: "user:42", Position: at, Resumed: true, Recovered: true}, {Channel: `a"b`, Resumed: true}, {Channel: "c"}},
		}}), `{"id":1,"connect":{"client":"0-1","user":"42","expires":3599,"ping":45,"limits":{"message":65536,"channels":8},"data":[],"channels":{"user:42":{"epoch":"x3k9","offset":15,"recovered":true},"a\"b":{"recovered":false},"c":{}}}}`},
		{reply(2, protocol.Subscribe, protocol.Result{Channel: protocol.ChannelState{Position: at, Resumed: true}}), `{"id":2,"subscribe":{"epoch":"x3k9","offset":15,"recovered":false}}`},
		{reply(2, protocol.Subscribe, protocol.Result{Channel: protocol.ChannelState{Expires: expires(90500 * time.Millisecond)}}), `{"id":2,"subscribe":{"expires":90}}`},
		{reply(3, protocol.Unsubscribe, protocol.Result{}), `{"id":3,"unsubscribe":{}}`},
		{reply(4, protocol.Publish, protocol.Result{}), `{"id":4,"publish":{}}`},
		{reply(4, protocol.Publish, protocol.Result{Position: at}), `{"id":4,"publish":{"epoch":"x3k9","offset":15}}`},
		{reply(5, protocol.Presence, protocol.Result{}), `{"id":5,"presence":{"clients":0,"members":[]}}`},
		{reply(5, protocol.Presence, protocol.Result{Members: protocol.ChannelMembers{Clients: 3, Truncated: true,
			Members: []protocol.Member{{Client: "0-1", User: "ann", Info: []byte(`{"n":1}`)}, {Client: "0-2"}}}}),
			`{"id":5,"presence":{"clients":3,"members":[{"client":"0-1","user":"ann","info":{"n":1}},{"client":"0-2"}],"truncated":true}}`},
		{reply(6, protocol.History, protocol.Result{Page: page}), `{"id":6,"history":{"epoch":"e","offset":3,"messages":[{"offset":1,"time":1700000000000,"data":"aaaaaaaaaa","key":"k","from":"ann"},{"offset":2,"time":1700000000001,"data":"AQ==","encoding":"base64"}],"gap":true}}`},
		{reply(7, protocol.Call, protocol.Result{}), `{"id":7,"call":{}}`},
		{reply(7, protocol.Call, protocol.Result{Data: []byte("3")}), `{"id":7,"call":{"data":3}}`},
		{reply(8, protocol.Refresh, protocol.Result{Expires: expires(-time.Second)}), `{"id":8,"refresh":{"expires":1}}`},
		{reply(8, protocol.Refresh, protocol.Result{}), `{"id":8,"refresh":{}}`},
	})
}

// wantAll compares what the codec said, pair by pair.
func wantAll(t *testing.T, pairs [][2]string) {
	t.Helper()
	for _, pair := range pairs {
		if got, want := pair[0], pair[1]; got != want {
			t.Errorf("got %s, want %s", got, want)
		} else if !json.Valid([]byte(got)) {
			t.Errorf("%s is not JSON", got)
		}
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	var out protocol.Packets
	m := &protocol.Message{Channel: "news", Offset: 16, Data: []byte(`{"text":"häh"}`), From: "ann"}
	Codec{}.Message(&out, m)
	if n := testing.AllocsPerRun(100, func() { out.Reset(); Codec{}.Message(&out, m) }); n != 0 {
		t.Errorf("Message allocates %v times, want 0", n)
	}
	in := []byte(`{"id":5,"history":{"limit":3,"channel":"c"}}`)
	var c protocol.Command
	if n := testing.AllocsPerRun(100, func() { _ = decode(in, &c) }); n > 1 {
		t.Errorf("decode allocates %v times, want once, for the channel", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(`{"id":5,"publish":{"channel":"chat:general","data":{"text":"hello, is anybody there?","at":1700000000}}}`)
	b.ReportAllocs()
	var c protocol.Command
	for b.Loop() {
		if err := decode(in, &c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	m := &protocol.Message{Channel: "chat:general", Offset: 16, Data: []byte(`{"text":"hello, is anybody there?","at":1700000000}`), From: "ann"}
	b.ReportAllocs()
	var out protocol.Packets
	for b.Loop() {
		out.Reset()
		Codec{}.Message(&out, m)
	}
}
