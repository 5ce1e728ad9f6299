package counters

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// Every counter is in the table, under a name of its own.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for c, info := range table {
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*[a-z0-9]$`).MatchString(info.Name) || names[info.Name] || strings.HasSuffix(info.Name, "_total") {
			t.Errorf("counter %d is called %q", c, info.Name)
		}
		if names[info.Name] = true; info.Help == "" || strings.ToUpper(info.Help[:1]) == info.Help[:1] && !strings.HasPrefix(info.Help, "TLS") && !strings.HasPrefix(info.Help, "WebSocket") || strings.HasSuffix(info.Help, ".") {
			t.Errorf("%s is described as %q: want a noun phrase", info.Name, info.Help)
		}
	}
}

func TestLoop(t *testing.T) {
	var l Loop
	var shared Shared
	l.Inc(Connections)
	l.Add(Delivered, 5)
	l.Inc(Panics) // the last one
	l.Set(JournalBytes, 100)
	l.Set(JournalBytes, 70)
	shared.Inc(Panics)
	sums := func() Stats {
		var s Sum
		s.AddLoop(&l)
		s.AddShared(&shared)
		s[EngineWakes] = 9
		return s.Stats()
	}
	if got := sums(); got.Get("connections") != 0 || got.Get("panics") != 1 {
		t.Errorf("before Publish: %+v", got)
	}
	l.Publish()
	l.Add(Connections, -1) // of the next turn
	want := map[string]int64{"connections": 1, "delivered": 5, "panics": 2, "journal_bytes": 70, "engine_wakes": 9}
	for _, s := range sums() {
		if s.Value != want[s.Name] {
			t.Errorf("%s is %d, want %d", s.Name, s.Value, want[s.Name])
		}
	}
	l.Publish()
	if got := sums().Get("connections"); got != 0 || l.Get(Delivered) != 5 {
		t.Errorf("after the next Publish: %d connections", got)
	}
}

func TestJSON(t *testing.T) {
	stats := Stats{{Info{"a", Gauge, "x"}, -3}, {Info{"b_c", Total, "x"}, 1 << 60}}
	got, err := json.Marshal(stats)
	if want := `{"a":-3,"b_c":1152921504606846976}`; string(got) != want || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if got, _ := json.Marshal(Stats{}); string(got) != "{}" {
		t.Errorf("no counters are %s", got)
	}
}

// A misspelt name is a bug of the program that asks.
func TestUnknownName(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Stats{}.Get("conections")
}
