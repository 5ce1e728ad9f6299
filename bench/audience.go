package bench

import (
	"fmt"
	"time"
)

// An audience is one stream: its publisher and its receivers. A server
// that is one process has one audience; several processes on one port have one
// each, and so have channels that share no subscriber.
type audience struct {
	stream    uint32
	publisher publisher
	members   int
	nextSeq   uint64
}

// A publisher sends messages of a stream.
type publisher interface {
	// publish sends or starts to send what r says; r.Conn is the publisher's
	// own business.
	publish(t *trial, r publishRequest) error
}

// connPublisher sends from one of the connections.
type connPublisher int

func (n connPublisher) publish(t *trial, r publishRequest) error {
	m := t.fleet.holder(int(n))
	if m == nil {
		return fmt.Errorf("no generator holds connection %d", int(n))
	}
	r.Conn = int(n)
	_, err := m.call(t.ctx, request{Op: opPublish, Publish: &r})
	return err
}

// maxAudiences bounds the search.
const maxAudiences = 64

// findAudiences publishes one message at a time until each connection belongs
// to the audience of one of them.
func (t *trial) findAudiences(api publisher) ([]*audience, error) {
	var found []*audience
	for free := 0; free != noConn && len(found) < maxAudiences; {
		a := &audience{stream: publishStream | uint32(len(found)+1), publisher: connPublisher(free)}
		if api != nil {
			a.publisher = api
		}
		t.progress.show("looking for receivers", 0, 0)
		left, err := t.probe(a)
		if err != nil {
			return nil, err
		}
		if a.members > 0 {
			found = append(found, a)
		}
		if api != nil && left != noConn {
			t.result.fault("%d of %d connections receive what is published", a.members, t.opt.Connections)
			break
		}
		if a.members == 0 {
			break
		}
		free = left
	}
	if len(found) == 0 {
		t.result.fault("no connection received what was published")
	}
	if len(found) > 1 {
		t.result.Notes = append(t.result.Notes, fmt.Sprintf("%d groups of connections share no messages (several server processes, or channels); each was measured in its turn", len(found)))
	}
	v, err := t.views()
	if err == nil && v.Arrivals.Foreign > 0 {
		t.result.fault("%d connections did not get a message that their fellows got", v.Arrivals.Foreign)
	}
	return found, err
}

// probe publishes a message and waits until no further connection receives it.
// It returns a connection that did not. The search ends when no further receiver
// has turned up for a fifth of Options.Patience, and takes three of it at most.
func (t *trial) probe(a *audience) (free int, err error) {
	quiet, limit := t.opt.Patience/5, 3*t.opt.Patience
	if _, err := t.fleet.sendAll(t.ctx, request{Op: opProbe, Stream: a.stream}); err != nil {
		return 0, err
	}
	r := publishRequest{Stream: a.stream, Count: 1, Bytes: t.opt.PayloadBytes}
	if err := a.publisher.publish(t, r); err != nil {
		return 0, err
	}
	a.nextSeq = 1
	started := time.Now()
	for grew := started; ; {
		asked := time.Now()
		replies, err := t.fleet.sendAll(t.ctx, request{Op: opMembers, Stream: a.stream})
		if err != nil {
			return 0, err
		}
		count, free := 0, noConn
		for _, r := range replies {
			count += r.Count
			if free == noConn {
				free = r.Free
			}
		}
		now := time.Now()
		if count != a.members {
			a.members, grew = count, now
		}
		if free == noConn || now.Sub(started) > limit || now.Sub(grew) > quiet {
			return free, nil
		}
		// Looking through very many connections takes the generators' time.
		if err := t.pause(max(20*time.Millisecond, 5*now.Sub(asked))); err != nil {
			return 0, err
		}
	}
}

// arm makes the audience's members expect its next messages. It returns
// deliveries, which know how many members each message should reach and report
// the last of them.
func (t *trial) arm(a *audience) (*deliveries, error) {
	d := &deliveries{wakec: make(chan struct{}, 1), firstSeq: a.nextSeq, toLast: newHistogram()}
	replies, err := t.fleet.sendAll(t.ctx, request{Op: opArm, Stream: a.stream, Seq: a.nextSeq})
	if err != nil {
		return nil, err
	}
	for _, r := range replies {
		d.members += r.Count
		if r.Count > 0 {
			d.holders++
		}
	}
	t.fleet.notices(func(_ int, n notice) { d.notice(a.stream, n) })
	return d, nil
}
