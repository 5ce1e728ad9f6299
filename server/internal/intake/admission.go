package intake

import (
	"math"
	"time"

	"github.com/roostws/roost/netpoll"
)

// Admission lets newcomers in at the rate that their loop can take. Those beyond it wait
// in the order in which they came, and those beyond the queue get an appointment.
//
// The rate follows the loop: while newcomers wait, the loop is to come round every
// AdmissionStep, and how late it does shows how busy it is, with its other connections,
// with other processes, or with the garbage collector. A loop that is late gets fewer
// newcomers, one that is not gets more.
type Admission struct {
	// Max is how many may wait; 0 turns Admission off.
	Max int
	// Rate is the most that are let in a second; 0: as many as the loop can take.
	Rate float64
	// Patience is the longest wait in the queue, as far as it can be foreseen.
	Patience time.Duration

	rate    float64 // a second, what the loop takes; 0 before the first
	credit  float64 // connections that may come in now
	filled  time.Duration
	slowed  time.Duration // when the rate was lowered last
	booked  time.Duration // the next appointment
	waiting []netpoll.ID  // from first on; some may have ended meanwhile
	first   int
}

const (
	// AdmissionStep is how often newcomers are let in while some wait.
	AdmissionStep = 2 * time.Millisecond

	rateFirst = 20_000
	// rateLeast costs a few percent of a processor: a server that is busy through and
	// through takes that many, too.
	rateLeast = 500
	rateMost  = 50_000
	// lateMost is the lateness of a loop beyond which it takes fewer.
	lateMost = 2 * time.Millisecond
	// slowInterval is the least time between two cuts: the effect of one must show.
	slowInterval = 20 * time.Millisecond
	// bookedPart of the rate is given away in appointments. The rest is for clients that
	// come without one.
	bookedPart = 0.8
	// AppointmentMax is the latest appointment in a storm.
	AppointmentMax = 5 * time.Minute
)

// A Turn is what Arrive says to a newcomer.
type Turn uint8

const (
	// Enters: it may come in now.
	Enters Turn = iota
	// Waits: it is in the queue, and comes out of it by Next.
	Waits
	// ComesBack: it can't be held.
	ComesBack
)

// Arrive is called for each newcomer.
func (a *Admission) Arrive(id netpoll.ID, now time.Duration) Turn {
	a.fill(now)
	switch n := a.Waiting(); {
	case a.Max == 0:
		return Enters
	case n == 0 && a.credit >= 1:
		a.credit--
		return Enters
	case n >= a.Max || a.Forecast() > a.Patience:
		return ComesBack
	}
	a.waiting = append(a.waiting, id)
	return Waits
}

// Next returns the first of the queue if it may come in now. A caller that does not find
// it any more calls Return.
func (a *Admission) Next(now time.Duration) (id netpoll.ID, ok bool) {
	a.fill(now)
	if a.Waiting() == 0 || a.credit < 1 {
		return 0, false
	}
	a.credit--
	id = a.waiting[a.first]
	if a.first++; a.first == len(a.waiting) {
		a.waiting, a.first = nil, 0 // a storm's queue is not kept
	}
	return id, true
}

// Return gives back what the one before in the queue was let in with: it has gone.
func (a *Admission) Return() { a.credit++ }

// Waiting is how many are in the queue.
func (a *Admission) Waiting() int { return len(a.waiting) - a.first }

// Late notes how late the loop was that was to come round.
func (a *Admission) Late(late, now time.Duration) {
	switch {
	case late <= lateMost:
		a.rate = min(a.Effective()*1.02+5, rateMost)
	case now-a.slowed >= slowInterval:
		a.slowed = now
		a.rate = max(a.Effective()*0.7, rateLeast)
	}
}

// Effective is how many are let in a second.
func (a *Admission) Effective() float64 {
	rate := a.rate
	if rate == 0 {
		rate = rateFirst
	}
	if a.Rate > 0 {
		rate = min(rate, a.Rate)
	}
	return rate
}

// Forecast is how long one that comes now would wait.
func (a *Admission) Forecast() time.Duration {
	return time.Duration(float64(a.Waiting()) / a.Effective() * float64(time.Second))
}

// Appointment returns after how long a client comes back that is not let in: each has a
// place of its own behind the queue and behind those that were sent away before, and
// behind least. Beyond most there are no places of their own.
func (a *Admission) Appointment(least, most, now time.Duration) time.Duration {
	at := min(max(a.booked, now+max(a.Forecast(), least)), now+most)
	next := at + time.Duration(float64(time.Second)/(a.Effective()*bookedPart))
	a.booked = max(a.booked, min(next, now+most))
	return at - now
}

// fill adds what may come in since the last time. A burst of some milliseconds needs no
// queue.
func (a *Admission) fill(now time.Duration) {
	rate := a.Effective()
	burst := max(rate/50, 8)
	if a.Rate > 0 {
		burst = max(min(burst, a.Rate/10), 1)
	}
	if a.Waiting() > 0 {
		burst = max(burst, rate/4) // a loop that is late comes round seldom, and takes rateLeast still
	}
	if a.rate == 0 {
		a.rate, a.credit, a.filled = rateFirst, burst, now
		return
	}
	a.credit = math.Min(a.credit+rate*(now-a.filled).Seconds(), burst)
	a.filled = now
}
