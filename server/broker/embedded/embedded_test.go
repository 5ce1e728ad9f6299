package embedded

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/history"
)

const environment = "ROOST_EMBEDDED_DIR"

// TestMain is also the program of the processes that tests kill.
func TestMain(m *testing.M) {
	if dir, ok := strings.CutPrefix(os.Getenv(environment), "full:"); ok {
		publishUntilFull(dir)
	} else if dir != "" {
		publishUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// deaf is a node that attaches nothing.
type deaf struct{}

func (deaf) Deliver(*broker.Message)              {}
func (deaf) Attached(string)                      {}
func (deaf) Interrupted(func(string) bool, error) {}

var keep = broker.Keep{Messages: 1000, Age: time.Hour}

func open(dir string) (*Broker, error) {
	b, err := New(Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if err := b.Start(deaf{}); err != nil {
		return nil, err
	}
	for b.Health().Publishing != nil {
		time.Sleep(time.Millisecond)
	}
	return b, nil
}

// publish publishes a text, with itself as idempotency key.
func publish(b *Broker, channel, text string) (placed broker.Placed, err error) {
	done := make(chan struct{})
	b.Publish(&broker.Publication{
		Message: broker.Message{Channel: channel, Type: 1, Payload: []byte(text)}, Keep: keep,
		IdempotencyKey: text, IdempotencyAge: time.Hour, Digest: 7,
	}, func(p broker.Placed, e error) {
		placed, err = p, e
		close(done)
	})
	<-done
	return placed, err
}

// texts returns what is kept of a channel, and where it stands. Positions follow each other.
func texts(t *testing.T, b *Broker, channel string) (list []string, at history.Position) {
	t.Helper()
	var since *history.Position
	for {
		var page broker.Page
		done := make(chan error)
		b.Read(channel, keep, since, func(p broker.Page, err error) { page = p; done <- err })
		if err := <-done; err != nil {
			t.Fatalf("read %s: %v", channel, err)
		}
		at = page.Position
		for _, m := range page.Messages {
			if since != nil && m.Position.Offset != since.Offset+1 {
				t.Fatalf("after %v comes %v", since, m.Position)
			}
			since = &m.Position
			list = append(list, string(m.Payload))
		}
		if len(page.Messages) == 0 || since.Offset == at.Offset {
			return list, at
		}
	}
}

func publishUntilKilled(dir string) {
	b, err := open(dir)
	if err != nil {
		panic(err)
	}
	for n := 1; ; n++ {
		placed, err := publish(b, "h:1", fmt.Sprint("text ", n))
		if err != nil {
			panic(err)
		}
		fmt.Println(placed.Position.Epoch, placed.Position.Offset)
	}
}

// publishUntilFull publishes until its files can't grow any more, as on a full disk, says so,
// lets them grow again, and says when it publishes again.
func publishUntilFull(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	b, err := open(dir)
	check(err)
	full := false
	text := strings.Repeat("x", 1000)
	for n := 0; ; n++ {
		placed, err := publish(b, "h:1", fmt.Sprint(n, text))
		switch {
		case n == 9:
			small := limit
			small.Cur = 1 << 14
			check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small))
		case err != nil && !full:
			fmt.Println("full", errors.Is(err, broker.ErrUnknown) && b.Health().Publishing != nil)
			full = true
			check(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		case err != nil:
			time.Sleep(10 * time.Millisecond)
		case full:
			fmt.Println("again", placed.Position.Offset, placed.Position.Epoch)
			check(b.Close())
			os.Exit(0)
		}
	}
}

// A full disk is told, and when there is room again, it goes on, with all that was there.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := strings.Split(strings.TrimSpace(run(t, "full:"+dir, nil)), "\n")
	var at history.Position
	if len(lines) == 2 && lines[0] == "full true" {
		_, _ = fmt.Sscan(lines[1], new(string), &at.Offset, &at.Epoch)
	}
	b, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if got, now := texts(t, b, "h:1"); at.Offset < 10 || now != at || uint64(len(got)) != at.Offset {
		t.Errorf("%q; then it is at %v with %d messages", lines, now, len(got))
	}
}

// run runs this program with the environment's value, hands its lines to each, and returns
// them all.
func run(t *testing.T, value string, each func(p *os.Process, line string)) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(program)
	process.Env = append(os.Environ(), environment+"="+value)
	process.Stderr = os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if each != nil {
			each(process.Process, lines.Text())
		}
	}
	_ = process.Wait()
	return all.String()
}

// killed runs a process that publishes into dir, kills it after n publications, and returns
// the position of the last one that it has told.
func killed(t *testing.T, dir string, n int) (at history.Position) {
	t.Helper()
	i := 0
	run(t, dir, func(p *os.Process, line string) {
		if i++; i > n {
			_ = p.Kill()
		}
		if _, err := fmt.Sscan(line, &at.Epoch, &at.Offset); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	})
	return at
}

func numbered(n uint64) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("text ", i+1))
	}
	return list
}

// A process that is killed loses nothing: positions, epochs, messages, idempotency keys.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	last := killed(t, dir, 100)
	for restart := range 3 { // the first one after a kill, the others in order
		b, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, at := texts(t, b, "h:1")
		if restart == 0 && (at.Epoch != last.Epoch || at.Offset < last.Offset || at.Offset > last.Offset+1) {
			t.Errorf("it was at %v, and is at %v", last, at)
		}
		if restart == 0 {
			last = at // one may have been on its way
		}
		if at != last || !slices.Equal(got, numbered(last.Offset)) {
			t.Errorf("restart %d: at %v, want %v, with %d messages", restart, at, last, len(got))
		}
		again, err := publish(b, "h:1", "text 50")
		if want := (history.Position{Epoch: last.Epoch, Offset: 50}); err != nil || !again.Duplicate || again.Position != want {
			t.Errorf("a known key: %+v, %v", again, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the end of the store's file is missing or garbled, the server starts. Either all that
// was acknowledged is there, or another epoch begins: no offset is given twice.
func TestTorn(t *testing.T) {
	for name, tear := range map[string]func(b []byte) []byte{
		"a byte less":         func(b []byte) []byte { return b[:len(b)-1] },
		"a record less":       func(b []byte) []byte { return b[:len(b)-150] },
		"half of it":          func(b []byte) []byte { return b[:len(b)/2] },
		"nothing":             func([]byte) []byte { return nil },
		"a garbled end":       func(b []byte) []byte { b[len(b)-3] ^= 0x55; return b },
		"a garbled middle":    func(b []byte) []byte { b[len(b)/2] ^= 0x55; return b },
		"zeros at the end":    func(b []byte) []byte { return append(b[:len(b)-64], make([]byte, 64)...) },
		"more zeros":          func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
		"a garbled beginning": func(b []byte) []byte { copy(b, "????????????????"); return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			last := killed(t, dir, 40)
			blocks, err := filepath.Glob(filepath.Join(dir, "store", "jetstream", "*", "streams", "*", "msgs", "*.blk"))
			if err != nil || len(blocks) == 0 {
				t.Fatalf("no files: %v", err)
			}
			slices.Sort(blocks)
			file := blocks[len(blocks)-1]
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, tear(content), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			got, at := texts(t, b, "h:1")
			switch {
			case at.Epoch != last.Epoch: // told
			case at.Offset < last.Offset:
				t.Errorf("it was at %v, and goes on at %v", last, at)
			case !slices.Equal(got, numbered(at.Offset)) && len(got) > 0 && got[len(got)-1] != fmt.Sprint("text ", at.Offset):
				t.Errorf("at %v: %q", at, got)
			}
			next, err := publish(b, "h:1", "after")
			if err != nil || next.Position != (history.Position{Epoch: at.Epoch, Offset: at.Offset + 1}) {
				t.Errorf("after %v comes %v, %v", at, next.Position, err)
			}
			t.Logf("%v, then %v with %d messages", last, at, len(got))
		})
	}
}

// What is wrong with a directory is said.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{dir, "another process uses it"},
		{file, "not a directory"},
		{filepath.Join(file, "below"), "not a directory"},
		{"/proc/nothing", "no such file"},
	} {
		if _, err := open(c.dir); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.dir) {
			t.Errorf("%s: %v, want one with %q", c.dir, err, c.want)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := open(dir)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	for range 2 {
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What is no cluster is refused.
func TestClusterOptions(t *testing.T) {
	three := []string{"127.0.0.1:6222", "127.0.0.2:6222", "127.0.0.3:6222"}
	for _, c := range []struct {
		cluster Cluster
		want    string
	}{
		{Cluster{Addr: three[0], Servers: three}, ""},
		{Cluster{Addr: three[0], Servers: three[1:]}, ""},
		{Cluster{Addr: three[0], Servers: three[:2]}, "3 servers at least, and these are 2"},
		{Cluster{Addr: "", Servers: three}, "is not host:port"},
		{Cluster{Addr: three[0], Servers: []string{"a", "b"}}, "is not host:port"},
		{Cluster{Addr: three[0], Servers: []string{"10.0.0.2:6222", "10.0.0.3:6222"}}, "need a secret"},
		{Cluster{Addr: three[0], Servers: []string{"db:6222", "10.0.0.3:6222"}, Secret: "x"}, ""},
	} {
		_, err := New(Options{Dir: "d", Cluster: &c.cluster})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cluster, err, c.want)
		}
	}
}

// A server whose address is taken says so, and not after minutes.
func TestAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr := l.Addr().String()
	dir := t.TempDir()
	for range 2 { // the first one lets the directory go
		b, err := New(Options{Dir: dir, Cluster: &Cluster{Addr: addr, Servers: []string{addr, "127.0.0.2:1", "127.0.0.3:1"}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Start(deaf{}); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%v, want that the address is in use", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// When another memory begins, and when not.
func TestMemory(t *testing.T) {
	boot := bootID()
	for _, c := range []struct {
		name         string
		state        memoryState
		acknowledged uint64
		last         uint64
		lost         int
		other        bool
	}{
		{"all there", memoryState{"m", boot, false, false}, 7, 7, 0, false},
		{"more than acknowledged", memoryState{"m", boot, false, false}, 7, 9, 0, false},
		{"less than acknowledged", memoryState{"m", boot, true, true}, 7, 6, 0, true},
		{"records lost", memoryState{"m", boot, true, true}, 7, 7, 1, true},
		{"another boot, in order", memoryState{"m", "before", true, false}, 7, 7, 0, false},
		{"another boot, synced", memoryState{"m", "before", false, true}, 7, 7, 0, false},
		{"another boot", memoryState{"m", "before", false, false}, 7, 7, 0, true},
		{"a boot that is not known", memoryState{"m", "", false, false}, 7, 7, 0, true},
		{"without a name", memoryState{"", boot, true, true}, 7, 7, 0, true},
	} {
		dir := t.TempDir()
		m, err := openMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		m.state = c.state
		if err := errors.Join(m.save(), m.note(c.acknowledged), m.acknowledged.Close(), m.lock.Close()); err != nil {
			t.Fatal(err)
		}
		if m, err = openMemory(dir); err != nil {
			t.Fatal(err)
		}
		why, err := m.begin(c.last, c.lost, false)
		if err != nil || (why != "") != c.other || (m.state.Name != "m") != c.other {
			t.Errorf("%s: %q, %v, name %q", c.name, why, err, m.state.Name)
		}
		// Whatever it was: from here on it is known.
		if why, err := m.begin(c.last, 0, false); err != nil || why != "" {
			t.Errorf("%s, again: %q, %v", c.name, why, err)
		}
		if err := m.end(); err != nil {
			t.Error(err)
		}
	}
}

// What a publication costs, one after the other and many at a time.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, channels := range []int{1, 100} {
			b.Run(fmt.Sprintf("sync=%v/channels=%d", sync, channels), func(b *testing.B) {
				e, err := New(Options{Dir: b.TempDir(), Sync: sync})
				if err != nil {
					b.Fatal(err)
				}
				if err := e.Start(deaf{}); err != nil {
					b.Fatal(err)
				}
				defer func() { _ = e.Close() }()
				for e.Health().Publishing != nil {
					time.Sleep(time.Millisecond)
				}
				payload := make([]byte, 200)
				free := make(chan error, channels)
				for range channels {
					free <- nil
				}
				for i := range b.N {
					if err := <-free; err != nil {
						b.Fatal(err)
					}
					e.Publish(&broker.Publication{
						Message: broker.Message{Channel: fmt.Sprint("h:", i%channels), Type: 1, Payload: payload}, Keep: keep,
					}, func(_ broker.Placed, err error) { free <- err })
				}
				for range channels {
					<-free
				}
			})
		}
	}
}
