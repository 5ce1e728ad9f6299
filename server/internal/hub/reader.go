package hub

// A Reader is the place in a history from which a connection reads on, because it
// resumes or because its socket was full. It is a value of 16 bytes, owned by the
// connection's loop. While it exists the history keeps what it has to read, within
// Config.LagMaxBytes of all channels together. The zero Reader reads nothing.
type Reader struct {
	History *History // nil in the zero Reader
	// Next is the offset that comes next. The owner moves it on. 0 stands for a reader
	// that has to learn first where its history begins, see ReadAnew.
	Next uint64
}

// Read makes a Reader of l that goes on with offset next.
func (l *History) Read(next uint64) Reader {
	l.stripe.mu.Lock()
	defer l.stripe.mu.Unlock()
	return l.read(next)
}

// read is Read with the lock held.
func (l *History) read(next uint64) Reader {
	l.readers++
	l.hub.kept.readers.Add(1)
	return Reader{l, next}
}

// ReadAnew makes a Reader of l for a connection that has not learned yet that l took the
// place of another history: its Take returns a Passage with Anew.
func (l *History) ReadAnew() Reader { return l.Read(0) }

// Seq is what stands for Next where offsets of several epochs are compared.
func (r Reader) Seq() uint32 { return r.History.Seq(max(r.Next, r.History.begin)) }

// A Passage is what a Reader finds.
type Passage struct {
	// First and Tip are the offsets of the oldest and the newest message that are
	// kept; First is Tip+1 if there are none. Tip is the offset of At.
	First, Tip uint64
	// Messages are the next ones, none if they have been dropped: Next is less than
	// First then.
	Messages []*Message
	// End reports that the reader had read everything and is closed: messages after
	// Tip are in an inbox, or will be.
	End bool
	// Anew reports that another history has taken the place of the reader's, or the
	// reader is from ReadAnew. The reader is closed: what it had not read is lost to it,
	// and messages after At are in an inbox, or will be.
	Anew bool
	// At is where the channel stands.
	At Place
}

// Take returns the next messages, up to frames of them and of together at most
// maxBytes (but one at least), in dst. With PolicyLatest they are the newest of
// each key, without these bounds.
func (r *Reader) Take(dst []*Message, frames, maxBytes int) Passage {
	l := r.History
	l.stripe.mu.Lock()
	defer l.stripe.mu.Unlock()
	p := Passage{First: l.first, Tip: l.tip(), Messages: dst, At: l.place()}
	switch {
	case l.ended || r.Next == 0:
		p.Anew, p.At = true, l.hub.place(l.stripe, l.floor, l.name)
		r.close()
	case r.Next > p.Tip:
		p.End = true
		r.close()
	case l.ns.Policy == PolicyLatest:
		p.Messages = l.latest(dst, r.Next)
	default:
		p.Messages = l.since(dst, r.Next, frames, maxBytes)
	}
	return p
}

// Close ends the reader: the history keeps nothing for it any more.
func (r *Reader) Close() {
	if l := r.History; l != nil {
		l.stripe.mu.Lock()
		defer l.stripe.mu.Unlock()
		r.close()
	}
}

func (r *Reader) close() {
	l := r.History
	r.History = nil
	l.hub.kept.readers.Add(-1)
	if l.readers--; l.readers == 0 && l.len() > 0 {
		l.evict(l.hub.cfg.Now().UnixMilli())
	}
}

// Behind is how many messages the reader has still to read.
func (r *Reader) Behind() uint64 {
	l := r.History
	l.stripe.mu.Lock()
	defer l.stripe.mu.Unlock()
	if r.Next == 0 {
		return 0
	}
	return l.tip() + 1 - r.Next
}
