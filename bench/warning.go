package bench

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// warningNumber is what differs between two warnings of one kind.
var warningNumber = regexp.MustCompile(`[0-9][0-9.]*(ms|µs|s| %)?`)

func warningKind(w string) string { return warningNumber.ReplaceAllString(w, "#") }

// warningSize is the first quantity in a warning.
func warningSize(w string) float64 {
	number := warningNumber.FindString(w)
	if d, err := time.ParseDuration(number); err == nil {
		return d.Seconds()
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(number, " %"), 64)
	if err != nil {
		return 0
	}
	return v
}
