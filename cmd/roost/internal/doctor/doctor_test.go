package doctor

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A small server as it comes: Debian, 4 GiB, nothing tuned.
var stock = map[string]string{
	"proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             15617                15617                processes \n" +
		"Max open files            1024                 524288               files     \n",
	"proc/self/status":                                 "Name:\troost\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n",
	"proc/self/cgroup":                                 "0::/user.slice/session-1.scope\n",
	"proc/sys/kernel/osrelease":                        "6.1.0-40-amd64\n",
	"proc/sys/fs/nr_open":                              "1048576\n",
	"proc/sys/fs/file-max":                             "9223372036854775807\n",
	"proc/sys/fs/file-nr":                              "1184\t0\t9223372036854775807\n",
	"proc/sys/net/core/somaxconn":                      "4096\n",
	"proc/sys/net/ipv4/tcp_max_syn_backlog":            "512\n",
	"proc/sys/net/ipv4/tcp_syncookies":                 "1\n",
	"proc/sys/net/ipv4/tcp_mem":                        "44802\t59739\t89604\n",
	"proc/sys/net/ipv4/tcp_rmem":                       "4096\t131072\t6291456\n",
	"proc/sys/net/ipv4/tcp_wmem":                       "4096\t16384\t4194304\n",
	"proc/sys/net/ipv4/ip_local_port_range":            "32768\t60999\n",
	"proc/net/sockstat":                                "sockets: used 160\nTCP: inuse 5 orphan 0 tw 2 alloc 8 mem 4\nUDP: inuse 1 mem 0\n",
	"proc/meminfo":                                     "MemTotal:        4014088 kB\nMemFree:          512000 kB\nMemAvailable:    3500000 kB\n",
	"proc/sys/net/netfilter/nf_conntrack_max":          "65536\n",
	"proc/sys/net/netfilter/nf_conntrack_count":        "36\n",
	"sys/fs/cgroup/user.slice/memory.max":              "max\n",
	"sys/fs/cgroup/user.slice/memory.current":          "100000000\n",
	"sys/fs/cgroup/user.slice/session-1.scope/cpu.max": "max 100000\n",
}

// machine is stock with changes; an empty value takes a file away.
func machine(changes map[string]string) fstest.MapFS {
	files := maps.Clone(stock)
	maps.Copy(files, changes)
	root := fstest.MapFS{}
	for name, content := range files {
		if content != "" {
			root[name] = &fstest.MapFile{Data: []byte(content)}
		}
	}
	return root
}

func examine(t *testing.T, root fstest.MapFS, q Question) *Report {
	t.Helper()
	facts, err := Collect(root)
	if err != nil {
		t.Fatal(err)
	}
	facts.CPUs, facts.PageSize = 2, 4096
	return Examine(facts, q)
}

func limits(soft, hard string) string {
	return "Max open files            " + soft + "  " + hard + "  files\n"
}

func TestWhatStopsItFirst(t *testing.T) {
	roomy := map[string]string{
		"proc/self/limits":                        limits("2000000", "2000000"),
		"proc/sys/fs/nr_open":                     "2000000",
		"proc/meminfo":                            "MemTotal: 64000000 kB\nMemAvailable: 60000000 kB\n",
		"proc/sys/net/ipv4/tcp_mem":               "1000000 2000000 3000000",
		"proc/sys/net/netfilter/nf_conntrack_max": "",
	}
	with := func(changes map[string]string) map[string]string {
		all := maps.Clone(roomy)
		maps.Copy(all, changes)
		return all
	}
	for _, tc := range []struct {
		name     string
		changes  map[string]string
		target   int64
		wantFits int64
		wantBy   string
		wantOK   bool
	}{
		{"stock: the firewall's table", nil, 0, 65500, "net.netfilter.nf_conntrack_max", false},
		{"descriptors", with(map[string]string{"proc/self/limits": limits("1024", "20000")}),
			19_736, 19_736, "nofile, hard limit", true},
		{"one more than the descriptors", with(map[string]string{"proc/self/limits": limits("1024", "20000")}),
			19_737, 19_736, "nofile, hard limit", false},
		{"a soft limit alone stops nobody", with(map[string]string{"proc/self/limits": limits("256", "2000000")}),
			1_000_000, 1_979_936, "nofile, hard limit", true},
		{"unlimited descriptors are bounded by nr_open", with(map[string]string{
			"proc/self/limits": limits("1024", "unlimited"), "proc/sys/fs/nr_open": "10000"}),
			0, 9_836, "fs.nr_open", false},
		{"open files of the machine", with(map[string]string{
			"proc/sys/fs/file-max": "50000", "proc/sys/fs/file-nr": "10000 0 50000"}),
			0, 39_536, "fs.file-max", false},
		{"memory", with(map[string]string{"proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 507814 kB\n"}),
			100_000, 90_000, "memory", false},
		{"memory of the control group, version 2", with(map[string]string{
			"sys/fs/cgroup/user.slice/memory.max":     "620000000",
			"sys/fs/cgroup/user.slice/memory.current": "100000000"}),
			0, 90_000, "memory", true},
		{"memory of the control group, version 1, seen from the host's path", with(map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "620000000",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "100000000"}),
			90_001, 90_000, "memory", false},
		{"a control group without a limit", with(map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}),
			0, 1_979_936, "nofile, hard limit", true},
		{"queued bytes of TCP", with(map[string]string{"proc/sys/net/ipv4/tcp_mem": "10000 20000 30000"}),
			0, 29_996, "net.ipv4.tcp_mem", false},
		{"the reserve leaves nothing", with(map[string]string{"proc/self/limits": limits("64", "64")}),
			1, 0, "nofile, hard limit", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := examine(t, machine(tc.changes), Question{Target: tc.target})
			if r.Fits != tc.wantFits || r.StoppedBy != tc.wantBy {
				t.Errorf("fits %d, stopped by %q; want %d by %q", r.Fits, r.StoppedBy, tc.wantFits, tc.wantBy)
			}
			if r.TargetFits != tc.wantOK {
				t.Errorf("target %d fits = %v, want %v", r.Target, r.TargetFits, tc.wantOK)
			}
		})
	}
}

// What the doctor asks for must be enough, and not be asked for again.
func TestTheFixIsEnough(t *testing.T) {
	for _, target := range []int64{10_000, 100_000, 700_000} {
		q := Question{Target: target}
		root := machine(map[string]string{"proc/meminfo": "MemTotal: 64000000 kB\nMemAvailable: 60000000 kB\n",
			"proc/sys/fs/nr_open": "20000", "proc/self/limits": limits("1024", "4096")})
		r := examine(t, root, q)
		if r.TargetFits {
			t.Fatalf("%d connections fit before the fix", target)
		}
		for _, s := range r.Fix.Settings {
			name := "proc/sys/" + strings.ReplaceAll(s.Name, ".", "/")
			if root[name] == nil {
				t.Errorf("%s is set, but this kernel has none", s.Name)
			}
			root[name] = &fstest.MapFile{Data: []byte(s.Value)}
		}
		n := limitText(r.Fix.Nofile)
		n = strings.ReplaceAll(n, ",", "")
		root["proc/self/limits"] = &fstest.MapFile{Data: []byte(limits(n, n))}
		after := examine(t, root, q)
		if !after.TargetFits || !after.Fix.Empty() {
			t.Errorf("after the fix for %d: fits %d, stopped by %s, and wants %+v", target, after.Fits, after.StoppedBy, after.Fix)
		}
	}
}

func TestNofileForIsTheInverse(t *testing.T) {
	for _, n := range []int64{1, 836, 900, 10_000, 19_736, 100_000, 999_999, 1_000_000} {
		want := NofileFor(n)
		if got := ConnectionsFor(want); got < n {
			t.Errorf("ConnectionsFor(NofileFor(%d)) = %d", n, got)
		}
		if got := ConnectionsFor(want - 2000); want > 2000 && got >= n {
			t.Errorf("NofileFor(%d) = %d, but %d would do", n, want, want-2000)
		}
	}
}

func TestCollectSaysWhatItCouldNotRead(t *testing.T) {
	facts, err := Collect(machine(map[string]string{"proc/sys/fs/nr_open": "", "proc/sys/net/ipv4/tcp_mem": "many\tpages\there"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/proc/sys/fs/nr_open", "/proc/sys/net/ipv4/tcp_mem"} {
		if !slices.Contains(facts.Unknown, want) {
			t.Errorf("Unknown = %v lacks %s", facts.Unknown, want)
		}
	}
	r := Examine(facts, Question{})
	for _, c := range r.Checks {
		if (c.Name == "fs.nr_open" || c.Name == "net.ipv4.tcp_mem") && c.Status != Unknown {
			t.Errorf("%s is %q, want %q", c.Name, c.Status, Unknown)
		}
	}
	if _, err := Collect(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("Collect without /proc: %v, want an error that names it", err)
	}
	if _, err := Collect(machine(map[string]string{"proc/self/limits": "Max open files\n"})); err == nil {
		t.Error("Collect took limits without numbers")
	}
}

func TestCapabilitiesDecideTheCommand(t *testing.T) {
	status := func(uid, caps string) map[string]string {
		return map[string]string{
			"proc/self/limits": limits("1024", "20000"),
			"proc/self/status": "Uid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\nCapEff:\t" + caps + "\n",
		}
	}
	for _, tc := range []struct{ name, uid, caps, want string }{
		{"root", "0", "000001ffffffffff", "ulimit -n 102000 "},
		{"root of a container", "0", "000001fffeffffff", "no CAP_SYS_RESOURCE"},
		{"a user", "1000", "0000000000000000", "sudo prlimit --pid $$ --nofile=102000:102000 "},
	} {
		r := examine(t, machine(status(tc.uid, tc.caps)), Question{Target: 100_000})
		commands := strings.Join(r.Checks[0].Commands, "\n")
		if !strings.Contains(commands, tc.want) {
			t.Errorf("%s: commands %q, want %q in them", tc.name, commands, tc.want)
		}
	}
}

// The reports as people and programs see them: testdata/*.golden, reviewed as
// a diff. go test -run Golden -update writes them anew.
func TestGoldenReports(t *testing.T) {
	r := examine(t, machine(nil), Question{Target: 100_000})
	var text, fix strings.Builder
	r.Print(&text)
	r.Fix.Print(&fix)
	asJSON, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"stock.txt.golden":  text.String(),
		"fix.txt.golden":    fix.String(),
		"stock.json.golden": string(asJSON) + "\n",
	} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs. Got:\n%s", file, got)
		}
	}
}

func TestApply(t *testing.T) {
	fix := examine(t, machine(map[string]string{
		"proc/sys/fs/nr_open": "20000", "proc/self/limits": limits("1024", "20000")}), Question{Target: 100_000}).Fix
	prepare := func(t *testing.T, leaveOut string) string {
		root := t.TempDir()
		for _, s := range fix.Settings {
			if s.Name == leaveOut {
				continue
			}
			name := filepath.Join(root, "proc/sys", strings.ReplaceAll(s.Name, ".", "/"))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte("a longer value than the new one\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	t.Run("everything", func(t *testing.T) {
		root := prepare(t, "")
		if err := Apply(root, fix); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			SysctlFile:                    "net.core.somaxconn = 65535\n",
			LimitsFile:                    "root  hard nofile 102000\n",
			"proc/sys/fs/nr_open":         "102000\n",
			"proc/sys/net/core/somaxconn": "65535\n",
		}
		for name, part := range want {
			got, err := os.ReadFile(filepath.Join(root, name))
			if err != nil || !strings.Contains(string(got), part) {
				t.Errorf("%s = %q, %v; want %q in it", name, got, err, part)
			}
		}
	})
	t.Run("without fs.nr_open no limits file", func(t *testing.T) {
		root := prepare(t, "fs.nr_open")
		err := Apply(root, fix)
		if err == nil || !strings.Contains(err.Error(), "fs.nr_open") {
			t.Errorf("Apply = %v, want an error that names fs.nr_open", err)
		}
		if _, err := os.Stat(filepath.Join(root, LimitsFile)); err == nil {
			t.Error("the limits file was written all the same: nobody could log in")
		}
		if _, err := os.Stat(filepath.Join(root, SysctlFile)); err != nil {
			t.Errorf("the rest was not done: %v", err)
		}
	})
}
