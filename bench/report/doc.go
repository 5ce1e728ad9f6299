// Package report turns results of package bench into what people and programs
// read: tables for a terminal, pages in Markdown, JSON, and plots as SVG.
//
// There is one model, Comparison. It holds servers side by side, measured in
// several rounds (scripts/c10k.sh, scripts/compare.sh), or runs of the scenario
// grow (scripts/c100k.sh, scripts/c1m.sh), or both.
//
//	comparison.go   the model, its medians and ratios, faults and warnings
//	column.go       figures, their limits, the tables, the verdict
//	growth.go       runs of the scenario grow, with the garbage collector's pauses
//	save.go         the files of a comparison
//	table.go        rows as text and as Markdown; numbers; one Result as a table
//	svg.go          panels of bars and of curves
//	plot.go         the plots of a Comparison and of one Result
//
// All functions may be called by one goroutine at a time.
package report
