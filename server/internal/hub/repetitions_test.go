package hub

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestRepetitions(t *testing.T) {
	r := NewRepetitions[int](time.Hour)
	calls := 0
	do := func(n int, err error) func() (int, error) {
		return func() (int, error) { calls++; return n, err }
	}
	for i, c := range []struct {
		key      string
		digest   uint64
		do       func() (int, error)
		want     int
		repeated bool
		calls    int
		err      error
	}{
		{key: "a", do: do(1, nil), want: 1, calls: 1},
		{key: "a", do: do(2, nil), want: 1, repeated: true, calls: 1},
		{key: "a", digest: 1, do: do(2, nil), calls: 1, err: ErrKeyReused},
		{key: "b", do: do(3, errors.ErrUnsupported), calls: 2, want: 3, err: errors.ErrUnsupported},
		{key: "b", digest: 2, do: do(4, nil), calls: 3, want: 4}, // what failed may be tried again
		{key: "b", digest: 2, do: do(5, nil), calls: 3, want: 4, repeated: true},
	} {
		got, repeated, err := r.Do(c.key, c.digest, c.do)
		if got != c.want || repeated != c.repeated || calls != c.calls || !errors.Is(err, c.err) {
			t.Errorf("call %d: %d, repeated %v, %d calls, %v", i, got, repeated, calls, err)
		}
	}
}

// A repetition while the first call is under way waits for its result.
func TestRepetitionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRepetitions[int](time.Hour)
		finish := make(chan struct{})
		go func() {
			_, _, _ = r.Do("k", 5, func() (int, error) { <-finish; return 7, nil })
		}()
		synctest.Wait()
		if _, _, err := r.Do("k", 6, nil); !errors.Is(err, ErrKeyReused) {
			t.Errorf("for something else: %v", err)
		}
		returned := false
		go func() {
			n, repeated, err := r.Do("k", 5, nil)
			returned = true
			if n != 7 || !repeated || err != nil {
				t.Errorf("the repetition got %d, repeated %v, %v", n, repeated, err)
			}
		}()
		if synctest.Wait(); returned {
			t.Error("a repetition has a result before the first call")
		}
		close(finish)
		if synctest.Wait(); !returned {
			t.Error("a repetition has no result")
		}
	})
}

func TestRepetitionsForget(t *testing.T) {
	r := NewRepetitions[int](0)
	for want := range 3 {
		if n, repeated, _ := r.Do("k", 0, func() (int, error) { return want, nil }); n != want || repeated {
			t.Errorf("%d, repeated %v, want %d", n, repeated, want)
		}
	}
	if n := r.known.Len(); n != 1 {
		t.Errorf("%d keys are known, want the last one", n)
	}
}
