package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/broker"
	"github.com/roostws/roost/server/protocol"
)

// A Problem is the body of an error response, application/problem+json (RFC 9457).
type Problem struct {
	// Status is the HTTP status, Title its name.
	Status int    `json:"status"`
	Title  string `json:"title"`
	// Code names the kind of problem. It does not change between versions.
	Code Code `json:"code"`
	// Detail says what was wrong and what to do, for people.
	Detail string `json:"detail"`
	// Members are those of the request that it is about.
	Members []string `json:"members,omitempty"`
	// RetryAfter is when to try again, in seconds, if that can help. The header
	// Retry-After says the same, rounded up.
	RetryAfter float64 `json:"retry_after,omitempty"`

	allow string // the header of a 405
}

// Error returns the detail with its code.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s (%s, HTTP %d)", p.Detail, p.Code, p.Status)
}

// A Code names a kind of Problem.
type Code string

// The codes (docs/api.md).
const (
	CodeBadJSON        Code = "bad_json"
	CodeUnknownMember  Code = "unknown_member"
	CodeMissingMember  Code = "missing_member"
	CodeBadValue       Code = "bad_value"
	CodeBadName        Code = "bad_name"
	CodeBodyTooLarge   Code = "body_too_large"
	CodeMessageTooBig  Code = "message_too_big"
	CodeTooManyItems   Code = "too_many_items"
	CodeMediaType      Code = "unsupported_media_type"
	CodeMethod         Code = "method_not_allowed"
	CodeNotFound       Code = "not_found"
	CodeUnauthorized   Code = "unauthorized"
	CodeForbidden      Code = "forbidden"
	CodeCrossSite      Code = "cross_site"
	CodeForbiddenHost  Code = "forbidden_host"
	CodeRateLimited    Code = "rate_limited"
	CodeBusy           Code = "busy"
	CodeBrokerAway     Code = "broker_away"
	CodeBrokerSilent   Code = "broker_silent"
	CodeBrokerHistory  Code = "broker_history"
	CodeClosed         Code = "closed"
	CodeTimeout        Code = "timeout"
	CodeRefused        Code = "refused"
	CodeNoNamespace    Code = "unknown_namespace"
	CodeKeyReused      Code = "idempotency_key_reused"
	CodeInternal       Code = "internal"
	CodeUnhealthy      Code = "unhealthy"
	CodeBodyIncomplete Code = "body_incomplete"
)

func problem(status int, code Code, format string, args ...any) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Code: code, Detail: fmt.Sprintf(format, args...)}
}

// about names the members that p is about.
func (p *Problem) about(members ...string) *Problem {
	p.Members = members
	return p
}

// retry asks to try again after d.
func (p *Problem) retry(d time.Duration) *Problem {
	p.RetryAfter = math.Round(max(d, time.Millisecond).Seconds()*1000) / 1000
	return p
}

// problemOf returns the problem for an error. An unexpected error is only logged.
func (h *Handler) problemOf(err error) *Problem {
	var p *Problem
	var refused *protocol.Error
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, server.ErrBusy):
		return problem(http.StatusServiceUnavailable, CodeBusy, "The server has too much waiting to take more; nothing was done. Try again after Retry-After, or publish slower.").retry(time.Second)
	case errors.Is(err, broker.ErrUnavailable):
		return problem(http.StatusServiceUnavailable, CodeBrokerAway, "The broker that connects the servers is away; nothing was done. Try again after Retry-After.").retry(2 * time.Second)
	case errors.Is(err, broker.ErrUnknown):
		return problem(http.StatusGatewayTimeout, CodeBrokerSilent, "The broker that connects the servers did not answer: the message may have been published. With an idempotency key it can be published again without harm.")
	case errors.Is(err, server.ErrBrokerHistory):
		return problem(http.StatusNotImplemented, CodeBrokerHistory, "The broker keeps the history of channels, and it can't be cleared. Nothing was done.")
	case errors.Is(err, server.ErrServerClosed):
		return problem(http.StatusServiceUnavailable, CodeClosed, "The server is closed or closing; nothing was done. Try again when it is back.").retry(5 * time.Second)
	case errors.Is(err, server.ErrBadName):
		return problem(http.StatusBadRequest, CodeBadName, "%s.", sentence(err))
	case errors.Is(err, server.ErrMessageTooBig):
		return problem(http.StatusRequestEntityTooLarge, CodeMessageTooBig, "%s. Send less at a time.", sentence(err))
	case errors.Is(err, server.ErrKeyReused):
		return problem(http.StatusUnprocessableEntity, CodeKeyReused, "The idempotency key was used before, for another message to the same target; nothing was published now. Use a new key for each message.").about("idempotency_key")
	case errors.As(err, &refused) && refused.Code == protocol.CodeUnknownNamespace:
		return problem(http.StatusNotFound, CodeNoNamespace, "%s. Check what stands before the colon; --namespaces configures more.", sentence(errors.New(refused.Message))).about("channel")
	case errors.As(err, &refused):
		p := problem(refused.Status(), CodeRefused, "%s.", sentence(refused))
		if refused.RetryAfter > 0 {
			p.retry(refused.RetryAfter)
		}
		return p
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return problem(http.StatusServiceUnavailable, CodeTimeout, "The event loops did not answer in time. Try again after Retry-After.").retry(time.Second)
	}
	h.cfg.Logger.Error("a request of the publish API failed", "err", err)
	return problem(http.StatusInternalServerError, CodeInternal, "The server could not do this; its log says why.")
}

// sentence returns an error's text with a capital letter.
func sentence(err error) string {
	text := strings.TrimPrefix(err.Error(), "server: ")
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// write writes p as the response.
func (p *Problem) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter))))
	}
	if p.allow != "" {
		header.Set("Allow", p.allow)
	}
	if p.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", `Bearer realm="roost"`)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.json(), '\n')) // a client that is gone learns nothing
}

// json returns p for a body, or for a result of a batch.
func (p *Problem) json() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("a problem is not JSON: " + err.Error()) // strings and finite numbers are
	}
	return b
}
