package demo

import (
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/roostws/roost/server"
)

// The ticker demo: prices that change a thousand times a second. The channel's policy
// gives a client that lags the newest price of each symbol only.

const (
	tickerChannel = "ticker:prices"
	// tickerInterval and tickerBatch make 1,000 updates a second.
	tickerInterval = 20 * time.Millisecond
	tickerBatch    = 20
)

// tickerSymbols are birds, which no exchange lists. The page has the same list.
var tickerSymbols = strings.Fields("AUK BNT BRN CHF COT CRM CRW DIP DOV DUN EID FIN GAN GOD GUL HRN HWK IBS JAY JCK " +
	"KIT KNT LIN LRK MAG MRL OWL PLV PUF QUA RAV ROB ROK SNI STK SWF SWN TEA TRN WRN")

// tickerUpdate is one price. The symbol is the message's key.
type tickerUpdate struct {
	Price float64 `json:"price"`
	Open  float64 `json:"open"` // the price at which the server began
	Time  int64   `json:"time"` // Unix milliseconds
}

// ticker keeps ten seconds of updates: the slowest client of the page comes back sooner.
func (d *Demo) ticker() part {
	open, price := make([]float64, len(tickerSymbols)), make([]float64, len(tickerSymbols))
	for i := range open {
		open[i] = math.Round(1000+rand.Float64()*40000) / 100
		price[i] = open[i]
	}
	prices := &feed{channel: tickerChannel, interval: tickerInterval, step: func(now time.Time) error {
		for range tickerBatch {
			i := rand.IntN(len(tickerSymbols))
			// A random walk that is drawn back to where it began.
			change := rand.NormFloat64()*0.002 + (open[i]/price[i]-1)*0.001
			price[i] = math.Max(0.01, math.Round(price[i]*(1+change)*100)/100)
			if err := d.publish(tickerChannel, tickerSymbols[i], tickerUpdate{price[i], open[i], now.UnixMilli()}); err != nil {
				return err
			}
		}
		return nil
	}}
	return part{
		namespaces: []server.Namespace{{Name: "ticker", HistoryMessages: 10_000, HistoryAge: time.Minute, SlowConsumer: server.SlowLatest}},
		event:      prices.event,
	}
}
