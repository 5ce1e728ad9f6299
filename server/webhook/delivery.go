package webhook

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/roostws/roost/internal/retry"
	"github.com/roostws/roost/server/protocol"
)

// trouble is what a Sender knows of failures that have not ended. It is owned by run.
type trouble struct {
	failures int           // since the last attempt that succeeded
	backoff  retry.Backoff // between them
	after    time.Duration // what the application asked for, with the last of them
	before   uint64        // of dropped, when the first of them failed
	warned   bool          // in the log
	probed   bool          // the last attempt was a probe
	// proof is whether the application has accepted something since the first of
	// line began to fail, and since the last event was set aside: then the reason
	// is the event.
	proof bool
}

// run delivers until the queue is closed and everything is delivered or given up.
func (s *Sender) run() {
	defer close(s.donec)
	for {
		if len(s.line) == 0 {
			if s.ended && s.carried == nil {
				break
			}
			s.gather(s.asideAlarm())
		}
		s.retryAside()
		if len(s.line) > 0 {
			s.step()
		}
	}
	s.endAside()
}

// gather waits for an event until alarm, takes as many more as fit and come in time,
// and puts them at the end of the line as a batch.
func (s *Sender) gather(alarm <-chan time.Time) {
	first := s.carried
	if s.carried = nil; first == nil {
		if first = s.receive(alarm); first == nil {
			return
		}
	}
	b := newBatch(first)
	delay := time.NewTimer(s.cfg.BatchMaxDelay)
	defer delay.Stop()
	for len(b.events) < s.cfg.BatchMaxEvents {
		next := s.receive(delay.C)
		if next == nil {
			break
		}
		if b.size+len(next.json) > s.cfg.BatchMaxBytes {
			s.carried = next
			break
		}
		b.add(next)
	}
	s.line = append(s.line, b)
}

// receive returns the next event of the queue, nil if alarm comes first or the queue
// is closed and empty.
func (s *Sender) receive(alarm <-chan time.Time) *encoded {
	select {
	case e, ok := <-s.queue:
		if !ok {
			s.ended = true
			return nil
		}
		s.queuedBytes.Add(-int64(cost(e)))
		return &encoded{kind: e.Type, client: e.Client, channel: e.Channel, json: s.encode(e)}
	case <-alarm:
		return nil
	}
}

// encode returns an event in the form of the requests.
func (s *Sender) encode(e *protocol.Event) []byte {
	if s.cfg.Form != nil {
		return s.cfg.Form.Event(e)
	}
	return encode(e)
}

// step makes one attempt, after a pause if the last one failed.
func (s *Sender) step() {
	if s.failures > 0 {
		s.pause()
	}
	if s.ctx.Err() != nil {
		s.giveUp(s.remove(0), "no time was left when it was closed")
		return
	}
	i, overtakes := s.choose()
	o := s.attempt(s.line[i])
	switch {
	case o.accepted:
		if overtakes {
			for _, earlier := range s.line[:i] {
				earlier.setLate()
			}
		}
		s.accepted(s.remove(i))
	case o.refused:
		s.recovered()
		s.giveUp(s.remove(i), o.reason)
	default:
		s.failed(i, o)
	}
}

// remove takes a batch out of the line.
func (s *Sender) remove(i int) *batch {
	b := s.line[i]
	s.line = slices.Delete(s.line, i, i+1)
	return b
}

// choose returns the place in the line of the batch to try: the first, but for a
// suspect every second time a later event, which shows whether the application
// accepts anything. overtakes reports whether an earlier event has the same client or
// channel.
func (s *Sender) choose() (i int, overtakes bool) {
	s.probed = s.line[0].suspect() && !s.proof && !s.probed
	if !s.probed {
		return 0, false
	}
	p := findProbe(s.line)
	if p.score > 0 && countEvents(s.line) < max(2*s.cfg.BatchMaxEvents, 2*asideMaxEvents) {
		s.gather(time.After(s.cfg.BatchMaxDelay))
		p = findProbe(s.line)
	}
	if b := s.line[p.place]; len(b.events) > 1 {
		s.line = slices.Replace(s.line, p.place, p.place+1, b.cut(p.event, p.event+1)...)
		if p.event > 0 {
			p.place++
		}
	}
	return p.place, p.related
}

// A probe is an event of a line.
type probe struct {
	place, event int
	related      bool // an earlier event has its client or channel
	score        int  // lower is better
}

// relatedScore is how many failures a probe has to have before one is better that
// breaks the order of its client or channel.
const relatedScore = 2

// findProbe returns the event to try instead of the first. Without later events it
// is the first.
func findProbe(line []*batch) probe {
	best := probe{score: 1 << 30}
	clients, channels := map[string]bool{"": true}, map[string]bool{"": true}
	for place, b := range line {
		for i, e := range b.events {
			p := probe{place: place, event: i, score: b.blamed}
			if p.related = e.client != "" && clients[e.client] || e.channel != "" && channels[e.channel]; p.related {
				p.score += relatedScore
			}
			if place > 0 && p.score < best.score {
				best = p
			}
			clients[e.client], channels[e.channel] = true, true
		}
	}
	return best
}

func countEvents(line []*batch) (n int) {
	for _, b := range line {
		n += len(b.events)
	}
	return n
}

// failed handles a failure of the batch at a place in the line.
func (s *Sender) failed(i int, o outcome) {
	if s.failures++; s.failures == 1 {
		s.before = s.dropped.Load()
	}
	s.after = o.after
	if !s.warned {
		if _, s.warned = s.troubles.Pass(); s.warned {
			s.cfg.Logger.Warn("the web hook fails; its events wait", "url", s.endpoint.shown, "reason", o.reason)
		}
	}
	b := s.line[i]
	if o.blames {
		if b.blamed == 0 && !b.part {
			s.proof = false
		}
		b.blamed++
	}
	switch {
	case s.tooOld(b):
		for j := len(s.line) - 1; j >= 0; j-- {
			if s.tooOld(s.line[j]) {
				s.giveUp(s.remove(j), "it failed for "+s.cfg.RetryMaxAge.String()+", last with: "+o.reason)
			}
		}
	case i > 0 || !o.blames || b.blamed < b.patience():
	case len(b.events) > 1:
		s.line = slices.Replace(s.line, 0, 1, b.cut(len(b.events)/2)...)
	case s.proof:
		s.proof = false
		s.putAside(s.remove(0), o.reason)
	}
}

// tooOld reports whether a batch has been tried for RetryMaxAge.
func (s *Sender) tooOld(b *batch) bool {
	return !b.begin.IsZero() && time.Since(b.begin) >= s.cfg.RetryMaxAge
}

// outcome is what an attempt has led to. Neither accepted nor refused is a failure.
type outcome struct {
	accepted bool
	refused  bool          // for good: the same request would be refused again
	blames   bool          // the events may be the cause of the failure
	after    time.Duration // how long the application asks to wait
	reason   string
}

// answerMaxBytes is what is read of an answer that says nothing but its status,
// so that the connection can be used again.
const answerMaxBytes = 16 << 10

// attempt posts a batch.
func (s *Sender) attempt(b *batch) outcome {
	if b.begin.IsZero() {
		b.begin = time.Now()
	}
	b.prepare(s.cfg.Form, s.told, s.dropped.Load())
	a, err := s.endpoint.post(s.ctx, b.id, b.body, answerMaxBytes, true)
	if err == nil && a.status/100 == 2 {
		return outcome{accepted: true}
	}
	s.failedTries.Add(1)
	if err != nil {
		// A connection that ends, or no answer in time, may be a crash or an endless
		// loop over an event.
		return outcome{reason: err.Error(), blames: !errors.Is(err, errNotSent)}
	}
	o := outcome{reason: a.text(), after: a.retryAfter}
	switch {
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status == http.StatusTooManyRequests:
	case a.status/100 == 4:
		o.refused = true
	default:
		// With Retry-After the application says that it is the moment, not the events.
		o.blames = a.status >= 500 && a.retryAfter == 0
	}
	return o
}

// pause waits before the next attempt. It returns at once when Close has no time left.
func (s *Sender) pause() {
	var age time.Duration
	if begin := s.line[0].begin; !begin.IsZero() {
		age = time.Since(begin)
	}
	timer := time.NewTimer(s.delay(age))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// delay returns how long to wait before the next attempt at a batch of some age: as
// long as the application has asked for, or as the back-off says.
func (s *Sender) delay(age time.Duration) time.Duration {
	if s.after > 0 {
		return min(s.after, s.cfg.RetryMaxAge)
	}
	// The last attempt comes when the batch is about to be too old.
	return min(s.backoff.Next(), max(s.cfg.RetryMaxAge-age, 0))
}

// recovered notes that the application has answered.
func (s *Sender) recovered() {
	s.failures, s.after, s.warned = 0, 0, false
	s.backoff.Reset()
}

// accepted counts a batch that the application has accepted.
func (s *Sender) accepted(b *batch) {
	if s.warned {
		s.cfg.Logger.Info("the web hook works again", "url", s.endpoint.shown, "failed_tries", s.failures, "dropped", s.dropped.Load()-s.before)
	}
	s.recovered()
	s.proof = true
	s.told += b.untold
	s.batches.Add(1)
	s.sent.Add(uint64(len(b.events)))
	for _, e := range b.events {
		s.wanted[e.kind].sent.Add(1)
	}
	s.queuedEvents.Add(-int64(len(b.events)))
}

// giveUp drops the events of a batch. The next batch that is accepted tells how many.
func (s *Sender) giveUp(b *batch, reason string) {
	for _, e := range b.events {
		s.drop(e.kind)
	}
	s.queuedEvents.Add(-int64(len(b.events)))
	if held, ok := s.refusals.Pass(); ok {
		s.cfg.Logger.Error("events are lost: the web hook did not accept them",
			"url", s.endpoint.shown, "reason", reason, "events", len(b.events), "dropped", s.dropped.Load(), "lines_held", held)
	}
}
