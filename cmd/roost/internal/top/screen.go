package top

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// A Screen is a terminal that is used as a whole. One goroutine may use it.
type Screen struct {
	out   *os.File
	in    *os.File    // nil: not a terminal
	state *term.State // of in, from before
}

// NewScreen returns the terminal that a program writes to, nil if it does not write
// to one.
func NewScreen(in io.Reader, out io.Writer) *Screen {
	s := &Screen{}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		s.out = file
	} else {
		return nil
	}
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.in = file
	}
	return s
}

// Enter takes the terminal: another screen, without a cursor, and keys as they are
// pressed. The caller calls Leave before the program ends, unless there is an error.
func (s *Screen) Enter() (err error) {
	if s.in != nil {
		if s.state, err = term.MakeRaw(int(s.in.Fd())); err != nil {
			return fmt.Errorf("the terminal: %w", err)
		}
	}
	// 1049: the alternate screen. 25: the cursor. 7: a long line goes on in the next.
	if _, err = s.out.WriteString("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"); err != nil {
		s.Leave()
	}
	return err
}

// Leave gives the terminal back as it was.
func (s *Screen) Leave() {
	_, _ = s.out.WriteString("\x1b[?7h\x1b[?25h\x1b[?1049l") // it may have gone
	if s.state != nil {
		_ = term.Restore(int(s.in.Fd()), s.state)
		s.state = nil
	}
}

// Keys returns a Go channel with the keys that are pressed, as bytes. A goroutine
// reads them until the program ends.
func (s *Screen) Keys() <-chan byte {
	keys := make(chan byte)
	if s.in != nil {
		go func() {
			buf := make([]byte, 64)
			for {
				n, err := s.in.Read(buf)
				for _, key := range buf[:n] {
					keys <- key
				}
				if err != nil {
					return
				}
			}
		}()
	}
	return keys
}

// Size returns the terminal's width and height.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

// styles are the SGR parameters of each Style.
var styles = [...]string{Plain: "0", Header: "7", Title: "1", Bad: "1;31"}

// Draw shows the lines, on a terminal of this width. Each is written over what was
// there, with one write for all, so that nothing flickers.
func (s *Screen) Draw(lines []Line, width int) error {
	var b bytes.Buffer
	b.WriteString("\x1b[?2026h\x1b[H") // terminals that know 2026 show what follows at once
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		fmt.Fprintf(&b, "\x1b[%sm%-*s\x1b[0m", styles[line.Style], width, line.Text)
	}
	if _, height := s.Size(); len(lines) < height {
		b.WriteString("\r\n\x1b[J") // the rest of the screen
	}
	b.WriteString("\x1b[?2026l")
	_, err := s.out.Write(b.Bytes())
	return err
}
