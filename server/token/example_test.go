package token_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/token"
)

// What a back end does, and what the server does with it.
func Example() {
	os.Setenv("ROOST_TOKEN_SECRET", "a secret of at least thirty-two bytes")
	text, err := token.Sign(token.Claims{ // github.com/roostws/roost/server/token
		Subject:   "42",
		ExpiresAt: time.Now().Add(10 * time.Minute),
		Channels:  []string{"news"},
		Allow:     protocol.Permissions{Subscribe: []string{"chat:*"}},
	}, []byte(os.Getenv("ROOST_TOKEN_SECRET")), "")
	if err != nil {
		log.Fatal(err)
	}

	verifier, err := token.New(token.Config{Secrets: [][]byte{[]byte(os.Getenv("ROOST_TOKEN_SECRET"))}})
	if err != nil {
		log.Fatal(err)
	}
	defer verifier.Close()
	application := protocol.Application{Connect: verifier.Connect, Refresh: verifier.Refresh, Subscribe: verifier.Subscribe}

	// The server asks for each client that connects.
	r := protocol.ConnectRequest{Token: text}
	err = application.Connect(context.Background(), &r)
	fmt.Println(r.User, r.Channels, err)
	// Output: 42 [news] <nil>
}
