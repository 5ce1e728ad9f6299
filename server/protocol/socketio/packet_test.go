package socketio

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/roostws/roost/server/protocol"
)

// The examples of the protocol's description, and what its parser refuses.
func TestParse(t *testing.T) {
	for _, test := range []struct {
		in   string
		want packet
	}{
		{`0`, packet{kind: '0', namespace: "/"}},
		{`0/admin,{"token":"123"}`, packet{kind: '0', namespace: "/admin", data: []byte(`{"token":"123"}`)}},
		{`0/admin`, packet{kind: '0', namespace: "/admin"}},
		{`1/admin,`, packet{kind: '1', namespace: "/admin"}},
		{`2["foo"]`, packet{kind: '2', namespace: "/", data: []byte(`["foo"]`)}},
		{`2/admin,["bar"]`, packet{kind: '2', namespace: "/admin", data: []byte(`["bar"]`)}},
		{`212["foo"]`, packet{kind: '2', namespace: "/", id: 12, hasID: true, data: []byte(`["foo"]`)}},
		{`3/admin,13["bar"]`, packet{kind: '3', namespace: "/admin", id: 13, hasID: true, data: []byte(`["bar"]`)}},
		{`51-["baz",{"_placeholder":true,"num":0}]`, packet{kind: '5', namespace: "/", attachments: 1, data: []byte(`["baz",{"_placeholder":true,"num":0}]`)}},
		{`52-/admin,1["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`,
			packet{kind: '5', namespace: "/admin", attachments: 2, id: 1, hasID: true, data: []byte(`["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)}},
		{`61-15["bar",{"_placeholder":true,"num":0}]`, packet{kind: '6', namespace: "/", attachments: 1, id: 15, hasID: true, data: []byte(`["bar",{"_placeholder":true,"num":0}]`)}},
	} {
		if got, err := parse([]byte(test.in), 64); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("parse(%s) = %+v, %v, want %+v", test.in, got, err, test.want)
		}
	}
	for _, in := range []string{"", "7", "999", `442["some","data"`, `0/admin,"invalid"`, `0[]`, `1/admin,{}`, `2/admin,"invalid`, `2/admin,{}`, `2[{"toString":"foo"}]`, `2["connect"]`,
		`2[true,"foo"]`, `2[null,"bar"]`, `5`, `5-["a"]`, `51`, `51.1-["a"]`, `5-1-["a"]`, `5x-["a"]`, `511-["a"]`, `3[]`, `4"why"`, `2[[[["a"]]]]`} {
		if got, err := parse([]byte(in), 2); err == nil {
			t.Errorf("parse(%s) = %+v, want an error", in, got)
		}
	}
}

// Whatever is parsed can be written again and says the same; whatever the arguments hold,
// they can be emitted as they are.
func FuzzParse(f *testing.F) {
	for _, in := range []string{`2["foo",{"a":[1,{"_placeholder":true,"num":0}]}]`, `52-/admin,1["baz",{"_placeholder":true,"num":0},{"num":1,"_placeholder":true}]`, `0/x?y=z,{}`, `3/a,5[null]`,
		`42["\ud800",{"_placeholder":true,"num":1e1}]`, `51-["_placeholder",{"_placeholder":false,"num":0}]`} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := parse(in, 64)
		if err != nil {
			return
		}
		var id *uint64
		if k.hasID {
			id = &k.id
		}
		kind := k.kind
		if k.attachments > 0 {
			kind -= typeBinaryEvent - typeEvent // appendHead makes it binary again
		}
		if k.kind >= typeBinaryEvent && k.attachments == 0 {
			return // written as what it is, a packet without attachments
		}
		again, err := parse(append(appendHead(nil, kind, k.namespace, k.attachments, id)[1:], k.data...), 64)
		if err != nil || !reflect.DeepEqual(again, k) {
			t.Fatalf("parse(%q) = %+v, then %+v, %v", in, k, again, err)
		}
		if k.kind != typeEvent && k.kind != typeBinaryEvent || k.attachments > 0 && !checkPlaceholders(k.data, k.attachments) {
			return
		}
		var blobs [][]byte
		for i := range k.attachments {
			blobs = append(blobs, []byte{byte(i), 0xff})
		}
		name, _ := eventName(k.data)
		args := values(k.data, blobs, 1)
		m, err := newMessage(name, anys(args))
		if err != nil || !json.Valid(m.data) || len(m.blobs) > 0 && !checkPlaceholders(m.data, len(m.blobs)) {
			t.Fatalf("%q cannot be emitted: %s, %v", in, m.data, err)
		}
		for _, a := range args {
			var v any
			if err := a.Decode(&v); len(k.data) < 1<<10 && err != nil && len(blobs) > 0 {
				t.Fatalf("%s cannot be decoded: %v", a.raw, err)
			}
		}
	})
}

// Binary data goes through a publication as it is; a binary message that is none of ours
// is the argument of an event.
func TestBinaryPublications(t *testing.T) {
	m, err := newMessage("e", []any{[]byte{1}, map[string]any{"x": 2}, []byte{}})
	if err != nil {
		t.Fatal(err)
	}
	got := func(payload []byte, binary bool) (packets []string) {
		var out protocol.Packets
		New(Options{}).Message(&out, &protocol.Message{Channel: Channel("/chat", "a"), Data: payload, Binary: binary})
		f := protocol.Prepare(func(o *protocol.Packets) { *o = out })
		for run := f.Bytes(); len(run) > 0; {
			n := 2 + int(run[1])
			packets = append(packets, string(run[2:n]))
			run = run[n:]
		}
		return packets
	}
	for _, test := range []struct {
		payload []byte
		binary  bool
		want    []string
	}{
		{m.appendBinary(nil), true, []string{`452-/chat,["e",{"_placeholder":true,"num":0},{"x":2},{"_placeholder":true,"num":1}]`, "\x01", ""}},
		{[]byte{9, 9}, true, []string{`451-/chat,["message",{"_placeholder":true,"num":0}]`, "\x09\x09"}},
		{nil, true, []string{`451-/chat,["message",{"_placeholder":true,"num":0}]`, ""}},
		{[]byte(`["e",1]`), false, []string{`42/chat,["e",1]`}},
		{[]byte(`["connect"]`), false, []string{`42/chat,["message",["connect"]]`}},
		{[]byte(`plain "text"`), false, []string{`42/chat,["message","plain \"text\""]`}},
	} {
		if packets := got(test.payload, test.binary); !reflect.DeepEqual(packets, test.want) {
			t.Errorf("%q: %q, want %q", test.payload, packets, test.want)
		}
	}
	var data []byte
	v := values([]byte(`["e",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]`), [][]byte{{1, 2}, {3}}, 1)
	if err := v[0].Decode(&data); err != nil || !bytes.Equal(data, []byte{1, 2}) {
		t.Errorf("got %v, %v", data, err)
	}
	var nested struct{ Deep [][]byte }
	if err := v[1].Decode(&nested); err != nil || len(nested.Deep) != 1 || !bytes.Equal(nested.Deep[0], []byte{3}) {
		t.Errorf("got %v, %v", nested, err)
	}
}
