package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// none stands where there is no number.
const none = "–"

// format returns a number in its unit, as the dashboard shows it.
func format(n float64, unit string) string {
	switch {
	case math.IsNaN(n):
		return none
	case unit == "bytes":
		return formatBytes(n)
	case unit == "seconds":
		return formatSeconds(n)
	case unit == "percent":
		return fmt.Sprintf("%.0f %%", 100*n)
	case n > 0 && n < 10 && n != math.Trunc(n):
		return fmt.Sprintf("%.1f", n)
	case n < 1e6:
		return grouped(n)
	case n < 1e9:
		return fmt.Sprintf("%.1fM", n/1e6)
	}
	return fmt.Sprintf("%.1fB", n/1e9)
}

// grouped returns a whole number with a comma before each three digits.
func grouped(n float64) string {
	text := strconv.FormatFloat(n, 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func formatBytes(n float64) string {
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	unit := ""
	for _, unit = range []string{"KiB", "MiB", "GiB"} {
		if n /= 1024; n < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", n, unit)
}

// formatSeconds returns the upper end of a histogram's bucket.
func formatSeconds(n float64) string {
	switch {
	case math.IsInf(n, 1):
		return "> 17 s"
	case n < 0.001:
		return fmt.Sprintf("≤ %.0f µs", math.Ceil(n*1e6))
	case n < 1:
		return fmt.Sprintf("≤ %.0f ms", math.Ceil(n*1e3))
	}
	return fmt.Sprintf("≤ %.1f s", n)
}

func formatAge(d time.Duration) string {
	switch hours := int(d.Hours()); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case hours < 24:
		return fmt.Sprintf("%d h %d min", hours, int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", hours/24, hours%24)
	}
}

// clean returns text that only shows: names of channels are chosen by clients, and
// a terminal would carry out what is in some.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// fit returns text cut to a width.
func fit(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return string([]rune(text)[:width-1]) + "…"
}

// spread returns two texts at the ends of a width. The left one is cut if they do
// not fit.
func spread(left, right string, width int) string {
	left = fit(left, width-utf8.RuneCountInString(right)-1)
	return left + strings.Repeat(" ", max(1, width-utf8.RuneCountInString(left)-utf8.RuneCountInString(right))) + right
}

// table returns a row with a first column that takes what the others, each of a
// width and set to the right, leave of the whole.
func table(first string, width, column int, others ...string) string {
	var b strings.Builder
	room := width - column*len(others)
	b.WriteString(fit(first, room))
	b.WriteString(strings.Repeat(" ", max(0, room-utf8.RuneCountInString(first))))
	for _, text := range others {
		b.WriteString(strings.Repeat(" ", max(0, column-utf8.RuneCountInString(text))))
		b.WriteString(fit(text, column))
	}
	return b.String()
}
