package jsonx

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever the text, it arrives, or as near as UTF-8 can come.
func FuzzAppendText(f *testing.F) {
	for _, seed := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "é😀\u2028", "a\xffb\xc3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		quoted := AppendText(nil, s)
		var got string
		if err := json.Unmarshal(quoted, &got); err != nil || got != strings.ToValidUTF8(s, "\uFFFD") && utf8.ValidString(s) {
			t.Fatalf("%q became %s, which is %q, %v", s, quoted, got, err)
		}
		if !bytes.Equal(quoted, AppendText(nil, []byte(s))) {
			t.Fatal("a string and its bytes differ")
		}
	})
}

// Whatever number JSON allows, it is taken if it is whole and in the range.
func FuzzInteger(f *testing.F) {
	for _, seed := range []string{"0", "-0.0e0", "16.0", "1e1", "1.60e+1", "160E-1", "0.5e1", "1.5", "1e-1", "9007199254740991", "9007199254740991.0",
		"9007199254740992", "9007199254740991.4", "1e400", "1e-400", "0e999999999999999999999", "1e999999999999999999999", "100000000000000000000e-19", "0.00001e5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) || Kind([]byte(text)) != "a number" || strings.TrimSpace(text) != text {
			return
		}
		got, err := Integer([]byte(text), 1)
		if _, exponent, _ := strings.Cut(strings.ToLower(text), "e"); len(exponent) > 4 {
			return // too much for the oracle
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s is no number to math/big", text)
		}
		want := exact.IsInt() && exact.Num().Sign() > 0 && exact.Num().IsInt64() && exact.Num().Int64() <= MaxInteger
		if (err == nil) != want {
			t.Errorf("Integer(%s) = %d, %v; taken should be %v", text, got, err, want)
		} else if want && got != exact.Num().Uint64() {
			t.Errorf("Integer(%s) = %d, want %s", text, got, exact.Num())
		}
	})
}

func TestDepth(t *testing.T) {
	for text, want := range map[string]int{
		`5`: 0, `"[[{{\"["`: 0, `{}`: 1, `[[],{"a":[1]}]`: 3, `[1,[2,[3]],[4]]`: 3,
		strings.Repeat("[", 5000) + strings.Repeat("]", 5000): 5000, "": 0, `]]]]`: 0, `"`: 0, `"\\`: 0,
	} {
		if got := Depth([]byte(text)); got != want {
			t.Errorf("Depth(%.40s) = %d, want %d", text, got, want)
		}
	}
}

func TestInt(t *testing.T) {
	for text, want := range map[string]Int{
		"0": 0, "-0": 0, "5": 5, "5.0": 5, "5.000": 5, "0.5e1": 5, "1e1": 10, "1E+1": 10, "50e-1": 5, "-3.0": -3,
		"9007199254740993": 9007199254740993, "9.007199254740992e15": 9007199254740992, "1e16": 1e16, "null": 7,
	} {
		got := Int(7)
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0.5", "1e-1", "1e19", "1e300", "1e999", `"5"`, "true", "[]", "{}", "92233720368547758070"} {
		var got Int
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is taken as %d", text, got)
		}
	}
}
