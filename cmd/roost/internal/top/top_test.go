package top

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// scrape is what a server says that started so long before noon and has delivered
// some messages since.
func scrape(t *testing.T, at time.Time, started time.Duration, delivered int) *Metrics {
	t.Helper()
	text := fmt.Sprintf(`# HELP roost_build_info Always 1.
# TYPE roost_build_info gauge
roost_build_info{engine="epoll",version="v1.2.3"} 1
# TYPE process_start_time_seconds gauge
process_start_time_seconds %d
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 123456789
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total %f
# TYPE roost_connections gauge
roost_connections 123456
# TYPE roost_delivered_total counter
roost_delivered_total %d
# TYPE roost_loop_connections gauge
roost_loop_connections{loop="0"} 61728
roost_loop_connections{loop="1"} 61728
# TYPE roost_loop_subscriptions gauge
roost_loop_subscriptions{loop="0"} 70000
# TYPE roost_loop_delivered_total counter
roost_loop_delivered_total{loop="0"} %[3]d
roost_loop_delivered_total{loop="1"} 7
# TYPE roost_loop_inbox_entries gauge
roost_loop_inbox_entries{loop="1"} 5
# TYPE roost_engine_written_bytes_total counter
roost_engine_written_bytes_total %d
# TYPE roost_lagging gauge
roost_lagging 3
# TYPE roost_stalled gauge
roost_stalled 4
# TYPE roost_publish_seconds histogram
roost_publish_seconds_bucket{le="1.6384e-05"} %d
roost_publish_seconds_bucket{le="0.032768"} %d
roost_publish_seconds_bucket{le="17.179869184"} %d
roost_publish_seconds_bucket{le="+Inf"} %d
roost_publish_seconds_sum 1
roost_publish_seconds_count %d
`, noon.Add(-started).Unix(), float64(delivered)/100_000, delivered, 60*delivered,
		delivered/2, delivered-delivered/50, delivered-delivered/50, delivered, delivered)
	metrics, err := Parse(strings.NewReader(text), at)
	if err != nil {
		t.Fatal(err)
	}
	return metrics
}

// seen is a view after two looks.
func seen(t *testing.T) *View {
	v := NewView("127.0.0.1:8081")
	v.Add(Look{Metrics: scrape(t, noon, 50*time.Hour, 1000), Ready: true})
	look := Look{Metrics: scrape(t, noon.Add(2*time.Second), 50*time.Hour, 25_690), Ready: true, ChannelsAsked: true}
	for i := range 40 {
		look.Channels = append(look.Channels, Channel{fmt.Sprintf("news:%d", i), 40_000 / (i + 1)})
	}
	look.Channels[1].Name = "evil\x1b[2J\n" + strings.Repeat("long", 50)
	look.Channels[2].Name = strings.Repeat("日本", 40)
	v.Add(look)
	return v
}

// The screens as people see them: testdata/*.golden, reviewed as a diff.
// go test -run Screens -update writes them anew.
func TestScreens(t *testing.T) {
	away := seen(t)
	away.Add(Look{Problem: errors.New("Get \"http://127.0.0.1:8081/metrics\": connection refused\nIs there a server?")})
	new := NewView("127.0.0.1:8081")
	new.Add(Look{Problem: errors.New("connection refused")})
	several := seen(t)
	look := several.last
	look.Nodes = []Node{
		{ID: "k3j2h1g5", Name: "a\x1b[2J", Version: "v1.2.0", Connections: 51_200, Since: noon.Add(-50 * time.Hour).UnixMilli(), Self: true},
		{ID: "x7c4m2qa", Version: "v1.3.0", Connections: 7, Since: noon.Add(-time.Minute).UnixMilli()},
	}
	several.Add(look)
	row := seen(t)
	asJSON, err := row.JSON(noon)
	if err != nil {
		t.Fatal(err)
	}
	screen := func(v *View, width, height int) string {
		var b strings.Builder
		lines := v.Screen(width, height)
		if len(lines) > height {
			t.Errorf("%d lines, want at most %d", len(lines), height)
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line.Text); n > width {
				t.Errorf("%d characters, want at most %d: %q", n, width, line.Text)
			}
			fmt.Fprintf(&b, "%d|%s|\n", line.Style, line.Text)
		}
		return b.String()
	}
	for name, got := range map[string]string{
		"80x24":       screen(seen(t), 80, 24),
		"200x20":      screen(seen(t), 200, 20),
		"30x30":       screen(seen(t), 30, 30),
		"nodes-80x40": screen(several, 80, 40),
		"10x3":        screen(seen(t), 10, 3),
		"away-80x24":  screen(away, 80, 24),
		"start-80x24": screen(new, 80, 24),
		"row":         RowTitle() + "\n" + row.Row(noon) + "\n" + away.Row(noon) + "\n",
		"json":        string(asJSON),
	} {
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

// What was counted by the process before is not subtracted from what this one has
// counted.
func TestRestart(t *testing.T) {
	v := seen(t)
	v.Add(Look{Metrics: scrape(t, noon.Add(3*time.Second), -2*time.Second, 50)})
	if rate, quantile := v.looks.rate("roost_delivered_total"), v.looks.quantile("roost_publish_seconds", 0.5); !math.IsNaN(rate) || quantile != 1.6384e-05 {
		t.Errorf("one look after a restart: %v a second, 50 %% %v", rate, quantile)
	}
	v.Add(Look{Metrics: scrape(t, noon.Add(4*time.Second), -2*time.Second, 150)})
	if rate := v.looks.rate("roost_delivered_total"); rate != 100 {
		t.Errorf("two looks after a restart: %v a second, want 100", rate)
	}
}

// Looks are kept for a while, not for ever.
func TestKept(t *testing.T) {
	var l looks
	for i := range 3 * Kept {
		l = l.add(scrape(t, noon.Add(time.Duration(i)*time.Second), time.Hour, i))
	}
	if len(l) != Kept || l.last().at != noon.Add((3*Kept-1)*time.Second) || l[0].at != noon.Add(2*Kept*time.Second) {
		t.Errorf("%d looks, %v to %v", len(l), l[0].at, l.last().at)
	}
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct {
		n          float64
		unit, want string
	}{
		{0, "count", "0"}, {0.25, "count", "0.2"}, {9.96, "count", "10.0"}, {999, "count", "999"}, {1000, "count", "1,000"},
		{999_999, "count", "999,999"}, {1_250_000, "count", "1.2M"}, {2.5e9, "count", "2.5B"}, {math.NaN(), "bytes", "–"},
		{1023, "bytes", "1023 B"}, {1024, "bytes", "1.0 KiB"}, {5 << 40, "bytes", "5120.0 GiB"}, {0.123, "percent", "12 %"},
		{1.6384e-05, "seconds", "≤ 17 µs"}, {0.032768, "seconds", "≤ 33 ms"}, {17.179869184, "seconds", "≤ 17.2 s"}, {math.Inf(1), "seconds", "> 17 s"},
	} {
		if got := format(tc.n, tc.unit); got != tc.want {
			t.Errorf("format(%v, %s) = %q, want %q", tc.n, tc.unit, got, tc.want)
		}
	}
	for d, want := range map[time.Duration]string{59 * time.Second: "59 s", 61 * time.Minute: "1 h 1 min", 50 * time.Hour: "2 d 2 h"} {
		if got := formatAge(d); got != want {
			t.Errorf("formatAge(%v) = %q, want %q", d, got, want)
		}
	}
}
