//go:build linux || darwin || freebsd

package engines_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/netpoll/engines"
	"github.com/roostws/roost/netpoll/internal/conns"
)

// testHandler runs functions; nil ones do nothing.
type testHandler struct {
	open     func(id netpoll.ID, tag uint64)
	data     func(id netpoll.ID, p []byte)
	writable func(id netpoll.ID)
	close    func(id netpoll.ID, err error)
	wake     func() bool
}

func (h *testHandler) OnOpen(id netpoll.ID, tag uint64) {
	if h.open != nil {
		h.open(id, tag)
	}
}

func (h *testHandler) OnData(id netpoll.ID, p []byte) {
	if h.data != nil {
		h.data(id, p)
	}
}

func (h *testHandler) OnClose(id netpoll.ID, err error) {
	if h.close != nil {
		h.close(id, err)
	}
}

func (h *testHandler) OnWritable(id netpoll.ID) {
	if h.writable != nil {
		h.writable(id)
	}
}

func (h *testHandler) OnWake() bool { return h.wake != nil && h.wake() }
func (h *testHandler) OnTick()      {}

// startOne starts an engine of one loop.
func startOne(t testing.TB, driver netpoll.Driver, cfg netpoll.Config, newHandler func(l netpoll.Loop) *testHandler) netpoll.Engine {
	t.Helper()
	cfg.Loops = 1
	e, err := driver.Start(cfg, func(l netpoll.Loop) netpoll.Handler { return newHandler(l) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// patience bounds every wait of these tests; none is expected to take it.
const patience = time.Minute

// receive waits for a value, but not for ever.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %v", what, patience)
		panic("unreachable")
	}
}

// TestSameTurn: one connection's OnData ends others whose own events have been
// fetched already. Of those only OnClose may come, once.
func TestSameTurn(t *testing.T) {
	const n = 8
	for _, driver := range engines.All() {
		for _, tt := range []struct {
			name string
			peer func(c net.Conn) // what the others' peers do
			end  func(l netpoll.Loop, id netpoll.ID)
		}{
			{"abort the readable", sendOne, netpoll.Loop.Abort},
			{"close the readable", sendOne, netpoll.Loop.Close},
			{"close the ended", closeWrite, netpoll.Loop.Close},
			{"abort the closed", closeWrite, func(l netpoll.Loop, id netpoll.ID) { l.Close(id); l.Abort(id) }},
			{"abort the writable", readAll, netpoll.Loop.Abort},
		} {
			t.Run(driver.Name()+"/"+tt.name, func(t *testing.T) {
				opened, closed := make(chan netpoll.ID, n), make(chan netpoll.ID, 2*n)
				holding, hold := make(chan bool), make(chan bool)
				var wrong atomic.Int64
				var survivor atomic.Uint64
				var ids []netpoll.ID // on the loop, as ended
				ended := false
				flood := make([]byte, 8<<20)
				e := startOne(t, driver, netpoll.Config{
					Listen:          []string{"127.0.0.1:0"},
					SendBufferBytes: 16 << 10,
				}, func(l netpoll.Loop) *testHandler {
					return &testHandler{
						open: func(id netpoll.ID, _ uint64) {
							ids = append(ids, id)
							opened <- id
							if len(ids) > 1 {
								_, _ = l.Write(id, flood)
							}
						},
						data: func(id netpoll.ID, p []byte) {
							if ended {
								wrong.Add(1)
								return
							}
							ended = true
							survivor.Store(uint64(id))
							for _, other := range ids {
								if other != id {
									tt.end(l, other)
								}
							}
						},
						writable: func(id netpoll.ID) { // the peer's buffer took some of the flood
							if ended {
								wrong.Add(1)
							}
							_, _ = l.Write(id, flood)
						},
						close: func(id netpoll.ID, _ error) { closed <- id },
						wake: func() bool {
							holding <- true
							<-hold
							return false
						},
					}
				})
				var conns []net.Conn
				for range n {
					conns = append(conns, dial(t, e))
					receive(t, "OnOpen", opened)
				}
				e.Loops()[0].Wake()
				receive(t, "OnWake", holding)
				_, _ = io.WriteString(conns[0], "end them")
				for _, c := range conns[1:] {
					tt.peer(c)
				}
				close(hold)
				seen := map[netpoll.ID]int{}
				for range n - 1 {
					seen[receive(t, "OnClose", closed)]++
				}
				kept := netpoll.ID(survivor.Load())
				if len(seen) != n-1 || len(closed) != 0 || seen[kept] != 0 || wrong.Load() != 0 {
					t.Errorf("OnClose for %v and %d more, %d other callbacks; want it once for all but %v",
						seen, len(closed), wrong.Load(), kept)
				}
			})
		}
	}
}

// What peers do in TestSameTurn.

func sendOne(c net.Conn) { _, _ = io.WriteString(c, "x") }

func closeWrite(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }

func readAll(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, _ = io.Copy(io.Discard, c) // until nothing more comes
}

// TestWritevForgets: the loop's scratch memory for a gathering write must not
// keep the caller's bytes alive.
func TestWritevForgets(t *testing.T) {
	for _, driver := range engines.All() {
		written := make(chan weak.Pointer[byte], 1)
		e := startOne(t, driver, netpoll.Config{Listen: []string{"127.0.0.1:0"}}, func(l netpoll.Loop) *testHandler {
			return &testHandler{data: func(id netpoll.ID, _ []byte) {
				p := make([]byte, 100_000)
				_, _ = l.Writev(id, [][]byte{p[:10], p[10:]})
				written <- weak.Make(&p[0])
			}}
		})
		_, _ = io.WriteString(dial(t, e), "x")
		p := receive(t, "OnData", written)
		for limit := time.Now().Add(patience); p.Value() != nil; runtime.GC() {
			if time.Now().After(limit) {
				t.Fatalf("%s: what was written is still referred to", driver.Name())
			}
		}
	}
}

// TestPausedPeerLeaves: the peer of a paused connection closes, which a poller
// may report without end. The loop must sleep all the same, and what the peer
// sent before must arrive after the pause, and then the end.
func TestPausedPeerLeaves(t *testing.T) {
	for _, driver := range engines.All() {
		for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "s")} {
			t.Run(driver.Name()+"/"+address[:4], func(t *testing.T) {
				opened, data, closed := make(chan netpoll.ID, 1), make(chan string, 1), make(chan error, 1)
				var paused netpoll.Loop
				var id netpoll.ID
				resume := false // on the loop
				e := startOne(t, driver, netpoll.Config{
					Listen:       []string{address},
					TickInterval: time.Hour, // a turn must be due to an event
				}, func(l netpoll.Loop) *testHandler {
					paused = l
					return &testHandler{
						open: func(newcomer netpoll.ID, _ uint64) {
							id = newcomer
							l.PauseRead(id)
							opened <- id
						},
						data:  func(_ netpoll.ID, p []byte) { data <- string(p) },
						close: func(_ netpoll.ID, err error) { closed <- err },
						wake: func() bool {
							if resume {
								l.ResumeRead(id)
							}
							resume = true
							return false
						},
					}
				})
				c := dial(t, e)
				receive(t, "OnOpen", opened)
				_, _ = io.WriteString(c, "farewell")
				c.Close()
				paused.Wake() // a turn that sees the hang-up
				// The runtime may have something to do, too, but not all the time.
				least := time.Hour
				for range 10 {
					before := processTime(t)
					time.Sleep(50 * time.Millisecond)
					if least = min(least, processTime(t)-before); least < 10*time.Millisecond {
						break
					}
				}
				if least > 10*time.Millisecond {
					t.Errorf("%v of CPU and more in every 50 ms of pause: the loop spins", least)
				}
				if len(data)+len(closed) != 0 {
					t.Error("a callback came during the pause")
				}
				paused.Wake()
				if got := receive(t, "OnData", data); got != "farewell" {
					t.Errorf("after the pause came %q", got)
				}
				if err := receive(t, "OnClose", closed); err != io.EOF {
					t.Errorf("OnClose(%v), want EOF", err)
				}
			})
		}
	}
}

// TestPausedPeerEndsItsSide: the peer of a paused connection ends its sending
// direction only. It is answered after the pause, with a full socket or without.
func TestPausedPeerEndsItsSide(t *testing.T) {
	for _, driver := range engines.All() {
		for _, flood := range []int{0, 2 << 20} {
			t.Run(fmt.Sprint(driver.Name(), " ", flood), func(t *testing.T) {
				opened, turned := make(chan netpoll.ID, 1), make(chan bool, 1)
				var id netpoll.ID // on the loop, as the others
				var pending []byte
				resume := false
				e := startOne(t, driver, netpoll.Config{
					Listen:          []string{"127.0.0.1:0"},
					SendBufferBytes: 64 << 10,
				}, func(l netpoll.Loop) *testHandler {
					write := func(id netpoll.ID) {
						n, err := l.Write(id, pending)
						if err != nil {
							t.Errorf("Write: %v", err)
						}
						pending = pending[n:]
					}
					return &testHandler{
						open: func(newcomer netpoll.ID, _ uint64) {
							id, pending = newcomer, make([]byte, flood)
							l.PauseRead(id)
							write(id)
							opened <- id
						},
						data: func(_ netpoll.ID, p []byte) {
							pending = append(pending, p...)
							if len(pending) == len(p) {
								write(id)
							}
							l.PauseRead(id) // the end waits until all is written
						},
						writable: func(id netpoll.ID) {
							if write(id); len(pending) == 0 {
								l.ResumeRead(id)
							}
						},
						wake: func() bool {
							if resume {
								l.ResumeRead(id)
							}
							resume = true
							turned <- true
							return false
						},
					}
				})
				c := dial(t, e)
				receive(t, "OnOpen", opened)
				_, _ = io.WriteString(c, "last words")
				closeWrite(c)
				for range 2 {
					e.Loops()[0].Wake()
					receive(t, "OnWake", turned)
				}
				if flood == 0 {
					want := make([]byte, len("last words"))
					if _, err := io.ReadFull(c, want); err != nil || string(want) != "last words" {
						t.Errorf("the answer is %q, %v", want, err)
					}
					e.Loops()[0].Wake() // resumes, for the end
				} else if got, err := io.ReadAll(c); len(got) != flood+len("last words") || err != nil {
					t.Errorf("the answer has %d bytes, %v, want %d", len(got), err, flood+len("last words"))
				}
				if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
					t.Errorf("after the answer: %q, %v, want the end", got, err)
				}
			})
		}
	}
}

// processTime is the CPU time of the process.
func processTime(t testing.TB) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestWakePingPong: the loop goes to sleep while it is being woken, over and
// over. A lost wake-up stops the game: there is no tick to help.
func TestWakePingPong(t *testing.T) {
	for _, driver := range engines.All() {
		t.Run(driver.Name(), func(t *testing.T) {
			const players, rounds = 4, 2000
			var ball [players]atomic.Int64
			e := startOne(t, driver, netpoll.Config{TickInterval: time.Hour}, func(netpoll.Loop) *testHandler {
				var returned [players]int64
				return &testHandler{wake: func() bool {
					for i := range ball {
						if served := ball[i].Load(); served > returned[i] {
							returned[i] = served
							ball[i].Store(-served)
						}
					}
					return false
				}}
			})
			loop := e.Loops()[0]
			var game sync.WaitGroup
			for i := range players {
				game.Go(func() {
					for round := int64(1); round <= rounds; round++ {
						ball[i].Store(round)
						loop.Wake()
						for limit := time.Now().Add(patience); ball[i].Load() != -round; {
							if time.Now().After(limit) {
								t.Errorf("player %d: round %d is lost", i, round)
								return
							}
							runtime.Gosched()
						}
					}
				})
			}
			game.Wait()
		})
	}
}

// TestEchoAllocatesNothing: reading and writing on a live loop.
func TestEchoAllocatesNothing(t *testing.T) {
	for _, driver := range engines.All() {
		for _, vectored := range []bool{false, true} {
			e := startOne(t, driver, netpoll.Config{Listen: []string{"127.0.0.1:0"}, TickInterval: time.Hour}, func(l netpoll.Loop) *testHandler {
				bufs := make([][]byte, 2)
				return &testHandler{data: func(id netpoll.ID, p []byte) {
					if !vectored {
						_, _ = l.Write(id, p)
						return
					}
					bufs[0], bufs[1] = p[:1], p[1:]
					_, _ = l.Writev(id, bufs)
				}}
			})
			c := dial(t, e)
			message, got := []byte("one hundred bytes or so"), make([]byte, 100)
			allocs := testing.AllocsPerRun(500, func() {
				_, _ = c.Write(message)
				_, _ = io.ReadFull(c, got[:len(message)])
			})
			if allocs != 0 {
				t.Errorf("%s, vectored %v: %v allocations for an echo, want 0", driver.Name(), vectored, allocs)
			}
		}
	}
}

// TestGoexit: a callback that ends its goroutine ends the engine, with an error,
// and not the program.
func TestGoexit(t *testing.T) {
	for _, driver := range engines.All() {
		closed := make(chan error, 1)
		e := startOne(t, driver, netpoll.Config{Listen: []string{"127.0.0.1:0"}}, func(netpoll.Loop) *testHandler {
			return &testHandler{
				data:  func(netpoll.ID, []byte) { runtime.Goexit() },
				close: func(_ netpoll.ID, err error) { closed <- err },
			}
		})
		_, _ = io.WriteString(dial(t, e), "x")
		if err := receive(t, "OnClose", closed); err != netpoll.ErrEngineClosed {
			t.Errorf("%s: OnClose(%v), want ErrEngineClosed", driver.Name(), err)
		}
		receive(t, "Done", e.Done())
		if !errors.Is(e.Err(), conns.ErrGoexit) {
			t.Errorf("%s: Err() = %v, want %v", driver.Name(), e.Err(), conns.ErrGoexit)
		}
	}
}

// BenchmarkEcho is one message there and back over loopback, with 64
// connections in flight. cpu-ns/op is the CPU time of the whole process, the
// client's part included.
func BenchmarkEcho(b *testing.B) {
	for _, driver := range engines.All() {
		b.Run(driver.Name(), func(b *testing.B) {
			const conns = 64
			e := startEcho(b, driver, netpoll.Config{Loops: 1, Listen: []string{"127.0.0.1:0"}})
			var fds []int
			for range conns {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = unix.Close(fd) })
				port := e.Addrs()[0].(*net.TCPAddr).Port
				if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil {
					b.Fatal(err)
				}
				fds = append(fds, fd)
			}
			message, got := make([]byte, 128), make([]byte, 128)
			b.ReportAllocs()
			before := processTime(b)
			for i := 0; i < b.N; i += conns {
				for _, fd := range fds {
					if _, err := unix.Write(fd, message); err != nil {
						b.Fatal(err)
					}
				}
				for _, fd := range fds {
					if n, err := unix.Read(fd, got); n != len(got) || err != nil {
						b.Fatal(n, err)
					}
				}
			}
			b.ReportMetric(float64(processTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
