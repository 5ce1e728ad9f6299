package intake

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/roostws/roost/netpoll"
)

// storm is a world of clients that come to one Admission: those in the queue may give up,
// and those that are sent away come back at their appointment.
type storm struct {
	a       Admission
	random  *rand.Rand
	now     time.Duration
	next    netpoll.ID
	gone    map[netpoll.ID]bool
	waiting []netpoll.ID // as they should be let in
	entered int
	refused map[netpoll.ID]int
	back    map[time.Duration][]netpoll.ID
	last    time.Duration // the last appointment
}

func (w *storm) arrive(t *testing.T, id netpoll.ID) {
	switch w.a.Arrive(id, w.now) {
	case Enters:
		if len(w.waiting) > 0 {
			t.Fatalf("at %v %d came in before %d", w.now, id, w.waiting[0])
		}
		w.entered++
	case Waits:
		w.waiting = append(w.waiting, id)
	case ComesBack:
		w.refused[id]++
		after := w.a.Appointment(0, AppointmentMax, w.now)
		at := (w.now + after).Truncate(AdmissionStep) + AdmissionStep
		w.back[at] = append(w.back[at], id)
		w.last = max(w.last, w.now+after)
	}
}

// step lets time pass by one step, of which the loop is as late as it is busy.
func (w *storm) step(t *testing.T, late time.Duration) {
	w.now += AdmissionStep
	for _, id := range w.back[w.now] {
		w.arrive(t, id)
	}
	delete(w.back, w.now)
	w.a.Late(late, w.now)
	for {
		id, ok := w.a.Next(w.now)
		if !ok {
			return
		}
		for len(w.waiting) > 0 && w.waiting[0] != id {
			t.Fatalf("at %v %d came in before %d", w.now, id, w.waiting[0])
		}
		w.waiting = w.waiting[1:]
		if w.gone[id] {
			w.a.Return()
			continue
		}
		w.entered++
	}
}

func newStorm(seed uint64, a Admission) *storm {
	return &storm{a: a, random: rand.New(rand.NewPCG(seed, 1)), gone: map[netpoll.ID]bool{}, refused: map[netpoll.ID]int{}, back: map[time.Duration][]netpoll.ID{}}
}

// Newcomers come in in the order in which they came, none faster than the rate; those who
// are sent away come back spread, and are let in then. Seeds.
func TestAdmissionOrder(t *testing.T) {
	for seed := range uint64(50) {
		w := newStorm(seed, Admission{Max: 1 + int(seed)*20, Patience: 5 * time.Second, Rate: []float64{0, 300, 5000}[seed%3]})
		clients := 200 + w.random.IntN(3000)
		left := clients
		gone := 0
		for steps := 0; w.entered+gone < clients; steps++ {
			if steps > 1_000_000 {
				t.Fatalf("seed %d: %d of %d are in after %v, %d wait", seed, w.entered, clients, w.now, w.a.Waiting())
			}
			for n := w.random.IntN(200); n > 0 && left > 0; n-- {
				left--
				w.next++
				w.arrive(t, w.next)
			}
			if len(w.waiting) > 0 && w.random.IntN(10) == 0 {
				if id := w.waiting[w.random.IntN(len(w.waiting))]; !w.gone[id] {
					w.gone[id] = true
					gone++
				}
			}
			late := time.Duration(0)
			if w.random.IntN(8) == 0 {
				late = time.Duration(w.random.IntN(10)) * time.Millisecond
			}
			w.step(t, late)
			if most := max(w.a.Rate, 1) * (w.now.Seconds() + 0.2); w.a.Rate > 0 && float64(w.entered) > most+8 {
				t.Fatalf("seed %d: %d are in after %v, at %v a second", seed, w.entered, w.now, w.a.Rate)
			}
		}
		if w.a.waiting != nil && w.a.Waiting() == 0 {
			t.Errorf("seed %d: an empty queue is kept", seed)
		}
	}
}

// Of a storm that is larger than the queue none is sent away twice, and all are in when
// the last appointment says so.
func TestAdmissionKeepsAppointments(t *testing.T) {
	w := newStorm(1, Admission{Max: 1000, Patience: 5 * time.Second, Rate: 1000})
	const clients = 18_000
	for range clients {
		w.next++
		w.arrive(t, w.next)
	}
	for w.entered < clients && w.now < 5*time.Minute {
		w.step(t, 0)
	}
	for id, n := range w.refused {
		if n > 1 {
			t.Fatalf("client %d was sent away %d times", id, n)
		}
	}
	if len(w.refused) == 0 || w.entered != clients || w.now > w.last+time.Second {
		t.Errorf("%d of %d are in after %v, %d of them sent away once; the last appointment was at %v", w.entered, clients, w.now, len(w.refused), w.last)
	}
	if want := time.Duration(clients/1000/bookedPart*1000) * time.Millisecond; w.now > want+2*time.Second {
		t.Errorf("all were in after %v, want some %v", w.now, want)
	}
}

// A loop that is late takes fewer, but never none; one that is not takes more.
func TestAdmissionRate(t *testing.T) {
	var a Admission
	a.Max = 1
	first := a.Effective()
	for now := time.Duration(0); now < time.Second; now += AdmissionStep {
		a.Late(10*time.Millisecond, now)
	}
	if got := a.Effective(); got != rateLeast {
		t.Errorf("a busy loop takes %v a second, want %v", got, rateLeast)
	}
	for now := time.Second; now < 2*time.Second; now += AdmissionStep {
		a.Late(0, now)
	}
	if got := a.Effective(); got <= 2*first {
		t.Errorf("an idle loop takes %v a second, %v at first", got, first)
	}
	if a.Rate = 100; a.Effective() != 100 {
		t.Errorf("it takes %v a second, want 100 as it was told", a.Effective())
	}
}

// A loop that comes round ten times a second takes rateLeast still.
func TestAdmissionOfALateLoop(t *testing.T) {
	a := Admission{Max: 10_000, Patience: time.Minute}
	for id := range netpoll.ID(5000) {
		a.Arrive(id+1, 0)
	}
	now, in := time.Duration(0), 0
	for ; now < 4*time.Second; now += 100 * time.Millisecond {
		a.Late(98*time.Millisecond, now)
		for {
			if _, ok := a.Next(now); !ok {
				break
			}
			in++
		}
	}
	if least := int(now.Seconds()*rateLeast) - 100; in < least {
		t.Errorf("%d came in within %v, want %d at least", in, now, least)
	}
}

// Where none is wanted, nobody waits.
func TestAdmissionOff(t *testing.T) {
	var a Admission
	for id := range netpoll.ID(10_000) {
		if a.Arrive(id, 0) != Enters {
			t.Fatal("one had to wait")
		}
	}
}
