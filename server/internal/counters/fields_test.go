package counters

import (
	"reflect"
	"testing"
	"time"
)

func TestOfFields(t *testing.T) {
	type kind string
	got := OfFields("part", struct {
		TLSErrors   uint64          `help:"errors"`
		Waiting     int64           `gauge:"yes" help:"jobs that wait"`
		KeySet      time.Time       `gauge:"yes" name:"fetched_seconds" help:"when"`
		Never       time.Time       `help:"never"`
		SentByType  map[kind]uint64 `name:"sent" help:"events"`
		InvalidUTF8 int             `help:"texts"`
	}{1, -2, time.Unix(1_700_000_000, 5), time.Time{}, map[kind]uint64{"b": 4, "a": 3}, 5})
	want := Stats{
		{Info{"part_tls_errors", Total, "errors"}, 1}, {Info{"part_waiting", Gauge, "jobs that wait"}, -2},
		{Info{"part_fetched_seconds", Gauge, "when"}, 1_700_000_000}, {Info{"part_never", Total, "never"}, 0},
		{Info{"part_sent_a", Total, "events (a)"}, 3}, {Info{"part_sent_b", Total, "events (b)"}, 4}, {Info{"part_invalid_utf8", Total, "texts"}, 5},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
