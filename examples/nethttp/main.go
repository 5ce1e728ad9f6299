// Command nethttp is Roost inside a net/http server: one more route, /ws, beside
// those that are there already, and one of them publishes.
//
//	go run ./examples/nethttp
//	curl -d hello http://localhost:8080/publish/news   # to clients of ws://localhost:8080/ws?news
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/roostws/roost/server"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "address to listen on")
	flag.Parse()

	// Without Listen it has no port of its own: connections come through ServeHTTP.
	srv, err := server.New(server.Config{Handler: server.Handler{
		Upgrade: func(r *server.UpgradeRequest) error { r.Channels = []string{r.RawQuery()}; return nil },
	}})
	if err == nil {
		err = srv.Start()
	}
	if err != nil {
		log.Fatal(err)
	}

	http.Handle("/ws", srv)
	// A real application authenticates the caller here.
	http.HandleFunc("POST /publish/{channel}", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		receipt, err := srv.PublishMessage(r.Context(), server.Publication{Channel: r.PathValue("channel"), Payload: text})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]int{"matched": receipt.Matched, "written": receipt.Written})
	})

	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%v", l.Addr())
	log.Fatal(http.Serve(l, nil))
}
