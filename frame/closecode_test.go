package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// TestCloseCodeValid compares all 65,536 codes with gobwas/ws, which knows RFC
// 6455 only. IANA has registered 1012, 1013 and 1014 since; on 5000 and above,
// which section 7.4.2 leaves undefined, the oracle is laxer.
func TestCloseCodeValid(t *testing.T) {
	for i := range 1 << 16 {
		code := CloseCode(i)
		want := ws.CheckCloseFrameData(ws.StatusCode(i), "") == nil
		if i >= 1012 && i <= 1014 {
			want = true
		}
		if i >= 5000 {
			want = false
		}
		if got := code.Valid(); got != want {
			t.Errorf("CloseCode(%d).Valid() = %v, want %v", i, got, want)
		}
	}
}

func TestCloseCodeString(t *testing.T) {
	for code, want := range map[CloseCode]string{
		CloseNormal:       "1000 (normal closure)",
		CloseNoStatus:     "1005 (no status received)",
		CloseUnauthorized: "3000 (unauthorized)",
		4711:              "4711",
	} {
		if got := code.String(); got != want {
			t.Errorf("CloseCode(%d).String() = %q, want %q", uint16(code), got, want)
		}
	}
}

func TestParseClose(t *testing.T) {
	tests := []struct {
		name    string
		payload string
		code    CloseCode
		reason  string
		errCode CloseCode
	}{
		{"7.1.5 no code", "", CloseNoStatus, "", 0},
		{"5.5.1 one byte", "\x03", 0, "", CloseProtocolError},
		{"normal", "\x03\xe8", CloseNormal, "", 0},
		{"normal with a reason", "\x03\xe8bye", CloseNormal, "bye", 0},
		{"private", "\x0f\xa0\u20ac", 4000, "\u20ac", 0},
		{"7.4.1 1004 is reserved", "\x03\xec", 0, "", CloseProtocolError},
		{"7.4.1 1005 must not be sent", "\x03\xed", 0, "", CloseProtocolError},
		{"7.4.1 1006 must not be sent", "\x03\xee", 0, "", CloseProtocolError},
		{"7.4.1 1015 must not be sent", "\x03\xf7", 0, "", CloseProtocolError},
		{"7.4.2 999", "\x03\xe7", 0, "", CloseProtocolError},
		{"7.4.2 not registered", "\x07\xd0", 0, "", CloseProtocolError},
		{"7.4.2 5000", "\x13\x88", 0, "", CloseProtocolError},
		{"5.5.1 reason is not UTF-8", "\x03\xe8\xff", 0, "", CloseInvalidPayload},
		{"5.5.1 reason is cut in a character", "\x03\xe8\xe2\x82", 0, "", CloseInvalidPayload},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, reason, err := ParseClose([]byte(tt.payload))
			if code != tt.code || string(reason) != tt.reason || CloseCodeOf(err) != tt.errCode {
				t.Errorf("ParseClose(%q) = %v, %q, %v, want %v, %q, error code %v", tt.payload, code, reason, err, tt.code, tt.reason, tt.errCode)
			}
			if (err != nil) != (tt.errCode != 0) {
				t.Errorf("ParseClose(%q) error = %v", tt.payload, err)
			}
		})
	}
}

func TestAppendClose(t *testing.T) {
	long := strings.Repeat("\u20ac", 50) // 150 bytes; 41 characters are 123
	tests := []struct {
		name   string
		code   CloseCode
		reason string
		want   string
	}{
		{"no status is an empty payload", CloseNoStatus, "ignored", "\x88\x00"},
		{"a code that must not be sent is an empty payload", CloseAbnormal, "ignored", "\x88\x00"},
		{"zero is an empty payload", 0, "ignored", "\x88\x00"},
		{"no reason", CloseGoingAway, "", "\x88\x02\x03\xe9"},
		{"reason", CloseNormal, "bye", "\x88\x05\x03\xe8bye"},
		{"reason of 123 bytes", CloseNormal, strings.Repeat("x", 123), "\x88\x7d\x03\xe8" + strings.Repeat("x", 123)},
		{"reason of 124 bytes", CloseNormal, strings.Repeat("x", 124), "\x88\x7d\x03\xe8" + strings.Repeat("x", 123)},
		{"cut between characters, full", CloseNormal, long, "\x88\x7d\x03\xe8" + long[:123]},
		{"cut between characters, one byte short", CloseNormal, "x" + long, "\x88\x7b\x03\xe8x" + long[:120]},
		{"cut between characters, two bytes short", CloseNormal, "xx" + long, "\x88\x7c\x03\xe8xx" + long[:120]},
		{"not UTF-8", CloseNormal, "a\xffb", "\x88\x07\x03\xe8a\uFFFDb"},
		{"not UTF-8, nothing but continuation bytes", CloseNormal, strings.Repeat("\x80", 200), "\x88\x05\x03\xe8\uFFFD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := AppendClose([]byte("before"), tt.code, tt.reason)
			if string(got) != "before"+tt.want {
				t.Errorf("AppendClose(%v, %q) = %q, want %q", tt.code, tt.reason, got[6:], tt.want)
			}
		})
	}
}

func TestCloseCodeOf(t *testing.T) {
	tests := []struct {
		err  error
		want CloseCode
	}{
		{nil, 0},
		{io.EOF, 0},
		{&CloseError{Code: CloseGoingAway}, CloseGoingAway},
		{fmt.Errorf("read: %w", errTextUTF8), CloseInvalidPayload},
		{fmt.Errorf("read: %w", &CloseError{CloseNormal, "bye"}), CloseNormal},
	}
	for _, tt := range tests {
		if got := CloseCodeOf(tt.err); got != tt.want {
			t.Errorf("CloseCodeOf(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
	var closed *CloseError
	if err := error(errTextUTF8); errors.As(err, &closed) {
		t.Error("a verdict of ours passes for a close of the peer's")
	}
}

func TestErrorTexts(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{errMaskMissing, "frame: 1002 (protocol error): frame from a client is not masked"},
		{&CloseError{Code: CloseGoingAway}, "frame: peer closed: 1001 (going away)"},
		{&CloseError{4000, "kicked"}, `frame: peer closed: 4000: "kicked"`},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}

// FuzzClose: what ParseClose takes, gobwas/ws takes too (1012 to 1014 aside,
// see TestCloseCodeValid) and AppendClose gives back. The oracle is laxer on a
// payload of one byte and on codes of 5000 and more.
func FuzzClose(f *testing.F) {
	for _, s := range []string{"", "\x03", "\x03\xe8", "\x03\xe8bye", "\x03\xf4", "\x0f\xa0\xff", "\xff\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		payload = payload[:min(len(payload), maxControlBytes)]
		code, reason, err := ParseClose(payload)
		if len(payload) < 2 {
			if (err == nil) != (len(payload) == 0) {
				t.Fatalf("ParseClose(%x) = %v", payload, err)
			}
			return
		}
		ocode, oreason := ws.ParseCloseFrameData(payload)
		oerr := ws.CheckCloseFrameData(ocode, oreason)
		if ocode >= 1012 && ocode <= 1014 && utf8.ValidString(oreason) {
			oerr = nil
		}
		if (err == nil) != (oerr == nil && ocode < 5000) {
			t.Fatalf("ParseClose(%x) = %v, %q, %v, the oracle says %v", payload, code, reason, err, oerr)
		}
		if err != nil {
			return
		}
		got := AppendClose(nil, code, string(reason))
		if want := AppendFrame(nil, OpClose, payload); !bytes.Equal(got, want) {
			t.Fatalf("AppendClose(ParseClose(%x)) = %x", payload, got)
		}
	})
}
