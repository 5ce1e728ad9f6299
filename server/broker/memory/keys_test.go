package memory

import (
	"strconv"
	"testing"
	"time"

	"github.com/roostws/roost/server/broker"
)

// Idempotency keys that are over take no memory.
func TestKeysDropped(t *testing.T) {
	h := New()
	for i := range 10_000 {
		p := &broker.Publication{Message: broker.Message{Channel: "h:1", Type: 1}, IdempotencyKey: strconv.Itoa(i), IdempotencyAge: 1}
		if i >= 9_000 {
			p.IdempotencyAge = time.Hour
		}
		if placed, err := h.publish(p); err != nil || placed.Duplicate {
			t.Fatalf("%+v, %v", placed, err)
		}
	}
	if n := len(h.keys); n > 2_000 {
		t.Errorf("%d keys are kept, of which 1,000 can be repeated", n)
	}
	for i := 9_000; i < 10_000; i++ {
		p := &broker.Publication{Message: broker.Message{Channel: "h:1", Type: 1}, IdempotencyKey: strconv.Itoa(i), IdempotencyAge: time.Hour}
		if placed, err := h.publish(p); err != nil || !placed.Duplicate {
			t.Fatalf("key %d is forgotten: %+v, %v", i, placed, err)
		}
	}
}
