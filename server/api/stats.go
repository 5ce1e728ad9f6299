package api

import "net/http"

// stats serves GET /v1/stats: the counters of server.Stats.
func (h *Handler) stats(_ *client, w http.ResponseWriter, r *http.Request) error {
	if q := params(r); q.err != nil {
		return q.err
	}
	return h.answerJSON(w, h.backend.Stats())
}
