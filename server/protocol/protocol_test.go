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

// A presence reply is cut to what may be sent at once.
func TestMembersAreCut(t *testing.T) {
	m := ChannelMembers{Clients: 3, Members: []Member{{Client: "a"}, {Client: "b", Info: make([]byte, 1000)}, {Client: "c"}}}
	m.cut(2000)
	if len(m.Members) != 3 || m.Truncated {
		t.Errorf("%d members of little were left, truncated %v", len(m.Members), m.Truncated)
	}
	m.cut(1000)
	if len(m.Members) != 1 || !m.Truncated || m.Clients != 3 {
		t.Errorf("%d members were left, of %d, truncated %v", len(m.Members), m.Clients, m.Truncated)
	}
}
