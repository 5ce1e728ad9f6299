package protocol

import (
	"net/http"
	"net/url"
)

// UpgradeParts are parts of the HTTP request that became a connection, as
// Application.Parts selects them. A part that the request does not have is missing; of
// several values the first counts.
type UpgradeParts struct {
	// Headers are values by the names of Selection.Headers.
	Headers map[string]string `json:"headers,omitempty"`
	// Cookies are values by name.
	Cookies map[string]string `json:"cookies,omitempty"`
	// Query are parameters of the request's address, decoded, by name.
	Query map[string]string `json:"query,omitempty"`
}

// A Selection names the parts of upgrade requests that Application.Connect gets: all
// that clients send is never passed on. Each connection keeps them until it has
// connected.
type Selection struct {
	// Headers are names of HTTP headers, in any case. Origin is one of them.
	Headers []string
	// Cookies are names of cookies. A page of another site cannot use them as long as
	// Handshake.Origins does not allow its origin.
	Cookies []string
	// Query are names of parameters of the address.
	Query []string
}

// Of returns the selected parts of a request, nil if it has none of them. get returns
// the value of a header.
func (s *Selection) Of(get func(name string) string, rawQuery string) *UpgradeParts {
	var p UpgradeParts
	set := func(into *map[string]string, name, value string) {
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[name] = value
	}
	for _, name := range s.Headers {
		if value := get(name); value != "" {
			set(&p.Headers, name, value)
		}
	}
	if len(s.Cookies) > 0 {
		cookies := http.Request{Header: http.Header{"Cookie": {get("Cookie")}}}
		for _, name := range s.Cookies {
			if c, err := cookies.Cookie(name); err == nil {
				set(&p.Cookies, name, c.Value)
			}
		}
	}
	if len(s.Query) > 0 {
		values, _ := url.ParseQuery(rawQuery) // malformed parts are left out
		for _, name := range s.Query {
			if values.Has(name) {
				set(&p.Query, name, values.Get(name))
			}
		}
	}
	if p.Headers == nil && p.Cookies == nil && p.Query == nil {
		return nil
	}
	return &p
}
