package bench

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress shows people where a run is: one line that is written over on a
// terminal, plain lines, not too many, elsewhere.
type progress struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	label    string
	step     string
	last     time.Time
	width    int
}

// plainInterval is the least time between two lines about the same step that
// go to no terminal.
const plainInterval = 5 * time.Second

func newProgress(w io.Writer, label string) *progress {
	if w == nil {
		w = io.Discard
	}
	p := &progress{w: w, label: label}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// show writes a step, and how far it is where total is not zero.
func (p *progress) show(step string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.terminal && step == p.step && now.Sub(p.last) < plainInterval {
		return
	}
	if p.terminal && step == p.step && now.Sub(p.last) < 100*time.Millisecond && done < total {
		return
	}
	p.step, p.last = step, now
	line := p.label + ": " + step
	if total > 0 {
		line += fmt.Sprintf(" %d/%d", done, total)
	}
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// end leaves the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
	}
}
