//go:build !race

// Under the race detector sync.Pool drops buffers at random, on purpose.

package frame

import (
	"bytes"
	"testing"
)

func wantNoAllocs(t *testing.T, name string, f func()) {
	t.Helper()
	f() // fill the pools
	if n := testing.AllocsPerRun(200, f); n != 0 {
		t.Errorf("%s: %v allocations", name, n)
	}
}

func TestDecoderDoesNotAllocate(t *testing.T) {
	d := new(Decoder)
	d.Reset(fromClient)
	fresh := AppendMaskedFrame(nil, OpText, testKey, bytes.Repeat([]byte("x"), 128))
	p := make([]byte, len(fresh))
	next := func(p []byte, want Opcode) {
		m, n, err := d.Next(p)
		if err != nil || n != len(p) || m.Opcode != want {
			t.Fatalf("Next = %v, %d, %v", m.Opcode, n, err)
		}
	}
	wantNoAllocs(t, "whole frame", func() {
		copy(p, fresh)
		next(p, OpText)
	})
	for _, cut := range []int{1, 5, 6, 7, 100} {
		wantNoAllocs(t, "frame in two reads", func() {
			copy(p, fresh)
			next(p[:cut], 0)
			next(p[cut:], OpText)
		})
	}
	ping := AppendMaskedFrame(nil, OpPing, [4]byte{}, []byte("ping"))
	wantNoAllocs(t, "ping in two reads", func() {
		next(ping[:8], 0)
		next(ping[8:], OpPing)
	})
	bad := []byte{0x83, 0}
	wantNoAllocs(t, "a bad frame and a Reset", func() {
		if _, _, err := d.Next(bad); err == nil {
			t.Fatal("no error")
		}
		d.Reset(fromClient)
	})
}

func TestAppendDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 1024)
	payload := make([]byte, 128)
	wantNoAllocs(t, "AppendFrame", func() { AppendFrame(dst, OpText, payload) })
	wantNoAllocs(t, "AppendMaskedFrame", func() { AppendMaskedFrame(dst, OpText, testKey, payload) })
	wantNoAllocs(t, "AppendClose", func() { AppendClose(dst, CloseGoingAway, "come back later") })
	wantNoAllocs(t, "ParseClose", func() {
		if _, _, err := ParseClose([]byte("\x03\xe8bye")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeflateDoesNotAllocate(t *testing.T) {
	d := new(Decoder)
	d.Reset(&DecoderConfig{ExpectMasked: true, AllowRSV1: true})
	payload := bytes.Repeat([]byte("0123456789abcde\n"), 64)
	dst := make([]byte, 0, 2048)
	wantNoAllocs(t, "compress and inflate", func() {
		frame := AppendMaskedDeflatedFrame(dst, OpText, testKey, payload, 15, nil)
		m, _, err := d.Next(frame)
		if err != nil || !m.Compressed || len(m.Payload) != len(payload) {
			t.Fatalf("Next = %v, %d bytes, %v", m.Opcode, len(m.Payload), err)
		}
	})
}

func TestWindowDoesNotAllocate(t *testing.T) {
	w := NewWindow(10)
	p := make([]byte, 300)
	for range 10 {
		w.Add(p)
	}
	wantNoAllocs(t, "ten times Add to a full window", func() {
		for range 10 {
			w.Add(p)
		}
	})
}
