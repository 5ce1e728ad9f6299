package protocol

import "testing"

func TestKindString(t *testing.T) {
	if got := Kind(0).String() + " " + Ack.String() + " " + Kind(10).String(); got != "unknown ack unknown" {
		t.Errorf("got %q", got)
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"news", "news", true}, {"news", "news:1", false}, {"news:*", "news:1", true}, {"news:*", "news:", true},
		{"news:*", "news", false}, {"*", "anything", true}, {"a*b", "a*b", true}, {"a*b", "axb", false}, {"", "", true},
	} {
		if got := Covers([]string{"other", test.pattern}, test.name); got != test.want {
			t.Errorf("Covers(%q, %q) = %v, want %v", test.pattern, test.name, got, test.want)
		}
	}
}
