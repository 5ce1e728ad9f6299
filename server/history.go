package server

import (
	"fmt"

	"github.com/roostws/roost/server/internal/hub"
)

// A Position is a place in a channel's history: right after the message Offset.
//
//   - Epoch (string) names one history. A channel whose history was forgotten, or
//     lost with the process, gets another epoch. Offsets of different epochs can't
//     be compared. Empty without history.
//   - Offset (uint64) numbers the messages of a history, one by one.
type Position = hub.Position

// A HistoryQuery selects messages of a channel's history.
//
//   - Since (*Position) begins right after a position (right before it, with
//     Reverse). If nil, the query begins at the oldest message, or the newest with
//     Reverse.
//   - Limit (int) bounds the number of messages. If zero, only the position is
//     returned.
//   - Reverse (bool) returns the newest first.
type HistoryQuery = hub.Query

// A HistoryPage is the result of a HistoryQuery.
//
//   - Position (embedded) is that of the newest message.
//   - Messages ([]HistoryMessage) are those that were asked for.
//   - More (bool) reports that there are more than Limit.
//   - Gap (bool) reports that messages after Since (before it, with Reverse) are
//     not kept any more, or that Since is of another epoch.
type HistoryPage = hub.Page

// A HistoryMessage is a message in a channel's history: its Offset (uint64), Time
// (time.Time), Type (MessageType), Payload ([]byte, immutable), Key and From
// (string).
type HistoryMessage = hub.Kept

// History returns a part of what is kept of a channel. It is empty if the
// channel's namespace has no history.
func (s *Server) History(channel string, q HistoryQuery) (HistoryPage, error) {
	if err := s.checkName("channel", channel); err != nil {
		return HistoryPage{}, err
	}
	if q.Limit < 0 {
		return HistoryPage{}, fmt.Errorf("%w: a limit of %d", ErrBadName, q.Limit)
	}
	running := s.parts.Load()
	if running == nil {
		return HistoryPage{}, ErrServerClosed
	}
	return running.hub.Query(channel, q), nil
}
