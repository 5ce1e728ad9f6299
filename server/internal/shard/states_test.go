package shard

import "testing"

func init() { checkStates = true }

// In tests a transition that is not in the diagram is a panic.
func TestIllegalTransition(t *testing.T) {
	s, _, ids, _ := freeRig(t, 1)
	c, _ := s.find(ids[0])
	defer func() {
		if recover() == nil {
			t.Error("an open connection became one whose request head is read")
		}
	}()
	c.setState(stateHead)
}
