package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/roostws/roost/cmd/roost/internal/doctor"
)

// DoctorCmd is roost doctor.
type DoctorCmd struct {
	Target    int64 `help:"How many connections should fit. Exit code 1 if they do not." placeholder:"N"`
	UserBytes int64 `help:"Memory of the server for an idle connection, bytes (${default})." placeholder:"N" default:"170"`
	JSON      bool  `name:"json" help:"Print the report as JSON."`
	Fix       bool  `help:"Show the files for /etc/sysctl.d and /etc/security/limits.d, ask, and write them. Needs root."`
	Yes       bool  `help:"With --fix: do not ask."`

	// Root is the root of the machine's files. Tests set another folder.
	Root string `hidden:"" default:"/"`
}

// Help is the text between the usage and the flags.
func (DoctorCmd) Help() string {
	return `Examples:
  roost doctor                      how many connections fit, and what stops more
  roost doctor --target 100000      whether that many fit, and if not, what to type
  sudo roost doctor --target 100000 --fix

It reads /proc and /sys and changes nothing without --fix. docs/tuning.md has the formula.`
}

// Validate is called by the command line's parser.
func (d *DoctorCmd) Validate() error {
	// Far beyond any machine, and far below an overflow.
	const most = 1_000_000_000
	if d.Target < 0 || d.Target > most {
		return fmt.Errorf("--target is %d: want 1 to %d", d.Target, most)
	}
	if d.UserBytes < 0 || d.UserBytes > 1<<30 {
		return fmt.Errorf("--user-bytes is %d: want 0 to %d", d.UserBytes, 1<<30)
	}
	if d.Fix && d.JSON {
		return fmt.Errorf("--fix and --json exclude each other: --json shows the fix without asking")
	}
	if d.Yes && !d.Fix {
		return fmt.Errorf("--yes needs --fix")
	}
	return nil
}

// Run examines the machine and prints the report.
func (d *DoctorCmd) Run(s streams) error {
	facts, err := doctor.Collect(os.DirFS(d.Root))
	if err != nil {
		return err
	}
	report := doctor.Examine(facts, doctor.Question{Target: d.Target, UserBytes: d.UserBytes})
	switch {
	case d.Fix:
		return d.fix(s, report)
	case d.JSON:
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(report); err != nil {
			return err
		}
	default:
		report.Print(s.out)
	}
	if report.TargetAsked && !report.TargetFits {
		return exitCode(exitFailed)
	}
	return nil
}

// fix shows the settings, asks, and applies them.
func (d *DoctorCmd) fix(s streams, report *doctor.Report) error {
	if report.Fix.Empty() {
		fmt.Fprintf(s.out, "Nothing to write: no setting stands in the way of %d connections.\n", report.Target)
		return d.verdict(s, report)
	}
	fmt.Fprintf(s.out, "For %d connections:\n\n", report.Target)
	report.Fix.Print(s.out)
	if !d.Yes {
		fmt.Fprint(s.out, "\nDo it? [y/N] ")
		answer, _ := bufio.NewReader(s.in).ReadString('\n')
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			fmt.Fprintln(s.out, "\nNothing was changed.")
			return exitCode(exitFailed)
		}
	}
	if err := doctor.Apply(d.Root, report.Fix); err != nil {
		return fmt.Errorf("some settings could not be written:\n%w", err)
	}
	fmt.Fprintln(s.out, "\nDone.")
	if report.Fix.Nofile > 0 {
		fmt.Fprintln(s.out, "The descriptor limit applies to new logins: log in again before you start roost serve.")
	}
	return nil
}

// verdict reports the limit that no setting can lift: memory.
func (d *DoctorCmd) verdict(s streams, report *doctor.Report) error {
	if report.TargetFits {
		return nil
	}
	fmt.Fprintf(s.out, "But only %d fit: %s.\n", report.Fits, report.StoppedBy)
	return exitCode(exitFailed)
}
