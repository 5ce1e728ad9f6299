package demo

import (
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

// The transports demo: the time, published at three rates, for a page that receives it
// over each transport and counts what that costs.

// transportsLinger is longer than the page's slowest polls are apart.
const transportsLinger = 15 * time.Second

// transportsUpdate is one update of a feed.
type transportsUpdate struct {
	Number int   `json:"number"`
	Time   int64 `json:"time"` // Unix milliseconds
}

func (d *Demo) transports() part {
	var feeds []*feed
	for channel, interval := range map[string]time.Duration{
		"transports:fast": 200 * time.Millisecond, "transports:steady": time.Second, "transports:quiet": 10 * time.Second,
	} {
		number := 0
		feeds = append(feeds, &feed{channel: channel, interval: interval, linger: transportsLinger, step: func(now time.Time) error {
			number++
			return d.publish(channel, "", transportsUpdate{number, now.UnixMilli()})
		}})
	}
	return part{
		namespaces: []server.Namespace{{Name: "transports", HistoryMessages: 500, HistoryAge: time.Minute}},
		event: func(e *protocol.Event) {
			for _, f := range feeds {
				f.event(e)
			}
		},
	}
}
