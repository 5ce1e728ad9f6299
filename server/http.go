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
	// HTTP/1.0 has no chunks and its clients differ in what they make of keep-alive
	// (RFC 9112, appendix C.2.2): their connections end, as each does while the server
	// stops.
	keep := r.ProtoAtLeast(1, 1) && !r.Close && s.ctx.Err() == nil && !hasToken(w.header, "Connection", "close")
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

// response gathers what an http.Handler writes.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the response header, to be set before the first Write.
func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status; the first call counts.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

// Write adds to the body.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// bytes returns the whole response, which tells where it ends. Unless keep is set, the
// connection ends with it.
func (w *response) bytes(head, keep bool) []byte {
	w.WriteHeader(http.StatusOK)
	if w.header.Get("Content-Type") == "" && w.body.Len() > 0 {
		w.header.Set("Content-Type", http.DetectContentType(w.body.Bytes()))
	}
	if w.header.Get("Date") == "" {
		w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	if w.header.Del("Connection"); !keep {
		w.header.Set("Connection", "close")
	}
	w.header.Del("Transfer-Encoding")
	switch {
	case w.status == http.StatusNoContent:
		w.header.Del("Content-Length") // RFC 9110 section 8.6: must not be sent
	case w.status == http.StatusNotModified:
	case head && w.body.Len() == 0:
		// A handler may say how long the content would be without writing it, as
		// http.ServeContent does. If it says nothing, nothing is known.
	default:
		w.header.Set("Content-Length", strconv.Itoa(w.body.Len()))
	}
	var out bytes.Buffer
	out.WriteString("HTTP/1.1 " + strconv.Itoa(w.status) + " " + http.StatusText(w.status) + "\r\n")
	_ = w.header.Write(&out) // a bytes.Buffer takes everything
	out.WriteString("\r\n")
	if !head && w.status != http.StatusNoContent && w.status != http.StatusNotModified {
		out.Write(w.body.Bytes())
	}
	return out.Bytes()
}
