package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roostws/roost/cmd/roost/internal/doctor"
)

// fakeMachine is a "/" with what the doctor reads: 4,096 descriptors, plenty
// of everything else.
func fakeMachine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"proc/self/limits":                      "Max open files   1024  4096  files\n",
		"proc/self/status":                      "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
		"proc/self/cgroup":                      "0::/\n",
		"proc/meminfo":                          "MemTotal: 8000000 kB\nMemAvailable: 8000000 kB\n",
		"proc/net/sockstat":                     "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 1\n",
		"proc/sys/kernel/osrelease":             "6.1.0\n",
		"proc/sys/fs/nr_open":                   "1048576\n",
		"proc/sys/fs/file-max":                  "9223372036854775807\n",
		"proc/sys/fs/file-nr":                   "1000\t0\t9223372036854775807\n",
		"proc/sys/net/core/somaxconn":           "4096\n",
		"proc/sys/net/ipv4/tcp_max_syn_backlog": "65535\n",
		"proc/sys/net/ipv4/tcp_syncookies":      "1\n",
		"proc/sys/net/ipv4/tcp_mem":             "500000\t600000\t700000\n",
		"proc/sys/net/ipv4/tcp_rmem":            "4096\t131072\t6291456\n",
		"proc/sys/net/ipv4/tcp_wmem":            "4096\t16384\t4194304\n",
		"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func runDoctor(t *testing.T, root, answer string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr strings.Builder
	code = run(append([]string{"doctor", "--root", root}, args...), strings.NewReader(answer), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestDoctorExitCodes(t *testing.T) {
	t.Parallel()
	root := fakeMachine(t)
	for _, tc := range []struct {
		args     []string
		wantCode int
		wantOut  string
	}{
		{nil, exitOK, "This machine holds 3,992 connections. What stops it first: nofile, hard limit."},
		{[]string{"--target", "3992"}, exitOK, "3,992 connections fit."},
		{[]string{"--target", "3993"}, exitFailed, "3,993 connections do not fit."},
		{[]string{"--target", "100000"}, exitFailed, "ulimit -n 102000"},
		{[]string{"--target", "100", "--json"}, exitOK, `"target_fits": true`},
		{[]string{"--target", "100000", "--json"}, exitFailed, `"target_fits": false`},
	} {
		code, out, errs := runDoctor(t, root, "", tc.args...)
		if code != tc.wantCode || !strings.Contains(out, tc.wantOut) {
			t.Errorf("doctor %q: exit code %d, want %d; output lacks %q:\n%s%s", tc.args, code, tc.wantCode, tc.wantOut, out, errs)
		}
	}
}

func TestDoctorJSONIsOneDocument(t *testing.T) {
	t.Parallel()
	_, out, _ := runDoctor(t, fakeMachine(t), "", "--json")
	var report doctor.Report
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&report); err != nil {
		t.Fatal(err)
	}
	if report.Fits != 3992 || len(report.Checks) < 8 {
		t.Errorf("report = fits %d with %d checks, want 3992 and at least 8", report.Fits, len(report.Checks))
	}
}

func TestDoctorFixAsksFirst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, answer string
		args         []string
		wantCode     int
		wantWritten  bool
	}{
		{"yes", "y\n", nil, exitOK, true},
		{"yes, in a word", "Yes\n", nil, exitOK, true},
		{"no", "n\n", nil, exitFailed, false},
		{"just enter", "\n", nil, exitFailed, false},
		{"nobody there", "", nil, exitFailed, false},
		{"--yes", "", []string{"--yes"}, exitOK, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := fakeMachine(t)
			code, out, errs := runDoctor(t, root, tc.answer, append([]string{"--target", "100000", "--fix"}, tc.args...)...)
			if code != tc.wantCode {
				t.Errorf("exit code %d, want %d\n%s%s", code, tc.wantCode, out, errs)
			}
			if !strings.Contains(out, "net.core.somaxconn = 65535") || !strings.Contains(out, "hard nofile 102000") {
				t.Errorf("it does not show what it would write:\n%s", out)
			}
			_, err := os.Stat(filepath.Join(root, doctor.LimitsFile))
			if written := err == nil; written != tc.wantWritten {
				t.Errorf("written = %v, want %v", written, tc.wantWritten)
			}
			live, _ := os.ReadFile(filepath.Join(root, "proc/sys/net/core/somaxconn"))
			if set := strings.TrimSpace(string(live)) == "65535"; set != tc.wantWritten {
				t.Errorf("somaxconn is %q; set = %v, want %v", live, set, tc.wantWritten)
			}
		})
	}
}

func TestDoctorFixOfNothing(t *testing.T) {
	t.Parallel()
	root := fakeMachine(t)
	if err := os.WriteFile(filepath.Join(root, "proc/sys/net/core/somaxconn"), []byte("65535\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, _ := runDoctor(t, root, "", "--target", "100", "--fix")
	if code != exitOK || !strings.Contains(out, "Nothing to write") {
		t.Errorf("exit code %d, output %q; want 0 and nothing to write", code, out)
	}
}
