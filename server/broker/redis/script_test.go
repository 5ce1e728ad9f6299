package redis

import (
	"errors"
	"testing"

	"github.com/redis/rueidis"

	"github.com/roostws/roost/server/broker"
)

// A strange result is an error.
func TestStrangeResult(t *testing.T) {
	for _, values := range [][]rueidis.RedisMessage{nil, make([]rueidis.RedisMessage, 1), make([]rueidis.RedisMessage, 4)} {
		if placed, err := placedOf(values); !errors.Is(err, broker.ErrUnknown) {
			t.Errorf("%d values: %+v, %v", len(values), placed, err)
		}
	}
}

// Many commands are sent together, but only a few reads: their pages must come in time.
func TestBatch(t *testing.T) {
	publication, read := command{}, command{read: true}
	repeat := func(n int, c command) (list []command) {
		for range n {
			list = append(list, c)
		}
		return list
	}
	for _, c := range []struct {
		commands []command
		want     int
	}{
		{nil, 0},
		{repeat(1, read), 1},
		{repeat(readsMax, read), readsMax},
		{repeat(100, read), readsMax},
		{repeat(batchMax, publication), batchMax},
		{repeat(2*batchMax, publication), batchMax},
		{append(repeat(20, publication), repeat(100, read)...), 20 + readsMax},
		{append(repeat(readsMax, read), repeat(50, publication)...), readsMax + 50},
	} {
		if got := len(nextBatch(c.commands)); got != c.want {
			t.Errorf("of %d commands %d are sent together, want %d", len(c.commands), got, c.want)
		}
	}
}
