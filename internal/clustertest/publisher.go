package clustertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A publication is one message. Its key is its content, too.
type publication struct {
	Channel string
	Key     string
	Pad     string
}

// content is what a message holds.
type content struct {
	Key string `json:"k"`
	Pad string `json:"p,omitempty"`
}

// kept is a message of a history.
type kept struct {
	Offset uint64  `json:"offset"`
	Data   content `json:"data"`
}

var (
	errRefused = errors.New("refused: nothing was done")
	errUnknown = errors.New("not known")
)

// web is the publishers' HTTP client. A node may be frozen.
var web = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
	MaxIdleConnsPerHost: 32, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
}}

// post publishes once through a node.
func (r *Rig) post(i int, p publication) (at place, err error) {
	body, err := json.Marshal(map[string]any{"channel": p.Channel, "data": content{p.Key, p.Pad}, "idempotency_key": p.Key, "wait": "0s"})
	if err != nil {
		return at, err
	}
	response, err := web.Post("http://"+r.nodes[i].admin+"/v1/publish", "application/json", bytes.NewReader(body))
	if err != nil {
		r.unreached.Add(1)
		return at, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.unreached.Add(1)
		return at, err
	}
	var problem struct{ Code string }
	switch response.StatusCode {
	case http.StatusOK:
		if err := json.Unmarshal(text, &at); err != nil || at.Epoch == "" || at.Offset == 0 {
			r.known.violate("publish returned %s", text)
			return at, errUnknown
		}
		r.acked.Add(1)
		r.known.note(p.Channel, at, p.Key, true)
		return at, nil
	case http.StatusServiceUnavailable:
		r.refused.Add(1)
		err = errRefused
	case http.StatusGatewayTimeout:
		r.unknown.Add(1)
		err = errUnknown
	default:
		r.known.violate("publish returned %d: %s", response.StatusCode, text)
		return at, errUnknown
	}
	want := map[int][]string{503: {"broker_away", "busy", "closed"}, 504: {"broker_silent"}}[response.StatusCode]
	if json.Unmarshal(text, &problem) != nil || !strings.Contains(strings.Join(want, " "), problem.Code) {
		r.known.violate("publish returned %d: %s", response.StatusCode, text)
	}
	return at, err
}

// history reads a whole channel through a node.
func (r *Rig) history(i int, channel string) (all []kept) {
	var since place
	for {
		address := fmt.Sprintf("http://%s/v1/channels/%s/history?limit=1000", r.nodes[i].admin, url.PathEscape(channel))
		if since.Epoch != "" {
			address += fmt.Sprintf("&since_epoch=%s&since_offset=%d", since.Epoch, since.Offset)
		}
		response, err := web.Get(address)
		if err != nil {
			r.known.violate("history of %s: %v", channel, err)
			return all
		}
		var page struct {
			Epoch    string
			Messages []kept
			More     bool
		}
		err = json.NewDecoder(response.Body).Decode(&page)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			r.known.violate("history of %s: %d, %v", channel, response.StatusCode, err)
			return all
		}
		all = append(all, page.Messages...)
		if !page.More || len(page.Messages) == 0 {
			return all
		}
		since = place{page.Epoch, page.Messages[len(page.Messages)-1].Offset}
	}
}

// A publisher publishes one message after the other, each until it is acknowledged.
type publisher struct {
	r   *Rig
	i   int
	rng *rand.Rand
}

func newPublisher(r *Rig, i int) *publisher {
	return &publisher{r, i, rand.New(rand.NewPCG(r.o.Seed, 1000+uint64(i)))}
}

func (p *publisher) publish(n int) {
	message := publication{
		Channel: p.r.channel(p.rng.IntN(p.r.o.Channels)), Key: fmt.Sprintf("%d-%d", p.i, n), Pad: strings.Repeat("x", p.rng.IntN(300)),
	}
	for try := 0; ; try++ {
		_, err := p.r.post(p.rng.IntN(len(p.r.nodes)), message)
		if err == nil {
			return
		}
		time.Sleep(time.Duration(5+p.rng.IntN(min(100, 10<<min(try, 5)))) * time.Millisecond)
	}
}
