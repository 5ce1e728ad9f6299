package workers

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// workersOf returns how many goroutines the pool has.
func workersOf(p *Pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers
}

// TestComputingJobsNeedFewGoroutines: a storm of jobs that do not block runs on the
// core alone.
func TestComputingJobsNeedFewGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100_000, 2)
		defer p.Close()
		var done sync.WaitGroup
		done.Add(100_000)
		most := 0
		for range 100_000 {
			if !p.Do(done.Done) {
				t.Fatal("a job was refused")
			}
			most = max(most, workersOf(p))
		}
		done.Wait()
		if most > 2 {
			t.Errorf("%d goroutines at most, want 2", most)
		}
	})
}

// TestBlockedJobsGetGoroutines: jobs that block do not keep others waiting, and their
// goroutines end when they are not needed any more.
func TestBlockedJobsGetGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100, 2)
		defer p.Close()
		release := make(chan struct{})
		begun := time.Now()
		for i := range 100 {
			if !p.Do(func() { <-release }) {
				t.Fatalf("job %d was refused", i)
			}
		}
		if p.Do(func() {}) {
			t.Error("a job beyond the most was taken")
		}
		for limit := begun.Add(time.Second); workersOf(p) < 100; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%d goroutines for 100 jobs that block", workersOf(p))
			}
		}
		if took := time.Since(begun); took > 9*stuckAfter {
			t.Errorf("they came after %v, want 7 or 8 steps of %v", took, stuckAfter)
		}
		close(release)
		synctest.Wait()
		if !p.Do(func() {}) {
			t.Error("refused although nothing is under way")
		}
		time.Sleep(3 * trimAfter)
		synctest.Wait()
		if got := workersOf(p); got != 2 {
			t.Errorf("%d goroutines are left, want 2", got)
		}
	})
}

// TestGoexit: a job that ends its goroutine takes neither the pool's place nor other
// jobs with it.
func TestGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(10, 1)
		defer p.Close()
		var done sync.WaitGroup
		for range 5 {
			done.Add(2)
			p.Do(func() {
				defer done.Done()
				runtime.Goexit()
			})
			p.Do(done.Done)
		}
		done.Wait()
		synctest.Wait()
		if p.jobs != 0 || p.workers > 1 {
			t.Errorf("%d jobs, %d goroutines, want 0 and at most 1", p.jobs, p.workers)
		}
	})
}

// TestGoexitBelowTheCore: jobs that end their goroutines may leave fewer than the core
// when the pool shrinks.
func TestGoexitBelowTheCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(10, 2)
		defer p.Close()
		release := make(chan struct{})
		for range 4 {
			p.Do(func() {
				<-release
				runtime.Goexit()
			})
		}
		time.Sleep(trimAfter / 2)
		if got := workersOf(p); got != 4 {
			t.Fatalf("%d goroutines for 4 jobs that block", got)
		}
		close(release)
		time.Sleep(2 * trimAfter)
		if got := workersOf(p); got != 0 {
			t.Errorf("%d goroutines are left, want 0", got)
		}
		ran := false
		p.Do(func() { ran = true })
		synctest.Wait()
		if !ran {
			t.Error("a job did not run")
		}
	})
}

// TestClose: what was taken still runs; nothing else is taken, and no goroutine is
// left (or synctest.Test would not return).
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(10, 2)
		ran, release := 0, make(chan struct{})
		for range 2 {
			p.Do(func() { <-release })
		}
		synctest.Wait()
		p.Do(func() { ran++ })
		p.Close()
		if p.Do(func() {}) {
			t.Error("a closed pool takes a job")
		}
		close(release)
		synctest.Wait()
		if ran != 1 || p.workers != 0 {
			t.Errorf("ran %d, %d goroutines, want 1 and 0", ran, p.workers)
		}
	})
}
