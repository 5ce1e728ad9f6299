package main

import (
	"log"
	"net/http"

	"github.com/roostws/roost/server"
)

func main() {
	s, err := server.New(server.Config{Listen: []string{":8080"}, Handler: server.Handler{
		// ws://localhost:8080/?anna is anna. A real application checks a token.
		Upgrade: func(r *server.UpgradeRequest) error { r.User = r.RawQuery(); return nil },
	}})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /notify/{user}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.PublishUser(r.PathValue("user"), server.Text, []byte(r.FormValue("text"))); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:8081", nil))
}
