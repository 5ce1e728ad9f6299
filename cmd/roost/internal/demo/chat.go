package demo

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

const (
	chatRoom     = "chat:lobby"
	chatTyping   = "typing:lobby"
	chatHistory  = 200
	chatMaxChars = 2000
	// chatIDMaxBytes has room for a UUID.
	chatIDMaxBytes = 64
)

// chat is one room that keeps its last messages and knows who is there. Who is typing
// is worth a message of its own, but no place in the history.
func (d *Demo) chat() part {
	return part{
		namespaces: []server.Namespace{
			{Name: "chat", HistoryMessages: chatHistory, HistoryAge: 24 * time.Hour, Publish: protocol.AccessGranted, Presence: true, JoinLeave: true},
			{Name: "typing", Publish: protocol.AccessGranted},
		},
		publish: checkChat,
	}
}

// checkChat takes {"text":…,"id":…} in the room, and {} as typing.
func checkChat(r *protocol.PublishRequest) error {
	var said struct {
		Text string `json:"text,omitempty"`
		ID   string `json:"id,omitempty"` // the sender's window knows its message by it
		At   int64  `json:"at,omitempty"` // Unix milliseconds
	}
	if r.Base64 || json.Unmarshal(r.Data, &said) != nil {
		return badRequest("a chat message is an object with a text")
	}
	switch r.Channel {
	case chatRoom:
		if strings.TrimSpace(said.Text) == "" || utf8.RuneCountInString(said.Text) > chatMaxChars {
			return badRequest("a chat message has 1 to %d characters", chatMaxChars)
		}
		if len(said.ID) > chatIDMaxBytes {
			return badRequest("the id of a chat message has at most %d bytes", chatIDMaxBytes)
		}
		said.At = time.Now().UnixMilli()
	case chatTyping:
		said.Text, said.ID, said.At = "", "", 0
	default:
		return badRequest("the room is %s", chatRoom)
	}
	// Nothing else that the client has sent is passed on.
	r.Data = encode(said)
	return nil
}
