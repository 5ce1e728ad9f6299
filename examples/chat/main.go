package main

import (
	_ "embed"
	"flag"
	"log"
	"net/http"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/protocol"
)

//go:embed chat.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.Parse()
	s, err := server.New(server.Config{
		Listen:      []string{*addr},
		HTTP:        http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(page) }),
		Application: &protocol.Application{Anonymous: true},
		Namespaces:  []server.Namespace{{Name: "chat", HistoryMessages: 100, Publish: protocol.AccessAnyone}},
	})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("the chat is on http://%v", s.Addrs()[0])
	<-s.Done()
}
