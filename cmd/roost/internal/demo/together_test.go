package demo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/roostws/roost/server/protocol"
)

// Of what guests publish on the sheet, only what the pages understand is passed on.
func TestTogetherChecksWhatIsPublished(t *testing.T) {
	for _, tc := range []struct {
		channel, data string
		base64        bool
		want          string // empty: refused
	}{
		{channel: "together:sheet", data: `{"update":"AAA="}`, want: `{"update":"AAA="}`},
		{channel: "together:sheet", data: `{"update":"AAA=","upTo":0,"more":1}`, want: `{"update":"AAA=","upTo":0}`},
		{channel: "together:sheet", data: `{"update":"AA","id":"x","part":1,"parts":2}`, want: `{"update":"AA","id":"x","part":1,"parts":2}`},
		{channel: "together:sheet", data: `{"update":"AA","id":"x","part":3,"parts":2}`},
		{channel: "together:sheet", data: `{"update":"AA","id":"x","part":1,"parts":1000000}`},
		{channel: "together:sheet", data: `{"ask":true}`, want: `{"ask":true}`},
		{channel: "together:sheet", data: `{}`},
		{channel: "together:sheet", data: `"AAA="`, base64: true},
		{channel: "together:another", data: `{"update":"AAA="}`},
		{channel: "cursors:sheet", data: `{"x":0.5,"y":7,"colour":3}`, want: `{"x":0.5,"y":7,"colour":3}`},
		{channel: "cursors:sheet", data: `{"x":-1,"y":0,"colour":3,"gone":true}`, want: `{"x":-1,"y":0,"colour":3,"gone":true}`},
		{channel: "cursors:sheet", data: `{"x":1,"caret":"` + strings.Repeat("x", 300) + `"}`},
		{channel: "cursors:sheet", data: `[]`},
	} {
		r := &protocol.PublishRequest{Channel: tc.channel, Data: json.RawMessage(tc.data), Base64: tc.base64}
		err := checkTogether(r)
		if tc.want == "" {
			if err == nil {
				t.Errorf("%s %s was passed on as %s", tc.channel, tc.data, r.Data)
			}
		} else if err != nil || string(r.Data) != tc.want {
			t.Errorf("%s %s = %s, %v; want %s", tc.channel, tc.data, r.Data, err, tc.want)
		}
	}
}
