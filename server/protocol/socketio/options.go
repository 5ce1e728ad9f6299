package socketio

import (
	"time"

	"github.com/roostws/roost/server/settings"
)

// Settings describes the fields of Options that are numbers, durations or words.
func Settings() settings.Table { return optionSettings }

var optionSettings = settings.Table{
	{Field: "Path", Default: "/socket.io/",
		Help: "Path of the requests of Socket.IO clients"},
	{Field: "Namespaces", Zero: "/",
		Help: "Namespaces of Socket.IO that clients may connect to"},
	{Field: "ConnectTimeout", Default: 45 * time.Second, Min: 10 * time.Millisecond,
		Help: "Time in which a Socket.IO client connects to a namespace, and between the attachments of an event"},
	{Field: "PingInterval", Min: time.Duration(0), Zero: "that of --ping-interval",
		Help: "What Socket.IO clients are told of the time between pings"},
	{Field: "PingTimeout", Min: time.Duration(0), Zero: "that of --pong-timeout",
		Help: "What they are told of the time after a ping in which they answer"},
	{Field: "PollingMax", Default: 4096, Min: 1, Max: 1 << 20, Unit: "clients",
		Help: "Socket.IO clients of each event loop that may poll at a time; more are refused with 503", Cost: "600 bytes for each"},
}
