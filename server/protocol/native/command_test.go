package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDecode(t *testing.T) {
	at := Position{"x3k9", 15}
	for _, test := range []struct {
		in   string
		want Command
	}{
		{`{"id":1,"connect":{}}`, Command{ID: 1, Kind: Connect, Limit: -1}},
		{`{"id":9007199254740991,"connect":{"token":"t","name":"web","data":{"a":[1,"}"]},"resume":{"user:42":{"epoch":"x3k9","offset":15}}}}`,
			Command{ID: 1<<53 - 1, Kind: Connect, Token: "t", Name: "web", Data: []byte(`{"a":[1,"}"]}`), Resume: map[string]Position{"user:42": at}, Limit: -1}},
		{` { "subscribe" : { "channel" : "news" , "resume" : { "offset" : 15 , "epoch" : "x3k9" } } , "id" : 2 } `,
			Command{ID: 2, Kind: Subscribe, Channel: "news", Position: at, HasPosition: true, Limit: -1}},
		{`{"subscribe":{"channel":"a\"b\\\u00e9\ud83d\ude00","token":null,"resume":null}}`, Command{Kind: Subscribe, Channel: "a\"b\\é😀", Limit: -1}},
		{`{"id":3,"unsubscribe":{"channel":"news"}}`, Command{ID: 3, Kind: Unsubscribe, Channel: "news", Limit: -1}},
		{`{"id":4,"publish":{"channel":"chat","data":null,"key":"k"}}`, Command{ID: 4, Kind: Publish, Channel: "chat", Data: []byte("null"), Key: "k", Limit: -1}},
		{`{"id":5,"presence":{"channel":"chat","limit":0}}`, Command{ID: 5, Kind: Presence, Channel: "chat"}},
		{`{"id":6,"history":{"channel":"chat","since":{"epoch":"x3k9","offset":15},"limit":7,"reverse":true}}`,
			Command{ID: 6, Kind: History, Channel: "chat", Position: at, HasPosition: true, Limit: 7, Reverse: true}},
		{`{"id":7,"call":{"method":"add","data":[1,2]}}`, Command{ID: 7, Kind: Call, Method: "add", Data: []byte("[1,2]"), Limit: -1}},
		{`{"id":8,"refresh":{"token":"t","channel":"chat"}}`, Command{ID: 8, Kind: Refresh, Token: "t", Channel: "chat", Limit: -1}},
		{`{"id":9,"ack":{"channel":"chat","epoch":"x3k9","offset":15}}`, Command{ID: 9, Kind: Ack, Channel: "chat", Position: at, HasPosition: true, Limit: -1}},
		// What is not known is left alone, also what only looks like something known.
		{`{"id":1,"later":{"id":"x"},"Connect":{},"unsubscribe":{"channel":"c","Channel":5,"\ud800":1,"more":[{}]}}`,
			Command{ID: 1, Kind: Unsubscribe, Channel: "c", Limit: -1}},
	} {
		var got Command
		if err := Decode([]byte(test.in), &got); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("Decode(%s) = %+v, %v, want %+v", test.in, got, err, test.want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, test := range []struct {
		in   string
		id   uint64
		want string
	}{
		{`{}`, 0, "unknown command: want one of connect, subscribe, unsubscribe, publish, presence, history, call, refresh, ack"},
		{`{"id":1,"shout":{}}`, 1, "unknown command: want one of"},
		{`{"id":1,"connect":{},"ack":{}}`, 1, "one message holds two commands, connect and ack: want one"},
		{`{"id":1,"connect":{},"connect":{}}`, 1, "one message holds two commands, connect and connect: want one"},
		{`{"id":0,"connect":{}}`, 0, "id is 0: want a whole number from 1 to 9007199254740991"},
		{`{"id":-1,"connect":{}}`, 0, "id is -1: want"},
		{`{"id":1.0,"connect":{}}`, 0, "id is 1.0: want"},
		{`{"id":9007199254740992,"connect":{}}`, 0, "id is 9007199254740992: want"},
		{`{"id":` + strings.Repeat("9", 400) + `,"connect":{}}`, 0, "id is 999999999999999999999999: want"},
		{`{"id":"1","connect":{}}`, 0, "id is a string: want a number"},
		{`{"id":null,"connect":{}}`, 0, "id is null: want a number"},
		{`{"id":1,"id":2,"connect":{}}`, 1, "id is there twice"},
		{`{"id":1,"connect":5}`, 1, "connect is a number: want an object"},
		{`{"id":1,"connect":null}`, 1, "connect is null: want an object"},
		{`{"id":1,"connect":{"token":{}}}`, 1, "connect.token is an object: want a string"},
		{`{"id":1,"connect":{"resume":[]}}`, 1, "connect.resume is an array: want an object with a position for each channel"},
		{`{"id":1,"connect":{"resume":{"a":1}}}`, 1, `connect.resume."a" is a number: want an object with epoch and offset`},
		{`{"id":1,"connect":{"resume":{"a":{"epoch":"e"}}}}`, 1, `connect.resume."a".offset is missing`},
		{`{"id":1,"connect":{"resume":{"a":{"epoch":"e","offset":1},"\u0061":{"epoch":"e","offset":1}}}}`, 1, `connect.resume has the channel "a" twice`},
		{`{"id":1,"connect":{"resume":{"\udc00":{"epoch":"e","offset":1}}}}`, 1, `connect.resume has a channel whose name has an escape that is half of a surrogate pair`},
		{`{"id":1,"subscribe":{}}`, 1, "subscribe.channel is missing"},
		{`{"id":1,"subscribe":{"channel":""}}`, 1, "subscribe.channel is empty"},
		{`{"id":1,"subscribe":{"channel":null}}`, 1, "subscribe.channel is missing"},
		{`{"id":1,"subscribe":{"channel":true}}`, 1, "subscribe.channel is a boolean: want a string"},
		{`{"id":1,"subscribe":{"channel":"a\ud800b"}}`, 1, "subscribe.channel has an escape that is half of a surrogate pair"},
		{`{"id":1,"subscribe":{"channel":"a","channel":"b"}}`, 1, "subscribe.channel is there twice"},
		{`{"id":1,"subscribe":{"channel":"a","resume":{"epoch":5,"offset":1}}}`, 1, "subscribe.resume.epoch is a number: want a string"},
		{`{"id":1,"subscribe":{"channel":"a","resume":{"epoch":"e","offset":1e3}}}`, 1, "subscribe.resume.offset is 1e3: want a whole number from 0 to 9007199254740991"},
		{`{"id":1,"subscribe":{"channel":"a","resume":"e"}}`, 1, "subscribe.resume is a string: want an object with epoch and offset"},
		{`{"id":1,"publish":{"channel":"a"}}`, 1, "publish.data is missing"},
		{`{"id":1,"presence":{"channel":"a","limit":-1}}`, 1, "presence.limit is -1: want"},
		{`{"id":1,"history":{"channel":"a","reverse":1}}`, 1, "history.reverse is a number: want true or false"},
		{`{"id":1,"call":{"data":1}}`, 1, "call.method is missing"},
		{`{"id":1,"refresh":{}}`, 1, "refresh.token is missing"},
		{`{"id":1,"ack":{"channel":"a","epoch":"e"}}`, 1, "ack.offset is missing"},
	} {
		var c Command
		err := Decode([]byte(test.in), &c)
		var named *Error
		if !errors.As(err, &named) || !strings.HasPrefix(err.Error(), test.want) || c.ID != test.id {
			t.Errorf("Decode(%.80s): id %d, %v; want id %d, %s", test.in, c.ID, err, test.id, test.want)
		}
	}
	for _, in := range []string{"", " ", "[]", "5", `"x"`, "null", "{", "{}{}", `{"id":1}x`, `{"id":01}`, "{'id':1}", strings.Repeat("[", 20000),
		`{"id":1,"call":{"method":"m","data":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}}"} {
		if err := Decode([]byte(in), new(Command)); err != ErrNotObject {
			t.Errorf("Decode(%.40s) = %v, want ErrNotObject", in, err)
		}
	}
}

func TestKindString(t *testing.T) {
	if got := Kind(0).String() + " " + Ack.String() + " " + Kind(10).String(); got != "unknown ack unknown" {
		t.Errorf("got %q", got)
	}
}

// encodeCommand is what a client would send.
func encodeCommand(t *testing.T, c *Command) []byte {
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
	at := func(p Position) any { return map[string]any{"epoch": p.Epoch, "offset": p.Offset} }
	if c.HasPosition {
		switch c.Kind {
		case Subscribe:
			body["resume"] = at(c.Position)
		case History:
			body["since"] = at(c.Position)
		case Ack:
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
		`{}`, `{"id":1,"call":{"method":"\ufffd\\"}}`, ` {"x" : [ { } , 1e9 ] , "refresh" : {"token":""}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if !utf8.Valid(p) {
			return // no WebSocket text
		}
		var c, again Command
		if err := Decode(p, &c); err != nil {
			var named *Error
			if err != ErrNotObject && !errors.As(err, &named) {
				t.Fatalf("Decode(%q): an error of another kind: %v", p, err)
			}
			return
		}
		encoded := encodeCommand(t, &c)
		if err := Decode(encoded, &again); err != nil {
			t.Fatalf("Decode(%q) is %+v, but %s is refused: %v", p, c, encoded, err)
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

// Whatever the text, it arrives, or as near as UTF-8 can come.
func FuzzAppendText(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "é😀\u2028", "a\xffb\xc3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendText(nil, s)
		var got string
		if err := json.Unmarshal(quoted, &got); err != nil || got != strings.ToValidUTF8(s, "\uFFFD") && utf8.ValidString(s) {
			t.Fatalf("%q became %s, which is %q, %v", s, quoted, got, err)
		}
		if !bytes.Equal(quoted, appendText(nil, []byte(s))) {
			t.Fatal("a string and its bytes differ")
		}
	})
}

func TestAppend(t *testing.T) {
	at := Position{"x3k9", 15}
	for _, test := range []struct {
		got  []byte
		want string
	}{
		{AppendPub(nil, &Pub{Channel: "n", Offset: 16, Data: []byte(`{"a": 1}`)}), `{"pub":{"channel":"n","offset":16,"data":{"a": 1}}}`},
		{AppendPub(nil, &Pub{Channel: "n", Data: []byte(`plain "text"`), Key: "k", From: "ann"}), `{"pub":{"channel":"n","data":"plain \"text\"","key":"k","from":"ann"}}`},
		{AppendPub(nil, &Pub{Channel: "n", Data: []byte{0, 255}, Binary: true, From: "ann"}), `{"pub":{"channel":"n","data":"AP8=","encoding":"base64","from":"ann"}}`},
		{AppendPub(nil, &Pub{Channel: "n"}), `{"pub":{"channel":"n","data":""}}`},
		{AppendPub(nil, &Pub{Channel: "n", Data: []byte("\"a\xff\"")}), `{"pub":{"channel":"n","data":"\"a\ufffd\""}}`},
		{AppendMessage(nil, []byte("5"), false), `{"message":{"data":5}}`},
		{AppendJoin(nil, "c", "0-1", "ann"), `{"join":{"channel":"c","client":"0-1","user":"ann"}}`},
		{AppendLeave(nil, "c", "0-1", ""), `{"leave":{"channel":"c","client":"0-1"}}`},
		{AppendGap(nil, "c", "x3k9", 17, 120), `{"gap":{"channel":"c","epoch":"x3k9","from":17,"to":120}}`},
		{AppendSubscribed(nil, "c", at), `{"subscribed":{"channel":"c","epoch":"x3k9","offset":15}}`},
		{AppendSubscribed(nil, "c", Position{}), `{"subscribed":{"channel":"c"}}`},
		{AppendUnsubscribed(nil, "c", 102, "gone"), `{"unsubscribed":{"channel":"c","code":102,"message":"gone"}}`},
		{AppendError(nil, 0, 105, "bad", 0), `{"error":{"code":105,"message":"bad"}}`},
		{AppendError(nil, 7, 111, "busy", 1500*time.Millisecond), `{"id":7,"error":{"code":111,"message":"busy","retry":1.5}}`},
		{AppendError(nil, 7, 111, "busy", time.Nanosecond), `{"id":7,"error":{"code":111,"message":"busy","retry":0.001}}`},
		{AppendConnected(nil, 1, &Connected{Client: "0-1"}), `{"id":1,"connect":{"client":"0-1","ping":0}}`},
		{AppendConnected(nil, 1, &Connected{Client: "0-1", User: "42", HasExpires: true, Expires: 3600*time.Second - 1, Ping: 44100 * time.Millisecond, Data: []byte("[]"),
			Channels: []ChannelState{{Channel: "user:42", Position: at, Resumed: true, Recovered: true}, {Channel: `a"b`, Resumed: true}, {Channel: "c"}}}),
			`{"id":1,"connect":{"client":"0-1","user":"42","expires":3599,"ping":45,"data":[],"channels":{"user:42":{"epoch":"x3k9","offset":15,"recovered":true},"a\"b":{"recovered":false},"c":{}}}}`},
		{AppendSubscribe(nil, 2, &ChannelState{Position: at, Resumed: true}), `{"id":2,"subscribe":{"epoch":"x3k9","offset":15,"recovered":false}}`},
		{AppendSubscribe(nil, 2, &ChannelState{Expires: 90500 * time.Millisecond}), `{"id":2,"subscribe":{"expires":90}}`},
		{AppendDone(nil, 3, Unsubscribe), `{"id":3,"unsubscribe":{}}`},
		{AppendPublish(nil, 4, Position{}), `{"id":4,"publish":{}}`},
		{AppendPublish(nil, 4, at), `{"id":4,"publish":{"epoch":"x3k9","offset":15}}`},
		{AppendPresence(nil, 5, 0, nil, false), `{"id":5,"presence":{"clients":0,"members":[]}}`},
		{AppendPresence(nil, 5, 3, []Member{{"0-1", "ann", []byte(`{"n":1}`)}, {"0-2", "", nil}}, true),
			`{"id":5,"presence":{"clients":3,"members":[{"client":"0-1","user":"ann","info":{"n":1}},{"client":"0-2"}],"truncated":true}}`},
		{AppendCall(nil, 7, nil), `{"id":7,"call":{}}`},
		{AppendCall(nil, 7, []byte("3")), `{"id":7,"call":{"data":3}}`},
		{AppendRefresh(nil, 8, -time.Second, true), `{"id":8,"refresh":{"expires":0}}`},
		{AppendRefresh(nil, 8, 0, false), `{"id":8,"refresh":{}}`},
	} {
		if string(test.got) != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
		if !json.Valid(test.got) {
			t.Errorf("%s is not JSON", test.got)
		}
	}
}

// A history reply is cut to what may be sent at once, but never to nothing.
func TestAppendHistory(t *testing.T) {
	page := Page{Position: Position{"e", 3}, Gap: true, Messages: []PageMessage{
		{Offset: 1, Time: 1700000000000, Data: []byte(`"aaaaaaaaaa"`), Key: "k", From: "ann"},
		{Offset: 2, Time: 1700000000001, Data: []byte{1}, Binary: true},
	}}
	first := `{"id":6,"history":{"epoch":"e","offset":3,"messages":[{"offset":1,"time":1700000000000,"data":"aaaaaaaaaa","key":"k","from":"ann"}`
	second := `,{"offset":2,"time":1700000000001,"data":"AQ==","encoding":"base64"}`
	if got, want := string(AppendHistory(nil, 6, &page, math.MaxInt)), first+second+`],"gap":true}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(AppendHistory(nil, 6, &page, 1)), first+`],"more":true,"gap":true}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 1024)
	pub := &Pub{Channel: "news", Offset: 16, Data: []byte(`{"text":"häh"}`), From: "ann"}
	if n := testing.AllocsPerRun(100, func() { AppendPub(dst, pub) }); n != 0 {
		t.Errorf("AppendPub allocates %v times, want 0", n)
	}
	in := []byte(`{"id":5,"history":{"limit":3,"channel":"c"}}`)
	var c Command
	if n := testing.AllocsPerRun(100, func() { _ = Decode(in, &c) }); n > 1 {
		t.Errorf("Decode allocates %v times, want once, for the channel", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(`{"id":5,"publish":{"channel":"chat:general","data":{"text":"hello, is anybody there?","at":1700000000}}}`)
	b.ReportAllocs()
	var c Command
	for b.Loop() {
		if err := Decode(in, &c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPub(b *testing.B) {
	pub := &Pub{Channel: "chat:general", Offset: 16, Data: []byte(`{"text":"hello, is anybody there?","at":1700000000}`), From: "ann"}
	b.ReportAllocs()
	var dst []byte
	for b.Loop() {
		dst = AppendPub(dst[:0], pub)
	}
}
