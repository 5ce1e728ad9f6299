package api

import (
	"errors"
	"net/http"

	"github.com/roostws/roost/server"
)

// share says whether an answer lacks the share of other servers on the broker.
type share struct {
	Incomplete bool     `json:"incomplete,omitempty"`
	Missing    []string `json:"missing,omitempty"`
}

// shareOf parts that from an error: then there is an answer all the same.
func shareOf(err error) (share, error) {
	if incomplete := new(server.IncompleteError); errors.As(err, &incomplete) {
		return share{true, incomplete.Missing}, nil
	}
	return share{}, err
}

// nodes serves GET /v1/nodes.
func (h *Handler) nodes(_ *client, w http.ResponseWriter, r *http.Request) error {
	if q := params(r); q.err != nil {
		return q.err
	}
	type node struct {
		ID          string   `json:"id"`
		Name        string   `json:"name,omitempty"`
		Version     string   `json:"version,omitempty"`
		Addrs       []string `json:"addrs"`
		Connections int      `json:"connections"`
		Since       int64    `json:"since"`
		Self        bool     `json:"self,omitempty"`
	}
	result := struct {
		Nodes []node `json:"nodes"`
	}{[]node{}}
	for _, n := range h.backend.Nodes() {
		result.Nodes = append(result.Nodes, node{n.ID, n.Name, n.Version, list(n.Addrs), n.Connections, n.Since.UnixMilli(), n.Self})
	}
	return h.answerJSON(w, result)
}
