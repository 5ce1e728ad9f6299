package jsonx

import (
	"encoding/json"
	"testing"
)

func TestInt(t *testing.T) {
	for text, want := range map[string]Int{
		"0": 0, "-0": 0, "5": 5, "5.0": 5, "5.000": 5, "0.5e1": 5, "1e1": 10, "1E+1": 10, "50e-1": 5, "-3.0": -3,
		"9007199254740993": 9007199254740993, "9.007199254740992e15": 9007199254740992, "null": 7,
	} {
		got := Int(7)
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"0.5", "1e-1", "1e16", "1e300", "1e999", `"5"`, "true", "[]", "{}", "92233720368547758070"} {
		var got Int
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s is taken as %d", text, got)
		}
	}
}
