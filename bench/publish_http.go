package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/template"
	"time"
)

// httpPublisher posts messages to a server's publish API, one after the other:
// their order is then the publisher's, and disorder the server's.
type httpPublisher struct {
	client *http.Client
	// native: the response has replies of the native protocol.
	native bool
	url    string
	header http.Header
	body   *template.Template
}

func newHTTPPublisher(cfg *BroadcastConfig) (*httpPublisher, error) {
	text := cfg.PublishBody
	if text == "" {
		text = "{{.Payload}}"
	}
	body, err := template.New("").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("publish body %q: %w", text, err)
	}
	if !strings.HasPrefix(cfg.PublishURL, "http://") && !strings.HasPrefix(cfg.PublishURL, "https://") {
		_, rest, found := strings.Cut(cfg.PublishURL, "://")
		if !found {
			rest = cfg.PublishURL
		}
		return nil, fmt.Errorf("publish URL %q: the scheme must be http or https: type http://%s", cfg.PublishURL, rest)
	}
	trusted, err := cfg.trust()
	if err != nil {
		return nil, err
	}
	// The server's own port has the certificate that the clients trust.
	transport := &http.Transport{TLSClientConfig: trusted.config("")}
	p := &httpPublisher{client: &http.Client{Timeout: cfg.Patience, Transport: transport}, native: cfg.Native != "" && strings.HasSuffix(cfg.PublishURL, TransportPoll.path()), url: cfg.PublishURL, header: http.Header{}, body: body}
	for _, h := range cfg.PublishHeaders {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("publish header %q: want Name: value", h)
		}
		p.header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return p, nil
}

// publish returns when all messages are posted.
func (p *httpPublisher) publish(t *trial, r publishRequest) error {
	for k := range r.Count {
		sent := nowNs()
		if r.StartNs > 0 {
			sent = r.StartNs + int64(k)*r.IntervalNs
			if err := t.pause(time.Duration(sent - nowNs())); err != nil {
				return err
			}
		}
		m := message{stream: r.Stream, seq: r.Seq + uint64(k), sentNs: sent}
		if err := p.post(t, appendPayload(nil, m, r.Bytes, false)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

func (p *httpPublisher) post(t *trial, payload []byte) error {
	var body bytes.Buffer
	if err := p.body.Execute(&body, struct{ Payload string }{string(payload)}); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(t.ctx, http.MethodPost, p.url, &body)
	if err != nil {
		return err
	}
	req.Header = p.header.Clone()
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", resp.Status, describePayload(answer))
	}
	if p.native && bytes.Contains(answer, nativeError) {
		return fmt.Errorf("refused: %.300s", answer)
	}
	return nil
}
