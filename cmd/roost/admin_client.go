package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/roostws/roost/server/api"
)

// AdminClientFlags say where a running server's admin port is.
type AdminClientFlags struct {
	URL     string `name:"url" help:"Where the server's admin port is (${default})." default:"http://127.0.0.1:8081" env:"ROOST_API_URL" placeholder:"URL"`
	KeyFile string `help:"File with the API key; the variable ROOST_API_KEY may hold it instead." placeholder:"FILE"`
}

// check is called by the command line's parser.
func (f *AdminClientFlags) check() error {
	if base, err := url.Parse(f.URL); err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return fmt.Errorf("--url %q: want http://host:port", f.URL)
	}
	return nil
}

// client returns a client of the admin port. A request takes as long as timeout at
// most, 0 for any time.
func (f *AdminClientFlags) client(timeout time.Duration) (*adminClient, error) {
	key, err := apiKey(f.KeyFile)
	if err != nil {
		return nil, err
	}
	return &adminClient{base: strings.TrimSuffix(f.URL, "/"), key: key, http: http.Client{Timeout: timeout}}, nil
}

// adminClient sends requests to an admin port.
type adminClient struct {
	base, key string
	http      http.Client
}

// get asks for a path.
func (c *adminClient) get(ctx context.Context, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	return c.do(r)
}

// post sends a body of a media type.
func (c *adminClient) post(path, kind, idempotencyKey string, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequest(http.MethodPost, c.base+path, body)
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	r.Header.Set("Content-Type", kind)
	if idempotencyKey != "" {
		r.Header.Set("Idempotency-Key", idempotencyKey)
	}
	return c.do(r)
}

// do sends a request with the key. A response that is not 200 is an error.
func (c *adminClient) do(r *http.Request) (*http.Response, error) {
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w\nIs there a server, started with --admin-addr? --url says where", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	var problem api.Problem
	if json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&problem) == nil && problem.Code != "" {
		return nil, &problem
	}
	return nil, fmt.Errorf("%s returns %s: is --url that of the admin port?", c.base, response.Status)
}

// apiKey reads the key from its file, or else from the environment: not from the
// command line, which everybody on the machine sees.
func apiKey(file string) (string, error) {
	if file == "" {
		return os.Getenv("ROOST_API_KEY"), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("--key-file: %w", err)
	}
	key, _, _ := strings.Cut(string(text), "\n")
	if key = strings.TrimSpace(key); key == "" {
		return "", usagef("--key-file: the first line of %s is empty: want the API key there", file)
	}
	return key, nil
}
