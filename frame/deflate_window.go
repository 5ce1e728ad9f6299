package frame

// A Window is what one direction of a connection remembers for context takeover
// (RFC 7692, section 7.2): the last bytes, up to 32 KiB, of the messages that were
// sent compressed, uncompressed. It starts small and grows as messages pass. A
// nil *Window remembers nothing.
//
// It belongs to its connection and is used by one goroutine at a time; the
// compressor and the decompressor that work with it are shared and pooled.
type Window struct {
	size int
	b    []byte
}

// NewWindow makes a window of 1<<bits bytes at most; bits is 8 to 15.
func NewWindow(bits int) *Window {
	return &Window{size: 1 << min(max(bits, minWindowBits), maxWindowBits)}
}

// ServerWindow makes the window for what the server sends, nil if each message
// stands alone.
func (p DeflateParams) ServerWindow() *Window {
	if !p.Enabled || p.ServerNoContextTakeover {
		return nil
	}
	return NewWindow(p.ServerMaxWindowBits)
}

// ClientWindow makes the window for what the client sends, nil if each message
// stands alone.
func (p DeflateParams) ClientWindow() *Window {
	if !p.Enabled || p.ClientNoContextTakeover {
		return nil
	}
	return NewWindow(p.ClientMaxWindowBits)
}

// Add remembers a message that was sent compressed. AppendDeflatedFrame and the
// Decoder do so themselves; it is for a [Prepared.Compressed] frame sent
// to a peer with context takeover, and to restore a window from Bytes. It copies
// p.
func (w *Window) Add(p []byte) {
	if w == nil {
		return
	}
	if len(p) >= w.size {
		w.b = append(w.b[:0], p[len(p)-w.size:]...)
		return
	}
	if drop := len(w.b) + len(p) - w.size; drop > 0 {
		w.b = w.b[:copy(w.b, w.b[drop:])]
	}
	w.b = append(w.b, p...)
}

// Bytes is what is remembered, valid until the next Add.
func (w *Window) Bytes() []byte {
	if w == nil {
		return nil
	}
	return w.b
}
