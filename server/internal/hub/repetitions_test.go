package hub

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRepetitions(t *testing.T) {
	r := NewRepetitions[int](time.Hour)
	ctx := context.Background()
	calls := 0
	do := func(n int, err error) func() (int, error) {
		return func() (int, error) { calls++; return n, err }
	}
	for i, c := range []struct {
		key      string
		do       func() (int, error)
		want     int
		repeated bool
		calls    int
		err      error
	}{
		{key: "a", do: do(1, nil), want: 1, calls: 1},
		{key: "a", do: do(2, nil), want: 1, repeated: true, calls: 1},
		{key: "b", do: do(3, errors.ErrUnsupported), calls: 2, want: 3, err: errors.ErrUnsupported},
		{key: "b", do: do(4, nil), calls: 3, want: 4}, // what failed may be tried again
		{key: "b", do: do(5, nil), calls: 3, want: 4, repeated: true},
	} {
		got, repeated, err := r.Do(ctx, c.key, c.do)
		if got != c.want || repeated != c.repeated || calls != c.calls || !errors.Is(err, c.err) {
			t.Errorf("call %d: %d, repeated %v, %d calls, %v", i, got, repeated, calls, err)
		}
	}
}

// A repetition waits for the first call, until its context is done; a result that
// is there needs no wait.
func TestRepetitionWaits(t *testing.T) {
	r := NewRepetitions[int](time.Hour)
	begun, finish := make(chan struct{}), make(chan struct{})
	first := make(chan int)
	go func() {
		n, _, _ := r.Do(context.Background(), "k", func() (int, error) {
			close(begun)
			<-finish
			return 7, nil
		})
		first <- n
	}()
	<-begun
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if _, repeated, err := r.Do(over, "k", nil); !repeated || !errors.Is(err, context.Canceled) {
		t.Errorf("while the first is under way: repeated %v, %v", repeated, err)
	}
	close(finish)
	if n := <-first; n != 7 {
		t.Errorf("the first call returned %d", n)
	}
	if n, repeated, err := r.Do(over, "k", nil); n != 7 || !repeated || err != nil {
		t.Errorf("a known result: %d, repeated %v, %v", n, repeated, err)
	}
}

func TestRepetitionsForget(t *testing.T) {
	r := NewRepetitions[int](0)
	for want := range 3 {
		if n, repeated, _ := r.Do(context.Background(), "k", func() (int, error) { return want, nil }); n != want || repeated {
			t.Errorf("%d, repeated %v, want %d", n, repeated, want)
		}
	}
	if n := r.known.Len(); n != 1 {
		t.Errorf("%d keys are known, want the last one", n)
	}
}
