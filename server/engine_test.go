package server

import (
	"testing"

	"github.com/roostws/roost/netpoll/engines"
)

// TestDefaultEngine: the library and the binary have the same default.
func TestDefaultEngine(t *testing.T) {
	if first := engines.All()[0]; defaultEngine != first {
		t.Errorf("the default engine is %s, that of package engines is %s", defaultEngine.Name(), first.Name())
	}
}
