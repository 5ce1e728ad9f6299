// Package counters is the one table of what the server counts: name, kind and
// meaning of each counter. Stats and the JSON of the HTTP API are made from it.
//
//	table.go     the table
//	counters.go  Info, Stat and Stats, which everybody may read
//	loop.go      counting: a Loop for what one loop counts, a Shared for the rest
//	distribution.go  how long things took
package counters

import (
	"fmt"
	"strconv"
)

// Kind tells a counter that only grows from one that goes up and down.
type Kind uint8

const (
	// Total only grows.
	Total Kind = iota
	// Gauge goes up and down.
	Gauge
)

// Info describes a counter.
type Info struct {
	// Name is in snake_case, without a prefix.
	Name string
	Kind Kind
	// Help says what is counted, as a noun phrase.
	Help string
}

// A Stat is a counter with its value at one moment.
type Stat struct {
	Info
	Value int64
}

// Stats are counters with their values at one moment.
type Stats []Stat

// Get returns the value of the counter with this name. It panics if there is none:
// the name is misspelt.
func (s Stats) Get(name string) int64 {
	for i := range s {
		if s[i].Name == name {
			return s[i].Value
		}
	}
	panic(fmt.Sprintf("server: there is no counter %q", name))
}

// MarshalJSON makes one object of all counters, name by name, in their order.
func (s Stats) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, s[i].Name)
		b = strconv.AppendInt(append(b, ':'), s[i].Value, 10)
	}
	return append(b, '}'), nil
}
