package main

import (
	_ "embed"
	"fmt"
	"log"
	"net/http"

	"github.com/roostws/roost/server"
)

//go:embed page.html
var page string

func main() {
	s, err := server.New(server.Config{
		Listen: []string{"localhost:8080"},
		HTTP:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }),
		Handler: server.Handler{
			// http://localhost:8080/?anna is anna's page. A real application checks a token.
			Upgrade: func(r *server.UpgradeRequest) error { r.User = r.RawQuery(); return nil },
		},
	})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /notify/{user}", func(w http.ResponseWriter, r *http.Request) {
		receipt, err := s.PublishMessage(r.Context(), server.Publication{User: r.PathValue("user"), Payload: []byte(r.FormValue("text"))})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, "written to %d of %d connections\n", receipt.Written, receipt.Matched)
	})
	log.Print("open http://localhost:8080/?anna, then: curl -d text=hello http://127.0.0.1:8081/notify/anna")
	log.Fatal(http.ListenAndServe("127.0.0.1:8081", nil))
}
