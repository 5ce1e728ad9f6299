package server

import (
	"bufio"
	"bytes"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/netpoll"
	"github.com/roostws/roost/server/internal/handshake"
	"github.com/roostws/roost/server/internal/shard"
)

// answerHTTP passes one plain request, head and body, to Config.HTTP, on one of the
// goroutines for work, and gives the response to the loop.
func (s *Server) answerHTTP(sh *shard.Shard, id netpoll.ID, remote netip.AddrPort, request []byte) {
	var date handshake.Date
	respondError := func(err error) {
		sh.Respond(id, handshake.AppendError(nil, err, handshake.Envelope{Date: date.At(time.Now()), Head: handshake.IsHEAD(request)}), false)
	}
	// The head was found valid before; net/http builds its own view of it.
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		respondError(&handshake.Error{Status: 400, Reason: "malformed request"})
		return
	}
	r = r.WithContext(s.ctx)
	if remote.IsValid() {
		r.RemoteAddr = remote.String()
	}
	w := &response{header: http.Header{}}
	defer func() {
		if value := recover(); value != nil {
			if value != http.ErrAbortHandler {
				s.panicked("HTTP", id, value)
			}
			respondError(errPanicked)
		}
	}()
	s.cfg.HTTP.ServeHTTP(w, r)
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	// HTTP/1.0 has no chunks and its clients differ in what they make of keep-alive
	// (RFC 9112, appendix C.2.2): their connections end, as each does while the server
	// stops.
	keep := r.ProtoAtLeast(1, 1) && !r.Close && s.ctx.Err() == nil && !hasToken(w.sent, "Connection", "close")
	sh.Respond(id, w.bytes(r.Method == http.MethodHead, keep), keep)
}

// hasToken reports whether a header is a list with a token in it.
func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// response gathers what an http.Handler writes, by the rules of net/http.
type response struct {
	header http.Header
	sent   http.Header // header as WriteHeader found it, by canonical names; nil before
	status int
	body   bytes.Buffer
}

// Header is the response header, to be set before the first Write.
func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status; the first call counts. Informational responses are not
// sent. A status that cannot be sent is a mistake of the handler, and panics as it does
// in net/http; so does 101, since there is no connection to take over.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 || status == http.StatusSwitchingProtocols {
		panic("server: Config.HTTP cannot respond with status " + strconv.Itoa(status))
	}
	if w.status != 0 || status < 200 {
		return
	}
	w.status = status
	w.sent = make(http.Header, len(w.header))
	for name, values := range w.header {
		// A name that was set without its canonical form is the same header, and must
		// not escape the rules for it: two lengths are two readings of one response.
		canonical := http.CanonicalHeaderKey(name)
		if strings.HasPrefix(canonical, http.TrailerPrefix) || canonical == "Trailer" {
			continue // there are no chunks, and so no trailers
		}
		w.sent[canonical] = append(w.sent[canonical], values...)
	}
}

// bodyAllowed reports whether a response with this status has content (RFC 9110,
// sections 15.3.5 and 15.4.5).
func (w *response) bodyAllowed() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// Write adds to the body.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.bodyAllowed() {
		return 0, http.ErrBodyNotAllowed
	}
	return w.body.Write(p)
}

// bytes returns the whole response, which tells where it ends. Unless keep is set, the
// connection ends with it.
func (w *response) bytes(head, keep bool) []byte {
	h := w.sent
	// A header that is there without a value is one that the handler does not want.
	if _, set := h["Content-Type"]; !set && h.Get("Content-Encoding") == "" && w.body.Len() > 0 {
		h.Set("Content-Type", http.DetectContentType(w.body.Bytes()))
	}
	if _, set := h["Date"]; !set {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	if h.Del("Connection"); !keep {
		h.Set("Connection", "close")
	}
	h.Del("Transfer-Encoding")
	switch {
	case !w.bodyAllowed():
		h.Del("Content-Length") // RFC 9110 section 8.6: must not be sent with 204, and need not with 304
	case head && w.body.Len() == 0:
		// A handler may say how long the content would be without writing it, as
		// http.ServeContent does. If it says nothing, nothing is known.
		length := h.Values("Content-Length")
		if _, err := strconv.ParseUint(h.Get("Content-Length"), 10, 63); err != nil || len(length) != 1 {
			h.Del("Content-Length")
		}
	default:
		h.Set("Content-Length", strconv.Itoa(w.body.Len()))
	}
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + strconv.Itoa(w.status) + " " + http.StatusText(w.status) + "\r\n")
	_ = h.Write(&out) // a bytes.Buffer takes everything; line breaks in values become spaces
	out.WriteString("\r\n")
	if !head {
		out.Write(w.body.Bytes())
	}
	return out.Bytes()
}
