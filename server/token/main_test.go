package token

import (
	"testing"

	"github.com/roostws/roost/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
