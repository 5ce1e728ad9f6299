package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// TransportsConfig is the scenario of the same updates over each transport.
type TransportsConfig struct {
	Options
	// Clients are how many there are, in each part. If empty, 1,000 and 10,000.
	Clients []int `placeholder:"N,..." help:"How many clients there are (default: 1000,10000)."`
	// Ways are names of TransportWays. If empty, all.
	Ways []string `placeholder:"NAME,..." help:"Which of poll-1s, poll-5s, long-poll, sse, ws (default: all)."`
	// Rate is the updates a second, which go to all clients. If zero, 0.5.
	Rate float64 `placeholder:"0.5" help:"Updates a second, each of them for all clients."`
	// Period is the length of each part. If zero, 20 s.
	Period time.Duration `placeholder:"20s" help:"Length of each part."`
}

// A TransportWay is one way to get updates.
type TransportWay struct {
	// Name is the one of TransportsConfig.Ways, Label the one in tables.
	Name, Label string
	transport   Transport
	every       time.Duration
}

// TransportWays returns all ways, in the order of tables.
func TransportWays() []TransportWay {
	return []TransportWay{
		{"poll-1s", "polling 1 s", TransportPoll, time.Second},
		{"poll-5s", "polling 5 s", TransportPoll, 5 * time.Second},
		{"long-poll", "long-polling", TransportPoll, 0},
		{"sse", "SSE", TransportSSE, 0},
		{"ws", "WebSocket", TransportWebSocket, 0},
	}
}

// LabelOf names the way, and how many clients there are, in results.
func (w TransportWay) LabelOf(clients int) string {
	return fmt.Sprintf("%s, %d", w.Label, clients)
}

// RunTransports sends the same updates to clients of the native protocol over each
// way in turn, and counts what that costs: bytes on the wire, CPU of the server, delay.
// It returns a result for each way and number of clients.
func RunTransports(ctx context.Context, cfg TransportsConfig) ([]*Result, error) {
	setDefault(&cfg.Rate, 0.5)
	setDefault(&cfg.Period, 20*time.Second)
	if len(cfg.Clients) == 0 {
		cfg.Clients = []int{1000, 10_000}
	}
	setDefault(&cfg.Native, "news:all")
	cfg.socketURL()
	var ways []TransportWay
	for _, w := range TransportWays() {
		if len(cfg.Ways) == 0 || slices.Contains(cfg.Ways, w.Name) {
			ways = append(ways, w)
		}
	}
	if len(ways) < len(cfg.Ways) || len(ways) == 0 {
		return nil, fmt.Errorf("ways %q: want names of poll-1s, poll-5s, long-poll, sse, ws", cfg.Ways)
	}
	var results []*Result
	for _, clients := range cfg.Clients {
		for _, w := range ways {
			r, err := w.run(ctx, cfg, clients)
			if r != nil {
				results = append(results, r)
			}
			if err != nil {
				return results, fmt.Errorf("%s: %w", w.LabelOf(clients), err)
			}
		}
	}
	return results, nil
}

func (w TransportWay) run(ctx context.Context, cfg TransportsConfig, clients int) (*Result, error) {
	b := BroadcastConfig{Options: cfg.Options, Transport: w.transport, Rate: cfg.Rate, Period: cfg.Period}
	b.Connections, b.Label, b.pollEvery = clients, w.LabelOf(clients), w.every
	// An update that was missed is on its way until the next poll.
	setDefault(&b.Patience, 5*time.Second+w.every)
	if err := b.setBroadcastDefaults(); err != nil {
		return nil, err
	}
	return runTrial(ctx, "transports", &b.Options, func(t *trial) error { return t.updates(&b) })
}

// updates publishes at a rate and reports what each client's updates cost.
func (t *trial) updates(cfg *BroadcastConfig) error {
	audiences, err := t.openAudiences(cfg)
	if err != nil {
		return err
	}
	if len(audiences) == 0 {
		return nil // a fault already
	}
	p := newPart("paced")
	before, err := t.views()
	if err != nil {
		return err
	}
	started := time.Now()
	count := max(1, int(cfg.Rate*cfg.Period.Seconds()))
	err = t.publishing(audiences[0], p, func(*deliveries) (int, error) {
		t.progress.show(fmt.Sprintf("%g updates a second", cfg.Rate), 0, 0)
		r := publishRequest{
			Stream: audiences[0].stream, Seq: audiences[0].nextSeq, Count: count, Bytes: cfg.PayloadBytes,
			StartNs: nowNs() + int64(trafficLead), IntervalNs: int64(float64(time.Second) / cfg.Rate),
		}
		if err := audiences[0].publisher.publish(t, r); err != nil {
			return 0, err
		}
		return count, t.pause(cfg.Period - time.Since(started)) // the last update's time counts, too
	})
	if err != nil {
		return err
	}
	seconds := time.Since(started).Seconds()
	after, err := t.views()
	if err != nil {
		return err
	}
	t.checkPart(p)
	r, minutes := t.result, float64(cfg.Connections)*seconds/60
	if t.measured() {
		r.add("server_cpu", p.server.Seconds()/seconds*100, "%", "server CPU, of one core")
		r.add("update_cpu", per(p.server, p.delivered), "us", "server CPU per update of a client")
	}
	r.add("bytes_down", float64(after.BytesDown-before.BytesDown)/minutes, "B", "bytes to each client a minute")
	r.add("bytes_up", float64(after.BytesUp-before.BytesUp)/minutes, "B", "bytes from each client a minute")
	r.add("requests", float64(after.Requests-before.Requests)/minutes, "1/min", "requests of each client a minute")
	r.add("delay_p50", float64(p.toEach.h.ValueAtQuantile(50))/1e6, "ms", "from publishing to the client, median")
	r.add("delay_p99", float64(p.toEach.h.ValueAtQuantile(99))/1e6, "ms", "from publishing to the client, one in a hundred")
	r.addLatency("each", "from publishing to the client", p.toEach)
	t.checkLateness("publishing", p.lateness)
	return nil
}
