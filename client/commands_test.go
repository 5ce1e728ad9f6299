package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roostws/roost/frame"
)

func TestCommands(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		p := n.welcome("")
		// serve answers one command.
		serve := func(name, want, answer string) {
			go func() {
				id := p.wantBody(name, want)
				p.send(`{"id":%d,%s}`, id, answer)
			}()
		}
		for _, test := range []struct {
			name, command, answer string
			do                    func() (any, error)
			want                  string
		}{
			{"publish", `{"channel":"a","data":{"x":"<&>"}}`, `"publish":{"epoch":"e","offset":7}`,
				func() (any, error) { return c.Publish(t.Context(), "a", map[string]string{"x": "<&>"}) }, "{e 7} <nil>"},
			{"publish", `{"channel":"a","data":[1,"<"],"key":"k"}`, `"publish":{}`,
				func() (any, error) { return c.PublishKey(t.Context(), "a", "k", json.RawMessage(`[1,"<"]`)) }, "{ 0} <nil>"},
			{"publish", `{"channel":"a","data":null}`, `"error":{"code":103,"message":"not you"}`,
				func() (any, error) { return c.Publish(t.Context(), "a", nil) }, "{ 0} server: not you (103)"},
			{"presence", `{"channel":"a","limit":2}`, `"presence":{"clients":9,"members":[{"client":"c","user":"u","info":{"n":1}}],"truncated":true}`,
				func() (any, error) {
					p, err := c.Presence(t.Context(), "a", 2)
					return fmt.Sprintf("%d %s %s %s %v", p.Clients, p.Members[0].Client, p.Members[0].User, p.Members[0].Info, p.Truncated), err
				}, `9 c u {"n":1} true <nil>`},
			{"history", `{"channel":"a","since":{"epoch":"e","offset":3},"limit":5,"reverse":true}`,
				`"history":{"epoch":"e","offset":9,"messages":[{"offset":2,"time":1500,"data":{"v":1},"key":"k","from":"u"},{"offset":1,"time":1000,"data":"AA==","encoding":"base64"}],"more":true,"gap":true}`,
				func() (any, error) {
					page, err := c.History(t.Context(), "a", HistoryQuery{Since: &Position{"e", 3}, Limit: 5, Reverse: true})
					m, b := page.Messages[0], page.Messages[1]
					return fmt.Sprintln(page.Position, page.More, page.Gap, m.Channel, m.Position, m.Time.UTC().Format(time.StampMilli), string(m.Data), m.Key, m.From, b.Data, b.Binary), err
				}, "{e 9} true true a {e 2} Jan  1 00:00:01.500 {\"v\":1} k u [0] true\n <nil>"},
			{"call", `{"method":"m","data":[1]}`, `"call":{"data":{"y":2}}`,
				func() (any, error) {
					reply, err := c.Call(t.Context(), "m", []int{1})
					return string(reply), err
				}, `{"y":2} <nil>`},
			{"call", `{"method":"m"}`, `"error":{"code":1001,"message":"mine","retry":0.5}`,
				func() (any, error) {
					_, err := c.Call(t.Context(), "m", nil)
					var refused *ServerError
					errors.As(err, &refused)
					return refused.RetryAfter, err
				}, `500ms server: mine (1001)`},
			{"ack", `{"channel":"a","epoch":"e","offset":3}`, `"ack":{}`,
				func() (any, error) { return nil, c.Ack(t.Context(), "a", Position{"e", 3}) }, "<nil> <nil>"},
		} {
			serve(test.name, test.command, test.answer)
			result, err := test.do()
			if got := fmt.Sprint(result, " ", err); got != fmt.Sprint(test.want) {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		}
		if _, err := c.Publish(t.Context(), "a", math.Inf(1)); err == nil {
			t.Error("Publish of what is no JSON succeeded")
		}
		p.wantNothing()
	})
}

// A command waits for a connection; one that was sent when the connection was
// lost is not sent again.
func TestCommandsAndConnections(t *testing.T) {
	withClient(t, nil, func(t *testing.T, n *fakeNet, l *log, c *Client) {
		errc := make(chan error)
		publish := func() {
			_, err := c.Publish(t.Context(), "a", 1)
			errc <- err
		}
		go publish()
		synctest.Wait()
		n.accept().refuse(503, "")
		p := n.welcome("")
		p.want("publish")
		p.close(frame.CloseGoingAway, "")
		var closed *frame.CloseError
		if err := <-errc; !errors.Is(err, ErrDisconnected) || !errors.As(err, &closed) {
			t.Errorf("Publish = %v", err)
		}
		p = n.welcome("")
		p.wantNothing()
		go publish()
		p.want("publish")
		c.Close()
		if err := <-errc; !errors.Is(err, ErrClosed) {
			t.Errorf("Publish = %v", err)
		}
	})
}
