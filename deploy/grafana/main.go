// Command grafana reads roost.json as Grafana's own model of dashboards, panels and
// queries has it, and fails where a member is unknown, missing or of another type:
//
//	go -C deploy/grafana run -tags grafana . roost.json
//
// It is a module of its own, with a tag, because the model takes a minute to compile.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "want the file of a dashboard")
		os.Exit(2)
	}
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
