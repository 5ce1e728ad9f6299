package main

import (
	"os/exec"
	"strings"
	"testing"
)

// curl gets several pages of the demo over one connection.
func TestCurlKeepsItsConnection(t *testing.T) {
	p := startRoost(t, "--addr", "127.0.0.1:0", "--demo")
	base := "http://" + p.addr
	out, err := exec.CommandContext(t.Context(), "curl", "-sS", "--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n", "--output", "/dev/null",
		base+"/", base+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != "200 1 200 0" {
		t.Errorf("statuses and connections %q, want two pages over one connection", got)
	}
}
