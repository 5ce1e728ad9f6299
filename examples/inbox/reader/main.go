// Command reader shows a user's notifications, each once, also those that came
// while it was away: it keeps its place in a file.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"

	"github.com/roostws/roost/client"
)

// reader is what has been shown to one user.
type reader struct {
	client *client.Client
	file   string
	at     client.Position // of the last notification that was shown
}

func main() {
	addr := flag.String("addr", "localhost:8080", "where the server is")
	user := flag.String("user", "anna", "whose notifications")
	file := flag.String("file", "", "where to keep the place (default USER.inbox)")
	flag.Parse()
	if *file == "" {
		*file = *user + ".inbox"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := read(ctx, *addr, *user, *file); err != nil {
		log.Fatal(err)
	}
}

// read shows notifications until ctx is done.
func read(ctx context.Context, addr, user, file string) (err error) {
	r := &reader{file: file}
	if err := r.load(); err != nil {
		return err
	}
	// It connects again by itself whenever the connection is lost.
	r.client, err = client.Dial(ctx, client.Config{
		URL:  "ws://" + addr,
		Name: "inbox/reader",
		Token: func(ctx context.Context) (string, error) {
			return get(ctx, "http://"+addr+"/token?user="+url.QueryEscape(user))
		},
		OnState: func(e client.StateEvent) { log.Print(e.State) },
	})
	if err != nil {
		return err
	}
	defer r.client.Close()
	if _, err := r.client.Subscribe(ctx, "user:"+user, r.message, &client.SubscribeOptions{OnEvent: r.event}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-r.client.Done():
		return r.client.Err()
	}
}

// event comes in order with the messages. After a lost connection the client
// resumes, and then Recovered says that nothing is missing. Otherwise the history
// has the rest: everything after the place that was kept, or the whole inbox.
func (r *reader) event(e *client.Event) {
	if e.Type != client.EventSubscribed || e.Recovered {
		return
	}
	for more := true; more; {
		query := client.HistoryQuery{Limit: 100}
		if r.at.Epoch != "" {
			query.Since = &client.Position{Epoch: r.at.Epoch, Offset: r.at.Offset}
		}
		page, err := r.client.History(context.Background(), e.Channel, query)
		if err != nil {
			log.Printf("what was missed can't be told: %v", err)
			return
		}
		if page.Gap {
			log.Print("older notifications are gone")
		}
		for _, m := range page.Messages {
			r.message(context.Background(), &m.Message)
		}
		more = page.More
	}
}

// message shows a notification and acknowledges it.
func (r *reader) message(ctx context.Context, m *client.Message) {
	if m.Position.Epoch == r.at.Epoch && m.Position.Offset <= r.at.Offset {
		return // the history had it
	}
	fmt.Println(string(m.Data))
	r.at = m.Position
	if err := r.save(); err != nil {
		log.Print(err)
	}
	// If this fails, the next acknowledgement covers it.
	if err := r.client.Ack(ctx, m.Channel, m.Position); err != nil {
		log.Printf("not acknowledged: %v", err)
	}
}

func (r *reader) load() error {
	text, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r.at)
	}
	if err != nil {
		return fmt.Errorf("the place in the inbox: %w", err)
	}
	return nil
}

func (r *reader) save() error {
	text, err := json.Marshal(r.at)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file, text, 0o600)
}

// get returns the body of a page.
func get(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", address, response.Status, text)
	}
	return string(text), err
}
