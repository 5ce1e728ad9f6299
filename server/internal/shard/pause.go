package shard

import "github.com/roostws/roost/netpoll"

// pause stops reading id for one more reason.
func (s *Shard) pause(id netpoll.ID, sl *slot, reason uint16) {
	if sl.flags&flagsPaused == 0 {
		s.loop.PauseRead(id)
		s.count.Paused.Add(1)
	}
	sl.flags |= reason
}

// resume takes one reason away. If it was the last, what waits in ext.input is
// handled first, and may pause again; then the socket is read again.
func (s *Shard) resume(id netpoll.ID, sl *slot, reason uint16) {
	if sl.flags&reason == 0 {
		return
	}
	sl.flags &^= reason
	if sl.flags&flagsPaused != 0 {
		return
	}
	s.count.Paused.Add(-1)
	s.loop.ResumeRead(id)
	if sl.ext == 0 || s.exts[sl.ext].input == nil || (sl.state != stateOpen && sl.state != stateClosing) {
		return
	}
	x := s.exts[sl.ext]
	input := x.input
	x.input = nil
	s.handleFrames(id, sl, input)
	s.recycleInput(input)
	if sl.generation == id.Generation() {
		s.dropExt(sl)
	}
}

// hold keeps bytes that must not be looked at now.
func (s *Shard) hold(sl *slot, p []byte) {
	if len(p) == 0 {
		return
	}
	x := s.extOf(sl)
	if x.input == nil && cap(s.spareInput) > 0 {
		x.input, s.spareInput = s.spareInput[:0], nil
	}
	x.input = append(x.input, p...)
}

// putInput gives x's input buffer back.
func (s *Shard) putInput(x *ext) {
	input := x.input
	x.input, x.headScanned = nil, 0
	s.recycleInput(input)
}

// recycleInput keeps one buffer for the next connection that needs one.
func (s *Shard) recycleInput(input []byte) {
	if input != nil && cap(input) <= 16<<10 {
		s.spareInput = input[:0]
	}
}
