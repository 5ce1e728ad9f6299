package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/jsonx"
)

// results gathers the results of a batch, one for each item, in order.
type results struct {
	b      []byte
	failed int
}

// begin starts the next result, which has the given members.
func (r *results) begin(members ...string) {
	if r.b[len(r.b)-1] != '[' {
		r.b = append(r.b, ',')
	}
	r.b = append(r.b, '{')
	for i := 0; i < len(members); i += 2 {
		r.b = jsonx.AppendText(r.b, members[i])
		r.b = append(r.b, ':')
		r.b = jsonx.AppendText(r.b, members[i+1])
		r.b = append(r.b, ',')
	}
}

// end ends a result with a receipt, or with a problem.
func (r *results) end(h *Handler, receipt *server.Receipt, err error) {
	if err != nil {
		r.failed++
	}
	r.b = append(h.appendResult(r.b, receipt, err), '}')
}

// appendResult appends the members of one result.
func (h *Handler) appendResult(b []byte, receipt *server.Receipt, err error) []byte {
	if err == nil {
		return appendReceipt(b, receipt)
	}
	b = append(b, `"problem":`...)
	return append(b, h.problemOf(err).json()...)
}

// answer writes all results.
func (r *results) answer(w http.ResponseWriter) {
	r.b = append(r.b, `],"failed":`...)
	r.b = strconv.AppendInt(r.b, int64(r.failed), 10)
	answer(w, append(r.b, '}', '\n'))
}

func newResults() *results { return &results{b: []byte(`{"results":[`)} }

// publishMany serves POST /v1/publish/many: one message, many channels and users.
func (h *Handler) publishMany(c *client, w http.ResponseWriter, r *http.Request) error {
	buf := h.buffer()
	defer h.release(buf)
	if err := h.read(w, r, buf); err != nil {
		return err
	}
	if err := object(buf.Bytes()); err != nil {
		return err
	}
	var p publication
	if err := p.parse(buf.Bytes(), membersOfMany, h.cfg.Wait); err != nil {
		return err
	}
	header, err := idempotencyHeader(r)
	if err != nil {
		return err
	}
	if header == "" {
		header = p.IdempotencyKey
	}
	n := len(p.channels) + len(p.users)
	if n == 0 {
		return problem(http.StatusBadRequest, CodeMissingMember, "channels and users are empty. Name at least one of them.").about("channels", "users")
	}
	if err := h.checkCount(n); err != nil {
		return err
	}
	ctx, cancel := waiting(r.Context(), p.wait)
	defer cancel()
	all := newResults()
	together := 1 + aheadMaxBytes/(1+len(p.Payload))
	for from := 0; from < n; from += together {
		items := make([]publication, min(together, n-from))
		begun := make([]func() (server.Receipt, error), len(items))
		for i := range items {
			one := &items[i]
			*one = p
			if at := from + i; at < len(p.channels) {
				one.Channel = p.channels[at]
			} else {
				one.User = p.users[at-len(p.channels)]
			}
			one.IdempotencyKey = itemKey(header, from+i)
			begun[i] = h.beginItem(ctx, c, one)
		}
		for i, result := range begun {
			if one := &items[i]; one.Channel != "" {
				all.begin("channel", one.Channel)
			} else {
				all.begin("user", one.User)
			}
			receipt, err := result()
			all.end(h, &receipt, err)
		}
	}
	all.answer(w)
	return nil
}

// batch serves POST /v1/batch: many publications, in order.
func (h *Handler) batch(c *client, w http.ResponseWriter, r *http.Request) error {
	header, err := idempotencyHeader(r)
	if err != nil {
		return err
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == typeNDJSON {
		return h.stream(c, w, r, header)
	}
	buf := h.buffer()
	defer h.release(buf)
	if err := h.read(w, r, buf); err != nil {
		return err
	}
	items, wait, err := h.parseBatch(buf.Bytes())
	if err != nil {
		return err
	}
	ctx, cancel := waiting(r.Context(), wait)
	defer cancel()
	all := newResults()
	begun := make([]func() (server.Receipt, error), 0, len(items))
	for i, item := range items {
		begun = append(begun, h.beginOne(ctx, c, item, wait, itemKey(header, i)))
	}
	for _, result := range begun {
		all.begin()
		receipt, err := result()
		all.end(h, &receipt, err)
	}
	all.answer(w)
	return nil
}

// parseBatch reads {"publications": […], "wait": "5s"}.
func (h *Handler) parseBatch(body []byte) (items [][]byte, wait time.Duration, err error) {
	if err := object(body); err != nil {
		return nil, 0, err
	}
	p := publication{wait: h.cfg.Wait}
	var unknown []string
	var list []byte
	for w := jsonx.Walk(body); w.More(); {
		quoted, value := w.Member()
		name, _ := unquote(quoted)
		switch string(name) {
		case "publications":
			list = value
		case "wait":
			text, ok := unquote(value)
			if !ok {
				return nil, 0, badValue("wait", "a string")
			}
			if err := p.setDuration(memberWait, "wait", string(text)); err != nil {
				return nil, 0, err
			}
		default:
			unknown = append(unknown, string(name))
		}
	}
	if len(unknown) > 0 {
		return nil, 0, unknownMembers(unknown, "a batch takes publications and wait")
	}
	if list == nil {
		return nil, 0, problem(http.StatusBadRequest, CodeMissingMember, "There is nothing to publish. Send publications, an array of what /v1/publish takes.").about("publications")
	}
	if list[0] != '[' {
		return nil, 0, badValue("publications", "an array of what /v1/publish takes")
	}
	for w := jsonx.Walk(list); w.More(); {
		items = append(items, w.Element())
	}
	return items, p.wait, h.checkCount(len(items))
}

func (h *Handler) checkCount(n int) error {
	if n <= h.cfg.BatchMaxItems {
		return nil
	}
	return problem(http.StatusRequestEntityTooLarge, CodeTooManyItems, "%d publications in one request, and it takes %d (BatchMaxItems). Nothing was published. Send several requests, or a stream (/v1/batch with %s).", n, h.cfg.BatchMaxItems, typeNDJSON)
}

// waiting limits the wait of a whole batch: the items after that are published without
// waiting.
func waiting(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	if wait <= 0 {
		return server.NoWait, func() {}
	}
	return context.WithTimeout(ctx, wait)
}

// itemKey returns the idempotency key of an item without one of its own, so that a
// whole batch can be repeated.
func itemKey(key string, i int) string {
	if key == "" {
		return ""
	}
	return key + "#" + strconv.Itoa(i)
}

// beginItem is begin for one of many.
func (h *Handler) beginItem(ctx context.Context, c *client, p *publication) (result func() (server.Receipt, error)) {
	if err := c.take(); err != nil {
		return refused(err)
	}
	return h.begin(ctx, c, p)
}

const (
	// streamTimeout is how long a stream may stand still in either direction.
	streamTimeout = 30 * time.Second
	// streamAhead is how many lines, if they have come, are published before the result of
	// the first one is waited for: a round trip to the broker is shared by all of them.
	streamAhead = 256
	// aheadMaxBytes bounds the payloads that are on their way for one request: what a
	// broker has not answered yet is bounded for all of them together.
	aheadMaxBytes = 4 << 20
)

// stream publishes line by line and writes a line of result for each as it comes: the
// client may send for as long as it likes. Empty lines have no result.
func (h *Handler) stream(c *client, w http.ResponseWriter, r *http.Request, header string) error {
	control := http.NewResponseController(w)
	// Where these are not supported (a recorder in a test, a middleware), results may
	// come late.
	_ = control.EnableFullDuplex()
	w.Header().Set("Content-Type", typeNDJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)

	in := bufio.NewReaderSize(r.Body, 32<<10)
	line, out := h.buffer(), []byte(nil)
	defer h.release(line)
	begun := make([]func() (server.Receipt, error), 0, streamAhead)
	write := func() (err error) {
		for _, result := range begun {
			receipt, failed := result()
			out = append(h.appendResult(append(out[:0], '{'), &receipt, failed), '}', '\n')
			if err == nil { // else the client is gone; what is begun is waited for
				_, err = w.Write(out)
			}
		}
		begun = begun[:0]
		return err
	}
	for i, ahead := 0, 0; ; {
		if in.Buffered() == 0 || len(begun) == cap(begun) || ahead > aheadMaxBytes {
			if write() != nil {
				return nil
			}
			ahead = 0
		}
		if in.Buffered() == 0 {
			_ = control.Flush()
			deadline := time.Now().Add(streamTimeout)
			_ = control.SetReadDeadline(deadline)
			_ = control.SetWriteDeadline(deadline.Add(WaitMax))
		}
		err := h.readLine(in, line)
		switch text := bytes.TrimSpace(line.Bytes()); {
		case err != nil && !errors.Is(err, io.EOF):
			// What follows a line that is too long, or did not come, can't be found.
			begun = append(begun, refused(h.streamError(err)))
			_ = write() // the end, whether or not the client is there
			return nil
		case err != nil && line.Len() == 0:
			_ = write()
			return nil
		case len(text) > 0:
			begun = append(begun, h.beginOne(r.Context(), c, text, h.cfg.Wait, itemKey(header, i)))
			ahead += len(text)
			i++
		}
	}
}

func (h *Handler) streamError(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return h.tooLarge()
	}
	return h.readError(err)
}

// beginOne begins an item of a batch or of a stream, which has the idempotency key if it has
// none of its own.
func (h *Handler) beginOne(ctx context.Context, c *client, text []byte, wait time.Duration, key string) (result func() (server.Receipt, error)) {
	var p publication
	if err := h.parseOne(&p, text, wait); err != nil {
		return refused(err)
	}
	if p.IdempotencyKey == "" {
		p.IdempotencyKey = key
	}
	return h.beginItem(ctx, c, &p)
}

// readLine reads up to a line feed or the end.
func (h *Handler) readLine(in *bufio.Reader, line *bytes.Buffer) error {
	line.Reset()
	for {
		part, err := in.ReadSlice('\n')
		line.Write(part)
		switch {
		case line.Len() > h.cfg.PublishBodyMaxBytes:
			return bufio.ErrTooLong
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}
