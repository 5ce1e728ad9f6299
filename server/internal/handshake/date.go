package handshake

import (
	"net/http"
	"time"
)

// A Date is the value of the Date header (RFC 9110 section 6.6.1), written once
// a second. The zero value is ready. One goroutine at a time may use it.
type Date struct {
	second int64
	text   [len(http.TimeFormat)]byte
}

// At returns the value for now, valid until the next call.
func (d *Date) At(now time.Time) []byte {
	if second := now.Unix(); second != d.second {
		d.second = second
		now.UTC().AppendFormat(d.text[:0], http.TimeFormat)
	}
	return d.text[:]
}

// An Envelope is what a response has beside its own content. The zero value is
// a response without a date to a request that is not HEAD.
type Envelope struct {
	// Date is the Date header's value. Empty leaves the header out.
	Date []byte
	// Head says that the request is HEAD: the response has no content.
	Head bool
	// Unread says that the request has not been read: it may be HEAD, so that a
	// refusal has no content and says so.
	Unread bool
	// Header are more header lines, each with its CR LF.
	Header []byte
}

func appendDate(dst, date []byte) []byte {
	if len(date) == 0 {
		return dst
	}
	dst = append(dst, "Date: "...)
	dst = append(dst, date...)
	return append(dst, "\r\n"...)
}
