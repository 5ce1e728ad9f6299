package demo

import (
	"encoding/json"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

const (
	togetherSheet   = "together:sheet"
	togetherCursors = "cursors:sheet"
	// togetherHistory is how many messages of the sheet are kept. The pages publish the
	// whole sheet after each 100 of them, so a newcomer finds it among these.
	togetherHistory = 500
	// togetherPartsMax bounds an update: some 40 kB each.
	togetherPartsMax = 100
)

// together keeps a text that several people edit at once. The pages merge it (Yjs); the
// server only keeps their messages in order, and knows nothing of what is in them.
func (d *Demo) together() part {
	return part{
		namespaces: []server.Namespace{
			{Name: "together", HistoryMessages: togetherHistory, HistoryAge: 24 * time.Hour, Publish: protocol.AccessGranted},
			{Name: "cursors", HistoryMessages: 100, HistoryAge: 10 * time.Second, SlowConsumer: server.SlowLatest, Publish: protocol.AccessGranted},
		},
		publish: checkTogether,
	}
}

// A sheetMessage is an update of the sheet, or a part of a large one; or it asks for
// the whole sheet.
type sheetMessage struct {
	Update string `json:"update,omitempty"` // base64
	// Part and Parts number the parts of a large update, from 1; ID is the same in all of them.
	ID    string `json:"id,omitempty"`
	Part  int    `json:"part,omitempty"`
	Parts int    `json:"parts,omitempty"`
	// UpTo is in a snapshot: it holds everything up to this offset.
	UpTo *int64 `json:"upTo,omitempty"`
	Ask  bool   `json:"ask,omitempty"`
}

// A cursor is a person's pointer and caret. The message's key is the page's
// own, so that only the newest position counts.
type cursor struct {
	X      float64 `json:"x"` // of the sheet's width, 0 to 1; negative: outside
	Y      float64 `json:"y"` // pixels
	Colour int     `json:"colour"`
	Caret  string  `json:"caret,omitempty"` // a relative position of Yjs
	Gone   bool    `json:"gone,omitempty"`
}

// checkTogether takes messages of the sheet and cursors, and passes on nothing else.
func checkTogether(r *protocol.PublishRequest) error {
	switch r.Channel {
	case togetherSheet:
		var m sheetMessage
		if r.Base64 || json.Unmarshal(r.Data, &m) != nil || m.Update == "" && !m.Ask {
			return badRequest("a message of the sheet has an update, or asks for one")
		}
		if m.ID != "" && (m.Part < 1 || m.Part > m.Parts || m.Parts > togetherPartsMax || len(m.ID) > 32) {
			return badRequest("part %d of %d is none", m.Part, m.Parts)
		}
		r.Data = encode(m)
	case togetherCursors:
		var c cursor
		if r.Base64 || json.Unmarshal(r.Data, &c) != nil || len(c.Caret) > 200 {
			return badRequest("a cursor has x, y, a colour and a caret")
		}
		r.Data = encode(c)
	default:
		return badRequest("the sheet is %s, its cursors are %s", togetherSheet, togetherCursors)
	}
	return nil
}
