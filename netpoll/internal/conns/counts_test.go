//go:build linux || darwin || freebsd

package conns

import (
	"reflect"
	"testing"

	"github.com/roostws/roost/netpoll"
)

// TestCounts: each counter is published under its own name, and the loops add
// up.
func TestCounts(t *testing.T) {
	var loops [2]Conns
	want := netpoll.Stats{}
	sum := reflect.ValueOf(&want).Elem()
	for i := range sum.NumField() {
		switch n := int64(i + 1); sum.Field(i).Kind() {
		case reflect.Int64:
			sum.Field(i).SetInt(11 * n)
			reflect.ValueOf(&loops[0].Count).Elem().Field(i).SetInt(-n)
			reflect.ValueOf(&loops[1].Count).Elem().Field(i).SetInt(12 * n)
		case reflect.Uint64:
			sum.Field(i).SetUint(uint64(11 * n))
			reflect.ValueOf(&loops[0].Count).Elem().Field(i).SetUint(uint64(n))
			reflect.ValueOf(&loops[1].Count).Elem().Field(i).SetUint(uint64(10 * n))
		default:
			t.Fatalf("Stats.%s is no 64-bit number: words would be wrong", sum.Type().Field(i).Name)
		}
	}
	var got netpoll.Stats
	for i := range loops {
		loops[i].Publish()
		loops[i].AddTo(&got)
	}
	if got != want {
		t.Errorf("the sum is %+v, want %+v", got, want)
	}
}
