package jsonx

import (
	"errors"
	"fmt"
	"math"
	"strconv"
)

// MaxInteger is the largest integer that every JSON library reads exactly: 2^53-1.
const MaxInteger = 1<<53 - 1

// Integer returns the whole number from low to MaxInteger that a value is, written
// as any JSON number: 16, 16.0 and 1.6e1 are one number to JSON Schema, and
// libraries without integer types write the latter.
func Integer(value []byte, low uint64) (uint64, error) {
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return 0, fmt.Errorf("is %s: want a number", Kind(value))
	}
	n, negative, ok := whole(value)
	if !ok || negative && n != 0 || n < low || n > MaxInteger {
		return 0, fmt.Errorf("is %.24s: want a whole number from %d to %d", value, low, uint64(MaxInteger))
	}
	return n, nil
}

// whole returns the magnitude of a JSON number. ok is false if the number has a
// fraction or more than 64 bits. Nothing is rounded on the way.
func whole(number []byte) (n uint64, negative, ok bool) {
	if len(number) > 0 && number[0] == '-' {
		negative, number = true, number[1:]
	}
	// n times 10 to the exponent, and zeros that wait for another digit.
	exponent, zeros, fraction := 0, 0, false
	for i, c := range number {
		switch {
		case c == '.':
			fraction = true
			continue
		case c == 'e' || c == 'E':
			e, err := strconv.Atoi(string(number[i+1:]))
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return 0, negative, false
			}
			return shift(n, zeros+exponent, e, negative)
		case c < '0' || c > '9':
			return 0, negative, false
		}
		if fraction {
			exponent--
		}
		if c == '0' && n != 0 {
			zeros++ // they are the exponent's until another digit follows
			continue
		}
		for ; zeros > 0; zeros-- {
			if n > math.MaxUint64/10 {
				return 0, negative, false
			}
			n *= 10
		}
		if c == '0' {
			continue // leading
		}
		if n > (math.MaxUint64-9)/10 {
			return 0, negative, false
		}
		n = 10*n + uint64(c-'0')
	}
	return shift(n, zeros+exponent, 0, negative)
}

// shift returns n times 10 to the power of a+b.
func shift(n uint64, a, b int, negative bool) (uint64, bool, bool) {
	if n == 0 {
		return 0, negative, true
	}
	// Beyond 1e9 each alone decides: no text has as many digits.
	if b > 1e9 || b < -1e9 {
		return 0, negative, false
	}
	e := a + b
	if e < 0 {
		return 0, negative, false // n ends in no zero
	}
	for ; e > 0; e-- {
		if n > math.MaxUint64/10 {
			return 0, negative, false
		}
		n *= 10
	}
	return n, negative, true
}

// ErrNotWhole is returned for numbers with a fraction, and for those that do not
// fit into an int.
var ErrNotWhole = errors.New("not a whole number")

// Int is an int that may be written as any JSON number with that value (see
// Integer).
type Int int

// UnmarshalJSON reads a number. It leaves n as it is for null, as encoding/json does.
func (n *Int) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) == 0 || b[0] != '-' && (b[0] < '0' || b[0] > '9') {
		return ErrNotWhole
	}
	magnitude, negative, ok := whole(b)
	if !ok || magnitude > math.MaxInt {
		return ErrNotWhole
	}
	if *n = Int(magnitude); negative {
		*n = -*n
	}
	return nil
}
