//go:build linux || darwin || freebsd

package loop

import (
	"testing"

	"github.com/roostws/roost/netpoll/internal/conns"
)

func TestInterest(t *testing.T) {
	for _, tt := range []struct {
		flags conns.Flags
		want  Interest
	}{
		{0, InterestRead},
		{conns.WantsWrite, InterestRead | InterestWrite},
		{conns.Paused, 0},
		{conns.Paused | conns.WantsWrite, InterestWrite},
		{conns.Lingering, InterestRead},
		{conns.Lingering | conns.Paused | conns.WantsWrite, InterestRead}, // or the peer's end would never be seen
	} {
		if got := interest(tt.flags); got != tt.want {
			t.Errorf("interest of %b = %b, want %b", tt.flags, got, tt.want)
		}
		f := tt.flags
		setPolled(&f, tt.want)
		if got := polledInterest(f); got != tt.want || f&^(polled|polledRead|polledWrite) != tt.flags {
			t.Errorf("%b with interest %b noted = %b, which says %b", tt.flags, tt.want, f, got)
		}
	}
}
