package demo

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/web"
)

// A feed has a goroutine only while its channel has subscribers, and for the time that it
// lingers: synctest fails where one is left.
func TestFeedRunsWhileItIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := 0
		f := &feed{channel: "prices", interval: 100 * time.Millisecond, linger: time.Second, step: func(time.Time) error {
			steps++
			return nil
		}}
		want := func(n int, why string) {
			t.Helper()
			synctest.Wait()
			if steps != n {
				t.Errorf("%s: %d steps, want %d", why, steps, n)
			}
		}
		tell := func(kind protocol.EventType, channel string) {
			f.event(&protocol.Event{Type: kind, Channel: channel, Time: time.Now()})
		}
		wait := func(d time.Duration) { time.Sleep(d + time.Millisecond) }

		tell(protocol.EventOccupied, "another")
		tell(protocol.EventSubscribed, "prices")
		wait(time.Second)
		want(0, "without subscribers")
		tell(protocol.EventOccupied, "prices")
		wait(time.Second)
		want(10, "a second with subscribers")
		tell(protocol.EventVacated, "prices")
		wait(500 * time.Millisecond)
		tell(protocol.EventOccupied, "prices") // the next long poll
		wait(time.Second)
		want(25, "a watcher has come back soon")
		tell(protocol.EventVacated, "prices")
		wait(10 * time.Second)
		want(35, "without subscribers again")
		tell(protocol.EventOccupied, "prices")
		wait(time.Second)
		want(45, "a second with new subscribers")
		tell(protocol.EventVacated, "prices")
		wait(2 * time.Second)
	})
}

// A feed ends with its server.
func TestFeedEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{channel: "prices", interval: time.Second, step: func(time.Time) error { return server.ErrServerClosed }}
		f.event(&protocol.Event{Type: protocol.EventOccupied, Channel: "prices", Time: time.Now()})
		time.Sleep(2 * time.Second)
	})
}

// The page of the ticker has a place for each symbol that the server publishes.
func TestTickerPageKnowsTheSymbols(t *testing.T) {
	script, err := fs.ReadFile(web.DemoFiles(), "ticker/ticker.js")
	if err != nil {
		t.Fatal(err)
	}
	half := len(tickerSymbols) / 2
	for _, symbols := range [][]string{tickerSymbols[:half], tickerSymbols[half:]} {
		if list := strings.Join(symbols, " "); !bytes.Contains(script, []byte(list)) {
			t.Errorf("ticker.js does not list %s", list)
		}
	}
}
