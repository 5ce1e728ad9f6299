package pusher

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/roostws/roost/server/protocol"
)

// Whatever a client sends is read or refused, and what is said about it is JSON.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		pingText, `{"event":"pusher:subscribe","data":{"channel":"presence-x","auth":"k:s","channel_data":"{\"user_id\":1}"}}`,
		`{"event":"pusher:subscribe","data":"{\"channel\":\"x\"}"}`, `{"event":"client-x","channel":"private-x","data":[1,{"a":null}]}`,
		`{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{}"}}`, `{"event":null}`, `[]`, "{\"event\":\"\xff\"}", `{"event":"\ud800"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		k, ok := parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the message was changed")
		}
		if !ok {
			return
		}
		if k.data != nil && !json.Valid(k.data) {
			t.Errorf("data %q is not JSON", k.data)
		}
		if r, ok := k.request(); ok {
			for _, text := range []string{r.channelData, r.userData} {
				if json.Valid([]byte(text)) && len(text) > 0 && text[0] == '{' {
					textOf([]byte(text), "user_id")
					memberOf([]byte(text), "user_info")
				}
			}
		}
		if p := appendPacket(nil, k.event, k.channel, k.data); !json.Valid(p) {
			t.Errorf("%q is not JSON", p)
		}
	})
}

// Whatever is published in a channel of an app reaches its clients as JSON.
func FuzzMessage(f *testing.F) {
	p, err := New(Options{Apps: []App{{ID: "1", Key: "k", Secret: "s"}}})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{`{"event":"e","data":"x"}`, `{"event":"e"`, `{"event":`, "x", ``, `{}`, "\xff"} {
		f.Add("pusher:1/news", []byte(text), false)
	}
	f.Add("pusher-presence:1/presence-x", []byte{0}, true)
	f.Fuzz(func(t *testing.T, channel string, data []byte, binary bool) {
		var out protocol.Packets
		p.Message(&out, &protocol.Message{Channel: channel, Data: data, Binary: binary})
		if b := out.Begin(); !json.Valid(b) {
			t.Errorf("%q in %q is told as %q", data, channel, b)
		}
	})
}
