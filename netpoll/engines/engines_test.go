//go:build linux || darwin || freebsd

package engines_test

import (
	"strings"
	"testing"

	"github.com/roostws/roost/netpoll/engines"
)

func TestByName(t *testing.T) {
	for _, driver := range engines.All() {
		if got, err := engines.ByName(driver.Name()); got != driver || err != nil {
			t.Errorf("ByName(%q) = %v, %v", driver.Name(), got, err)
		}
	}
	if got, err := engines.ByName("carrier pigeon"); got != nil || err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("ByName of an engine that does not exist = %v, %v", got, err)
	}
}
