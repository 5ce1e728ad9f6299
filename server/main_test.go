package server_test

import (
	"flag"
	"testing"

	"github.com/roostws/roost/internal/leaktest"
)

// TestMain lets more tests run at a time than there are processors: those that do
// spend their time waiting for deadlines.
func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "24") // before the command line is read, which may say otherwise
	leaktest.Main(m)
}
