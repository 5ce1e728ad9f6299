package frame

import "testing"

func TestBufferClasses(t *testing.T) {
	for _, tt := range []struct{ size, wantCap int }{
		{0, 512}, {1, 512}, {512, 512}, {513, 1024}, {64 << 10, 64 << 10}, {64<<10 + 1, 128 << 10},
		{1 << 20, 1 << 20}, {1<<20 + 1, 1<<20 + 1},
	} {
		buf := newBuffer(tt.size)
		if len(buf.b) != 0 || cap(buf.b) != tt.wantCap {
			t.Errorf("newBuffer(%d) has length %d and capacity %d, want 0 and %d", tt.size, len(buf.b), cap(buf.b), tt.wantCap)
		}
		buf.b = append(buf.b, "left over"...)
		buf.free()
	}
}

func TestBufferGrowth(t *testing.T) {
	tests := []struct {
		name            string
		held            int // bytes in a buffer that has room for 2 MiB
		need, last      int
		wantCap         int
		wantSameStorage bool
	}{
		{"room left", 1 << 20, 1 << 20, 0, 2 << 20, true},
		{"doubles", 2 << 20, 1, 0, 4 << 20, false},
		{"not past the end", 2 << 20, 1, 2<<20 + 77, 2<<20 + 77, false},
		{"the end is far: what was declared is not trusted", 2 << 20, 1, 1 << 30, 4 << 20, false},
		{"needs more than double", 2 << 20, 5 << 20, 0, 7 << 20, false},
		{"an end that has been passed says nothing", 2 << 20, 2, 2<<20 + 1, 4 << 20, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			buf := newBuffer(2 << 20)
			buf.b = buf.b[:tt.held]
			buf.b[0], buf.b[tt.held-1] = 1, 2
			got := buf.withRoom(tt.need, tt.last)
			if (got == buf) != tt.wantSameStorage || cap(got.b) != tt.wantCap {
				t.Errorf("capacity %d, want %d", cap(got.b), tt.wantCap)
			}
			if len(got.b) != tt.held || got.b[0] != 1 || got.b[tt.held-1] != 2 {
				t.Error("the content changed")
			}
		})
	}
}
