// Command inbox is the back end of an application that notifies its users: each
// has an inbox, the history of the channel user:ID, and how much of it is unread.
//
//	go run ./examples/inbox
//	go run ./examples/inbox/reader -user anna
//	curl -d '{"text":"your parcel is here"}' http://localhost:8081/notify/anna
//	curl http://localhost:8081/unread/anna
//
// Clients connect on the first address, with a token that they get there. The
// second one is for the application's own machines.
package main

import (
	"crypto/rand"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/history"
	"github.com/roostws/roost/server/protocol"
	"github.com/roostws/roost/server/token"
)

// application is the back end that knows the users.
type application struct {
	srv    *server.Server // set before the first client connects
	secret []byte         // immutable; tokens are signed with it

	mu   sync.Mutex
	read map[string]history.Position // by user, as their clients acknowledged; guarded by mu
}

func main() {
	addr := flag.String("addr", "localhost:8080", "address for clients")
	admin := flag.String("admin", "localhost:8081", "address for the application")
	flag.Parse()

	// A real application keeps the secret, and the positions in its database.
	a := &application{secret: make([]byte, 32), read: map[string]history.Position{}}
	rand.Read(a.secret) // never fails
	verifier, err := token.New(token.Config{Secrets: [][]byte{a.secret}})
	if err != nil {
		log.Fatal(err)
	}
	public := http.NewServeMux()
	public.HandleFunc("GET /token", a.token)
	a.srv, err = server.New(server.Config{
		Listen:      []string{*addr},
		HTTP:        public,
		Application: &protocol.Application{Connect: verifier.Connect},
		// The inbox: the last 100 notifications, for a week.
		Namespaces: []server.Namespace{{Name: "user", HistoryMessages: 100, HistoryAge: 7 * 24 * time.Hour}},
		Events:     a.event,
	})
	if err == nil {
		err = a.srv.Start()
	}
	if err != nil {
		log.Fatal(err)
	}

	private := http.NewServeMux()
	private.HandleFunc("POST /notify/{user}", a.notify)
	private.HandleFunc("GET /unread/{user}", a.unread)
	l, err := net.Listen("tcp", *admin)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("clients=%v admin=%v", a.srv.Addrs()[0], l.Addr())
	log.Fatal(http.Serve(l, private))
}

// token returns a token that lasts ten minutes; the client refreshes it in time. A real
// application looks at a session cookie here instead of trusting the request.
func (a *application) token(w http.ResponseWriter, r *http.Request) {
	text, err := token.Sign(token.Claims{
		Subject:   r.FormValue("user"),
		ExpiresAt: time.Now().Add(10 * time.Minute),
	}, a.secret, "")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = io.WriteString(w, text)
}

// notify puts a notification into a user's inbox. It is there whether the user is
// connected or not. The header Idempotency-Key makes it safe to repeat.
func (a *application) notify(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<10))
	if err != nil || !json.Valid(text) {
		http.Error(w, "the body has to be JSON, up to 16 KiB", http.StatusBadRequest)
		return
	}
	receipt, err := a.srv.PublishMessage(r.Context(), server.Publication{
		User:           r.PathValue("user"),
		Payload:        text,
		IdempotencyKey: r.Header.Get("Idempotency-Key"),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	// If no client matched, a real application sends a mail.
	_ = json.NewEncoder(w).Encode(map[string]any{"offset": receipt.Offset, "connections": receipt.Matched})
}

// event is called on event loops: it must be quick, and keep nothing of e.
func (a *application) event(e *protocol.Event) {
	if e.Type != protocol.EventAcknowledged || e.Channel != "user:"+e.User {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.read[e.User]; at.Epoch != e.Position.Epoch || at.Offset < e.Position.Offset {
		a.read[e.User] = e.Position
	}
}

// unread returns how many notifications of a user's inbox no client of that user
// has acknowledged.
func (a *application) unread(w http.ResponseWriter, r *http.Request) {
	user := r.PathValue("user")
	query := history.Query{Limit: 100}
	a.mu.Lock()
	if at, known := a.read[user]; known {
		query.Since = &at
	}
	a.mu.Unlock()
	page, err := a.srv.History("user:"+user, query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]int{"unread": len(page.Messages)})
}
