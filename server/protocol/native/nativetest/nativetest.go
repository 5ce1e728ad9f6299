// Package nativetest reads the transcripts of the native protocol, for tests.
// docs/transcripts/README.md tells their form.
package nativetest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// What a line of a transcript is.
const (
	Open   = "open"   // a client opens its connection
	Send   = ">"      // it sends Text
	Get    = "<"      // it gets Text next
	Skip   = "<*"     // it gets any number of messages that match Text
	Close  = "close"  // it closes
	Closed = "closed" // it is closed with Code and the reason Text
	Do     = "@"      // the application does Action with the parameters Text
)

// A Line is one step.
type Line struct {
	// Where is file:line.
	Where string
	// Client is who does it or to whom it happens, empty for Do.
	Client string
	Kind   string
	// Code of Closed, Action of Do.
	Code   int
	Action string
	Text   string
}

// A Transcript is one file.
type Transcript struct {
	Name  string
	Lines []Line
}

// Read reads all transcripts of a folder.
func Read(folder string) ([]Transcript, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("nativetest: no transcript in %s", folder)
	}
	var all []Transcript
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		t := Transcript{Name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			l, err := parse(line)
			l.Where = fmt.Sprintf("%s:%d", filepath.Base(file), number)
			if err != nil {
				return nil, fmt.Errorf("nativetest: %s: %w", l.Where, err)
			}
			t.Lines = append(t.Lines, l)
		}
		all = append(all, t)
	}
	return all, nil
}

func parse(line string) (l Line, err error) {
	who, rest, _ := strings.Cut(line, " ")
	what, text, _ := strings.Cut(rest, " ")
	if who == Do {
		return Line{Kind: Do, Action: what, Text: text}, nil
	}
	l = Line{Client: who, Kind: what, Text: text}
	switch what {
	case Open, Close, Send, Get, Skip:
	case Closed:
		code, reason, _ := strings.Cut(text, " ")
		l.Text = reason
		l.Code, err = strconv.Atoi(code)
	default:
		err = fmt.Errorf("%q is no line of a transcript", line)
	}
	return l, err
}

var placeholder = regexp.MustCompile(`"?\$[a-z]+"?`)

// Values are what the placeholders of a transcript stand for.
type Values map[string]string

// Fill returns text with placeholders replaced by what they stand for. It is an
// error if that is not known.
func (v Values) Fill(text string) (filled string, err error) {
	filled = placeholder.ReplaceAllStringFunc(text, func(p string) string {
		value, ok := v[strings.Trim(p, `"`)]
		if !ok {
			err = fmt.Errorf("%s stands for nothing yet", p)
		}
		return strings.ReplaceAll(p, strings.Trim(p, `"`), value)
	})
	return filled, err
}

// Match reports whether got is what a line wants, and notes what its placeholders
// stand for.
func (v Values) Match(want, got string) bool {
	var pattern strings.Builder
	var names []string
	at := 0
	for _, span := range placeholder.FindAllStringIndex(want, -1) {
		pattern.WriteString(regexp.QuoteMeta(want[at:span[0]]))
		at = span[1]
		p := want[span[0]:span[1]]
		name := strings.Trim(p, `"`)
		names = append(names, name)
		if value, known := v[name]; known {
			pattern.WriteString("(" + regexp.QuoteMeta(strings.ReplaceAll(p, name, value)) + ")")
		} else if p[0] == '"' {
			pattern.WriteString(`"((?:[^"\\]|\\.)*)"`)
		} else {
			pattern.WriteString(`([0-9.]+)`)
		}
	}
	pattern.WriteString(regexp.QuoteMeta(want[at:]))
	found := regexp.MustCompile("^(?:" + pattern.String() + ")$").FindStringSubmatch(got)
	if found == nil {
		return false
	}
	for i, name := range names {
		if name != "$any" {
			if _, known := v[name]; !known {
				v[name] = found[i+1]
			}
		}
	}
	return true
}

// Example returns text as a message that is valid: placeholders in quotes stand
// for themselves, others are 1.
func Example(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		if p[0] == '"' {
			return p
		}
		return "1"
	})
}
