package webhook

import (
	"strconv"
	"time"

	"github.com/roostws/roost/server/protocol"
)

// encoded is an event on its way into a batch.
type encoded struct {
	kind            protocol.EventType
	client, channel string
	json            []byte
}

// A batch is some events, and the request that tells them.
type batch struct {
	events []*encoded
	size   int // of the body, if nothing was dropped

	part   bool      // of a batch that failed
	late   bool      // later events of the same clients and channels may have got through
	blamed int       // failures that these events may have caused
	begin  time.Time // of the first attempt, for a part that of the whole; zero before

	// The request, made by prepare. It stays the same from attempt to attempt, so
	// that a receiver knows a repetition.
	id     string
	body   []byte
	untold uint64 // the number of dropped events in body
	told   uint64 // of dropped events, before body
}

// envelope is the most that a body holds beside its events.
const envelope = len(`{"events":[],"late":true,"dropped":18446744073709551615}`)

func newBatch(events ...*encoded) *batch {
	b := &batch{size: envelope}
	for _, e := range events {
		b.add(e)
	}
	return b
}

func (b *batch) add(e *encoded) {
	b.events = append(b.events, e)
	b.size += len(e.json) + 1
}

// prepare makes the request unless there is one that is still true: dropped events
// are counted so far, and told ones are known to the application.
func (b *batch) prepare(form *Form, told, dropped uint64) {
	if b.body != nil && b.told == told {
		return
	}
	b.id, b.told, b.untold = newID(), told, dropped-told
	begin := []byte(`{"events":[`)
	if form != nil {
		begin = form.Begin()
	}
	body := append(make([]byte, 0, len(begin)+b.size), begin...)
	for i, e := range b.events {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, e.json...)
	}
	body = append(body, ']')
	if b.late && form == nil {
		body = append(body, `,"late":true`...)
	}
	if b.untold > 0 && form == nil {
		body = append(body, `,"dropped":`...)
		body = strconv.AppendUint(body, b.untold, 10)
	}
	b.body = append(body, '}')
}

// setLate has the batch say that it is late.
func (b *batch) setLate() {
	if !b.late {
		b.late, b.body = true, nil
	}
}

// cut divides a batch before the events with the numbers at, in ascending order.
func (b *batch) cut(at ...int) []*batch {
	var parts []*batch
	from := 0
	for _, to := range append(at, len(b.events)) {
		if from < to {
			p := newBatch(b.events[from:to]...)
			p.part, p.late, p.blamed, p.begin = true, b.late, 0, b.begin
			parts = append(parts, p)
		}
		from = to
	}
	return parts
}

// patience is how many failures may be due to something else before a batch is
// divided, or its only event set aside. Each part has its history of failures.
func (b *batch) patience() int {
	if b.part {
		return 1
	}
	return 4
}

// suspect reports whether a batch holds a single event that the application seems
// to fail on.
func (b *batch) suspect() bool { return len(b.events) == 1 && b.blamed >= b.patience() }
