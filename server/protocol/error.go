package protocol

import (
	"fmt"
	"net/http"
	"time"
)

// A Code is the stable number of an Error. An application's own codes begin at
// 1000.
type Code int

// The codes (docs/protocol.md, section 9).
const (
	CodeInternal          Code = 100
	CodeUnauthorized      Code = 101
	CodeTokenExpired      Code = 102
	CodePermissionDenied  Code = 103
	CodeUnknownNamespace  Code = 104
	CodeBadRequest        Code = 105
	CodeAlreadySubscribed Code = 106
	CodeNotSubscribed     Code = 107
	CodeLimit             Code = 108
	CodeUnknownMethod     Code = 109
	CodeNotAvailable      Code = 110
	CodeBusy              Code = 111
	CodeTimeout           Code = 112
)

// An Error is an error that the client may be told.
type Error struct {
	Code Code
	// Message is for people.
	Message string
	// RetryAfter tells the client when to try again, if not zero.
	RetryAfter time.Duration
}

// Error returns message and code.
func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Message, int(e.Code)) }

// temporary reports whether the same command may succeed later.
func (e *Error) temporary() bool {
	return e.RetryAfter > 0 || e.Code == CodeBusy || e.Code == CodeTimeout || e.Code == CodeInternal
}

// Status returns the HTTP status that is closest to the code.
func (e *Error) Status() int {
	switch e.Code {
	case CodeUnauthorized, CodeTokenExpired:
		return http.StatusUnauthorized
	case CodePermissionDenied:
		return http.StatusForbidden
	case CodeUnknownNamespace, CodeNotSubscribed, CodeUnknownMethod, CodeNotAvailable:
		return http.StatusNotFound
	case CodeBadRequest, CodeAlreadySubscribed:
		return http.StatusBadRequest
	case CodeLimit:
		return http.StatusTooManyRequests
	case CodeBusy, CodeTimeout:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
