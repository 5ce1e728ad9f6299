package server

import (
	"github.com/roostws/roost/server/internal/counters"
)

// Stats are a server's counters at one moment, in the order in which they are
// shown. Get(name) returns the value of one of them; names are in snake_case, and a
// name that does not exist panics. As JSON they are one object, as in /v1/stats.
type Stats = counters.Stats

// Stats returns the counters of this moment: those of the server, summed over the loops,
// and those of Config.Stats. Each loop's part is as it was at the end of the loop's last
// callback, and 0 before Start.
func (s *Server) Stats() Stats {
	var sum counters.Sum
	if p := s.parts.Load(); p != nil {
		p.group.AddTo(&sum)
		h := p.hub.Stats()
		sum[counters.HistoryChannels], sum[counters.HistoryMessages], sum[counters.HistoryBytes] = h.Channels, h.Messages, h.Bytes
		sum[counters.BrokerChannels], sum[counters.BrokerReads], sum[counters.BrokerHoles] = h.Mirrors, int64(h.Reads), int64(h.Holes)
		sum[counters.BrokerInterruptions], sum[counters.BrokerPublishErrors] = int64(h.Interruptions), int64(h.PublishErrors)
		sum[counters.HistoryEvicted] = int64(h.Evicted)
		sum[counters.InboxRefused] += int64(h.Refused)
	}
	if s.nodes != nil {
		n := s.nodes.Counts()
		sum[counters.Nodes], sum[counters.NodeMessagesSent], sum[counters.NodeMessagesReceived] = int64(n.Nodes), int64(n.Sent), int64(n.Received)
		sum[counters.NodeMessagesDropped], sum[counters.NodeQuestions], sum[counters.NodeQuestionsIncomplete] = int64(n.Dropped), int64(n.Asked), int64(n.Undecided)
	}
	if engine := s.engine(); engine != nil {
		e := engine.Stats()
		sum[counters.Handshaking] = max(e.Conns-sum[counters.Connections], 0)
		sum[counters.EngineConns], sum[counters.EngineLingering] = e.Conns, e.Lingering
		for c, n := range map[counters.Counter]uint64{
			counters.EngineAccepted: e.Accepted, counters.EngineAttached: e.Attached,
			counters.EngineRefusedMaxConns: e.RefusedMaxConns, counters.EngineRefusedNoDescriptor: e.RefusedNoDescriptor,
			counters.EngineRefusedNoMemory: e.RefusedNoMemory, counters.EngineAcceptErrors: e.AcceptErrors,
			counters.EngineReads: e.Reads, counters.EngineWrites: e.Writes, counters.EngineShortWrites: e.ShortWrites,
			counters.EngineBytesRead: e.BytesRead, counters.EngineBytesWritten: e.BytesWritten,
			counters.EngineLingerTimeouts: e.LingerTimeouts, counters.EngineWakes: e.Wakes, counters.EngineHandlerPanics: e.HandlerPanics,
		} {
			sum[c] = int64(n)
		}
	}
	stats := sum.Stats()
	for _, more := range s.cfg.Stats {
		stats = append(stats, more()...)
	}
	return stats
}

// Loops returns the counters of each loop, for those that loops count; the others are 0.
// It may be called from any goroutine, and returns nothing before Start.
func (s *Server) Loops() (loops []Stats) {
	if p := s.parts.Load(); p != nil {
		for _, sum := range p.group.Loops() {
			loops = append(loops, sum.Stats())
		}
	}
	return loops
}

// A Distribution is how often a duration was in each of some buckets.
type Distribution = counters.Distribution

// Distributions returns how long handshakes, turns of the loops and fan-outs took,
// over all loops since Start. It may be called from any goroutine.
func (s *Server) Distributions() []Distribution {
	var sum counters.Distributions
	if p := s.parts.Load(); p != nil {
		p.group.AddDurations(&sum)
	}
	return sum.List()
}
