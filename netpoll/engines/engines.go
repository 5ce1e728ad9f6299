// Package engines knows all engines of the system that the program was built
// for. It is for programs that let the user choose one, and links them all; to
// embed one, import its package.
package engines

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/roostws/roost/netpoll"
)

// All returns the drivers of this system, the default first.
func All() []netpoll.Driver { return all() }

// Names returns the names of All.
func Names() (names []string) {
	for _, d := range all() {
		names = append(names, d.Name())
	}
	return names
}

// ByName returns the driver of that name.
func ByName(name string) (netpoll.Driver, error) {
	for _, d := range all() {
		if d.Name() == name {
			return d, nil
		}
	}
	return nil, fmt.Errorf("netpoll: no engine %q on %s (there are: %s)", name, runtime.GOOS, strings.Join(Names(), ", "))
}
