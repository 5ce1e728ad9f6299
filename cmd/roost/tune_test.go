package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roostws/roost/cmd/roost/internal/doctor"
)

// rules are a file's lines without comments, each with its white space made
// one, sorted.
func rules(t *testing.T, file string) []string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(lines)
	return lines
}

// The script for machines without the binary writes what the doctor writes.
func TestTuneScriptAgreesWithTheDoctor(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("../../scripts/tune-linux.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []int64{1, 3_992, 3_993, 10_000, 99_999, 100_000, 1_000_000, 2_000_000} {
		byDoctor, byScript := fakeMachine(t), fakeMachine(t)
		var out, errs strings.Builder
		run([]string{"doctor", "--root", byDoctor, "--target", fmt.Sprint(target), "--fix", "--yes"}, strings.NewReader(""), &out, &errs)
		cmd := exec.Command("bash", script, fmt.Sprint(target), "--apply")
		cmd.Env = append(os.Environ(), "ROOT="+byScript)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("tune-linux.sh %d: %v\n%s", target, err, said)
		}
		for _, name := range []string{doctor.SysctlFile, doctor.LimitsFile,
			"proc/sys/fs/nr_open", "proc/sys/net/core/somaxconn", "proc/sys/net/ipv4/tcp_mem"} {
			want, got := rules(t, filepath.Join(byDoctor, name)), rules(t, filepath.Join(byScript, name))
			if !slices.Equal(got, want) {
				t.Errorf("for %d: /%s by the script %q, by the doctor %q", target, name, got, want)
			}
		}
	}
}
