package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/roostws/roost/netpoll/engines"
)

// VersionCmd is roost version.
type VersionCmd struct{}

// Run prints what this binary is.
func (VersionCmd) Run(s streams) error {
	names := engines.Names()
	_, err := fmt.Fprintf(s.out, "roost %s\n%s %s/%s, engines: %s (default %s)\n",
		version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, strings.Join(names, ", "), names[0])
	return err
}

// version is the module's version, or the commit that the binary was built
// from, as far as the build knew it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if commit == "" {
		return "devel"
	}
	return "devel-" + commit + dirty
}
