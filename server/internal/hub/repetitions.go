package hub

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/roostws/roost/server/broker"
)

// Repetitions remembers the results of publications with idempotency keys, so that
// a repeated one returns the first one's result. Any goroutine.
type Repetitions[R any] struct {
	age   time.Duration
	mu    sync.Mutex
	known *simplelru.LRU[string, *once[R]] // guarded by mu
}

// ErrKeyReused is returned where an idempotency key is used again for something
// else.
var ErrKeyReused = broker.ErrKeyReused

// once is one publication; result and err are valid when done is closed.
type once[R any] struct {
	at     time.Time
	digest uint64
	done   chan struct{}
	result R
	err    error
}

// RepetitionsMax bounds how many are remembered: some 300 bytes each.
const RepetitionsMax = 100_000

// NewRepetitions makes one that remembers results for this time.
func NewRepetitions[R any](age time.Duration) *Repetitions[R] {
	known, _ := simplelru.NewLRU[string, *once[R]](RepetitionsMax, nil) // an error is for sizes below 1
	return &Repetitions[R]{age: age, known: known}
}

// Do calls do and remembers its result under key, unless that is an error: what
// failed may be tried again. If key is known it waits for the first call, which must
// not take long, and returns its result; repeated is then true. It returns
// ErrKeyReused if that call was for something else: digest tells.
func (r *Repetitions[R]) Do(key string, digest uint64, do func() (R, error)) (result R, repeated bool, err error) {
	sent, first := r.begin(key, digest)
	if !first {
		if sent.digest != digest {
			return result, false, ErrKeyReused
		}
		<-sent.done
		return sent.result, true, sent.err
	}
	sent.result, sent.err = do()
	if sent.err != nil {
		r.mu.Lock()
		r.known.Remove(key)
		r.mu.Unlock()
	}
	close(sent.done)
	return sent.result, false, sent.err
}

// begin returns what is known of a key, and whether the caller is the first.
func (r *Repetitions[R]) begin(key string, digest uint64) (sent *once[R], first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if sent, ok := r.known.Peek(key); ok && now.Sub(sent.at) < r.age {
		return sent, false
	}
	for { // Peek moves nothing up, so the oldest is the first that was added
		_, oldest, ok := r.known.GetOldest()
		if !ok || now.Sub(oldest.at) < r.age {
			break
		}
		r.known.RemoveOldest()
	}
	sent = &once[R]{at: now, digest: digest, done: make(chan struct{})}
	r.known.Add(key, sent)
	return sent, true
}
