package server_test

import (
	"context"
	"fmt"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/roostws/roost/server"
)

// ask connects to s, sends the texts, and prints one answer for each.
func ask(s *server.Server, texts ...string) {
	conn, _, _, err := ws.Dial(context.Background(), "ws://"+s.Addrs()[0].String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	for _, text := range texts {
		if err := wsutil.WriteClientText(conn, []byte(text)); err != nil {
			fmt.Println(err)
			return
		}
		answer, err := wsutil.ReadServerText(conn)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s\n", answer)
	}
}

// A server that sends every message back.
func ExampleServer_echo() {
	s, err := server.New(server.Config{
		Listen:  []string{"127.0.0.1:0"},
		Handler: server.Handler{Message: func(m *server.Message) { m.Reply(m.Type, m.Payload) }},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()
	ask(s, "hello", "world")
	// Output:
	// hello
	// world
}

// A server that puts everybody into a channel and publishes what they say.
func ExampleServer_channel() {
	s, err := server.New(server.Config{
		Listen: []string{"127.0.0.1:0"},
		Handler: server.Handler{
			Upgrade: func(r *server.UpgradeRequest) error {
				r.Channels = []string{"lobby"}
				return nil
			},
			Message: func(m *server.Message) {
				// While the loops are behind, the sender is not read; an error
				// means that nobody gets the message.
				if err := m.Publish("lobby", m.Type, append([]byte("somebody says "), m.Payload...)); err != nil {
					m.Reply(server.Text, []byte("try again later"))
				}
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := s.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = s.Close() }()
	ask(s, "hello")
	// Output:
	// somebody says hello
}
