package top

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// loopsMost is how many loops have a line on the screen.
const loopsMost = 8

// loop is what one event loop of the server does: counts of the last look, and rates
// between the last two, nil if there was one.
type loop struct {
	Loop          int      `json:"loop"`
	Connections   float64  `json:"connections"`
	Subscriptions float64  `json:"subscriptions"`
	Waiting       float64  `json:"waiting"` // entries of the inbox
	Received      *float64 `json:"received"`
	Delivered     *float64 `json:"delivered"`
}

// loops returns the server's loops, in their order.
func (l looks) loops() (list []loop) {
	now := l.last()
	rates := func(name string) func(int) *float64 {
		if len(l) < 2 {
			return func(int) *float64 { return nil }
		}
		before, after := l[len(l)-2].perLoop(name), now.perLoop(name)
		return func(n int) *float64 {
			return number(max(0, after[n]-before[n]) / now.at.Sub(l[len(l)-2].at).Seconds())
		}
	}
	received, delivered := rates("roost_loop_messages_received_total"), rates("roost_loop_delivered_total")
	subscriptions, waiting := now.perLoop("roost_loop_subscriptions"), now.perLoop("roost_loop_inbox_entries")
	for n, connections := range now.perLoop("roost_loop_connections") {
		list = append(list, loop{n, connections, subscriptions[n], waiting[n], received(n), delivered(n)})
	}
	slices.SortFunc(list, func(a, b loop) int { return cmp.Compare(a.Loop, b.Loop) })
	return list
}

// loopTable returns a table of the loops, of those with the most to do if there are
// many; nothing where a loop is all of the server.
func (v *View) loopTable(width int) []string {
	list := v.looks.loops()
	if len(list) < 2 {
		return nil
	}
	title := fmt.Sprintf("%d loops", len(list))
	if len(list) > loopsMost {
		title = fmt.Sprintf("The busiest of %d loops", len(list))
		slices.SortStableFunc(list, func(a, b loop) int {
			return cmp.Or(cmp.Compare(orZero(b.Delivered), orZero(a.Delivered)), cmp.Compare(b.Connections, a.Connections))
		})
		list = list[:loopsMost]
	}
	width = min(width, 100)
	columns := 4
	if width < 60 {
		columns = 1
	}
	line := func(first string, others ...string) string { return table(first, width, 12, others[:columns]...) }
	lines := []string{line(title, "connections", "delivered/s", "received/s", "waiting")}
	for _, l := range list {
		lines = append(lines, line(fmt.Sprintf("Loop %d", l.Loop),
			format(l.Connections, "count"), format(orNaN(l.Delivered), "count"), format(orNaN(l.Received), "count"), format(l.Waiting, "count")))
	}
	return lines
}

func orZero(n *float64) float64 {
	if n == nil {
		return 0
	}
	return *n
}

func orNaN(n *float64) float64 {
	if n == nil {
		return math.NaN()
	}
	return *n
}
