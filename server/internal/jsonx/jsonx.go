// Package jsonx holds what reading JSON of other programs needs beyond encoding/json.
package jsonx

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// ErrNotWhole is returned for numbers with a fraction, and for those beyond 2^53
// that are not written as an integer.
var ErrNotWhole = errors.New("not a whole number")

// Int is an int that may be written as any JSON number with that value: 5, 5.0
// and 0.5e1 are one number to JSON Schema, and libraries without integer types
// write the latter.
type Int int

// UnmarshalJSON reads a number. It leaves n as it is for null, as encoding/json does.
func (n *Int) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var number json.Number
	// A json.Number takes quoted numbers as well.
	if len(b) == 0 || b[0] == '"' || json.Unmarshal(b, &number) != nil {
		return ErrNotWhole
	}
	if whole, err := strconv.ParseInt(string(number), 10, strconv.IntSize); err == nil {
		*n = Int(whole)
		return nil
	}
	float, err := number.Float64()
	if err != nil || float != math.Trunc(float) || math.Abs(float) > 1<<53 || math.Abs(float) > math.MaxInt {
		return ErrNotWhole
	}
	*n = Int(float)
	return nil
}
