//go:build unix

package offheap

import "testing"

func TestTable(t *testing.T) {
	type row struct {
		a uint32
		b [3]uint16
	}
	table, err := New[row](1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1000 {
		t.Fatalf("%d rows, want 1000", len(table.Rows))
	}
	for i := range 700 {
		if table.Rows[i] != (row{}) {
			t.Fatalf("row %d is %v before it is written, want zero", i, table.Rows[i])
		}
		table.Rows[i] = row{uint32(i) + 1, [3]uint16{1, 2, 3}}
	}
	table.Clear(700)
	for i, r := range table.Rows {
		if r != (row{}) {
			t.Fatalf("row %d is %v after Clear, want zero", i, r)
		}
	}
	table.Rows[999].a = 1
	table.Free()
	table.Free()
	if table.Rows != nil {
		t.Error("the table has rows after Free")
	}
}

func TestEmptyTable(t *testing.T) {
	table, err := New[uint32](0)
	if err != nil {
		t.Fatal(err)
	}
	table.Clear(0)
	table.Free()
	var zero Table[uint64]
	zero.Clear(0)
	zero.Free()
}

func TestRowsHoldNoPointers(t *testing.T) {
	for name, reserve := range map[string]func(){
		"pointer":   func() { _, _ = New[*int](1) },
		"string":    func() { _, _ = New[struct{ s string }](1) },
		"slice":     func() { _, _ = New[[2]struct{ b []byte }](1) },
		"map":       func() { _, _ = New[map[int]int](1) },
		"interface": func() { _, _ = New[struct{ any }](1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a table of rows with a %s was made", name)
				}
			}()
			reserve()
		}()
	}
}
