package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// In a terminal it fills the screen, follows its size and the server, and leaves it as
// it was.
func TestTopInATerminal(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	p := startRoost(t, loopback("--relay", "--admin-addr", admin)...)
	tty := openTerminal(t, 80, 24)
	before := must(term.GetState(int(tty.program.Fd())))
	cmd := exec.Command(os.Args[0], "top", "--url", "http://"+admin, "--interval", "100ms")
	cmd.Env = append(os.Environ(), asRoost+"=1", "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty.program, tty.program, tty.program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	tty.wait("ready · q quits", "Memory a connection", "No channel has subscribers")
	for _, line := range tty.screen() {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("%d columns of 80: %q", n, line)
		}
	}
	tty.resize(40, 10)
	tty.wait("Opened a second                        0")
	if n := len(tty.screen()); n > 10 {
		t.Errorf("%d lines of 10", n)
	}
	tty.resize(120, 30)
	p.signal(os.Interrupt)
	p.wantExit(exitOK)
	tty.wait("no connection · q quits", "connection refused")
	startRoost(t, loopback("--relay", "--admin-addr", admin)...)
	tty.wait("ready · q quits")
	if _, err := tty.user.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after q: %v", err)
	}
	if after := must(term.GetState(int(tty.program.Fd()))); *after != *before {
		t.Errorf("the terminal's state is %+v, it was %+v", after, before)
	}
	tty.program.Close()
	for part := range tty.parts { // until all is read
		tty.said = append(tty.said, part...)
	}
	if !bytes.HasSuffix(tty.said, []byte("\x1b[?7h\x1b[?25h\x1b[?1049l")) {
		t.Errorf("the last words to the terminal are %q", tty.said[max(0, len(tty.said)-60):])
	}
}

// A terminal is a pseudo-terminal, with a program at one end and a user at the other.
type terminal struct {
	t             *testing.T
	user, program *os.File
	parts         chan []byte
	said          []byte // to the user
}

func openTerminal(t *testing.T, width, height int) *terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	tty := &terminal{t: t, user: user, parts: make(chan []byte)}
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number := must(unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN))
	tty.program = must(os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0))
	t.Cleanup(func() { tty.program.Close() })
	tty.resize(width, height)
	go func() {
		defer close(tty.parts)
		for {
			part := make([]byte, 64<<10)
			n, err := user.Read(part)
			if err != nil {
				return // the program has closed it
			}
			tty.parts <- part[:n]
		}
	}()
	return tty
}

func (tty *terminal) resize(width, height int) {
	tty.t.Helper()
	if err := unix.IoctlSetWinsize(int(tty.user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: uint16(height)}); err != nil {
		tty.t.Fatal(err)
	}
}

// screen returns the lines of the last whole screen.
func (tty *terminal) screen() []string {
	end := bytes.LastIndex(tty.said, []byte("\x1b[?2026l"))
	begin := bytes.LastIndex(tty.said[:max(0, end)], []byte("\x1b[H"))
	if begin < 0 {
		return nil
	}
	text := string(tty.said[begin+len("\x1b[H") : end])
	text = strings.TrimSuffix(text, "\r\n\x1b[J")
	for _, style := range []string{"\x1b[0m", "\x1b[1m", "\x1b[7m", "\x1b[1;31m"} {
		text = strings.ReplaceAll(text, style, "")
	}
	return strings.Split(text, "\r\n")
}

// wait waits until the screen has each of some texts.
func (tty *terminal) wait(texts ...string) {
	tty.t.Helper()
	late := time.After(testTimeout)
	for {
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(strings.Join(tty.screen(), "\n"), text)
		}
		if !missing {
			return
		}
		select {
		case part, more := <-tty.parts:
			if !more {
				tty.t.Fatalf("the terminal was closed: %q", tty.said)
			}
			tty.said = append(tty.said, part...)
		case <-late:
			tty.t.Fatalf("the screen lacks one of %q:\n%s", texts, strings.Join(tty.screen(), "\n"))
		}
	}
}
