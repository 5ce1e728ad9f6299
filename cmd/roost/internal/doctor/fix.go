package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The files that a fix writes, relative to "/".
const (
	SysctlFile = "etc/sysctl.d/60-roost.conf"
	LimitsFile = "etc/security/limits.d/60-roost.conf"
)

// A Setting is one kernel parameter.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A File is a file that a fix writes. Path is relative to "/".
type File struct {
	Path    string `json:"path"`
	Content string `json:"content"`
}

// A Fix holds the settings that make room for a report's target.
type Fix struct {
	// Settings take effect at once and, through SysctlFile, after a restart.
	Settings []Setting `json:"settings,omitempty"`
	// Nofile is the descriptor limit for new logins, 0 if it is high enough.
	Nofile uint64 `json:"nofile,omitempty"`
	// Files are the files that Apply writes.
	Files []File `json:"files,omitempty"`
}

// Empty reports whether there is nothing to do.
func (f Fix) Empty() bool { return len(f.Files) == 0 }

// makeFix collects the settings that the checks of r ask for.
func makeFix(f *Facts, r *Report) Fix {
	var fix Fix
	set := func(name, value string) {
		fix.Settings = append(fix.Settings, Setting{name, value})
	}
	want := NofileFor(r.Target)
	for _, c := range r.Checks {
		if c.Status != TooLow && c.Status != Advice {
			continue
		}
		switch c.Name {
		case "nofile, hard limit":
			fix.Nofile = want
		case "fs.nr_open":
			set(c.Name, fmt.Sprint(want))
		case "fs.file-max":
			set(c.Name, fmt.Sprint(fileMaxFor(f, r.Target)))
		case "net.ipv4.tcp_mem":
			set(c.Name, tcpMemFor(f, r.Target))
		case "net.netfilter.nf_conntrack_max":
			set(c.Name, fmt.Sprint(conntrackFor(f, r.Target)))
		case "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog":
			set(c.Name, fmt.Sprint(backlogWant))
		}
	}
	head := fmt.Sprintf("# Written by roost doctor --fix: room for %s connections.\n", grouped(r.Target))
	if len(fix.Settings) > 0 {
		var b strings.Builder
		b.WriteString(head)
		for _, s := range fix.Settings {
			fmt.Fprintf(&b, "%s = %s\n", s.Name, s.Value)
		}
		fix.Files = append(fix.Files, File{SysctlFile, b.String()})
	}
	if fix.Nofile > 0 {
		var b strings.Builder
		b.WriteString(head)
		b.WriteString("# This applies to new logins; a systemd service needs LimitNOFILE= instead.\n")
		// "*" does not mean root (limits.conf(5)).
		for _, who := range []string{"*", "root"} {
			fmt.Fprintf(&b, "%-5s soft nofile %d\n%-5s hard nofile %d\n", who, fix.Nofile, who, fix.Nofile)
		}
		fix.Files = append(fix.Files, File{LimitsFile, b.String()})
	}
	return fix
}

// Apply sets the kernel parameters and writes the files, under root ("/" outside of
// tests). It goes on after an error and returns all errors joined. If fs.nr_open
// could not be set, it does not write the limits file: pam_limits refuses every
// login while the descriptor limit is above fs.nr_open.
func Apply(root string, fix Fix) error {
	var errs []error
	nrOpenFailed := false
	for _, s := range fix.Settings {
		name := filepath.Join(root, "proc/sys", strings.ReplaceAll(s.Name, ".", "/"))
		// A parameter that does not exist is an error, so no O_CREATE.
		err := overwrite(name, s.Value+"\n")
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
			nrOpenFailed = nrOpenFailed || s.Name == "fs.nr_open"
		}
	}
	for _, file := range fix.Files {
		if file.Path == LimitsFile && nrOpenFailed {
			errs = append(errs, errors.New("/"+LimitsFile+" was not written: with a limit above fs.nr_open every login would be refused"))
			continue
		}
		name := filepath.Join(root, file.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.WriteFile(name, []byte(file.Content), 0o644); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func overwrite(name, content string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}
