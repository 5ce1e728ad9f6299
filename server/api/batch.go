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
	for i := range n {
		one := p
		if i < len(p.channels) {
			one.Channel = p.channels[i]
			all.begin("channel", one.Channel)
		} else {
			one.User = p.users[i-len(p.channels)]
			all.begin("user", one.User)
		}
		one.IdempotencyKey = itemKey(header, i)
		receipt, err := h.sendItem(ctx, c, &one)
		all.end(h, &receipt, err)
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
	for i, item := range items {
		var p publication
		var receipt server.Receipt
		all.begin()
		err := h.parseOne(&p, item, wait)
		if err == nil {
			if p.IdempotencyKey == "" {
				p.IdempotencyKey = itemKey(header, i)
			}
			receipt, err = h.sendItem(ctx, c, &p)
		}
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

// sendItem is send for one of many.
func (h *Handler) sendItem(ctx context.Context, c *client, p *publication) (server.Receipt, error) {
	if err := c.take(); err != nil {
		return server.Receipt{}, err
	}
	return h.send(ctx, c, p)
}

// How long a stream may stand still in either direction.
const streamTimeout = 30 * time.Second

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
	for i := 0; ; {
		if in.Buffered() == 0 {
			_ = control.Flush()
			deadline := time.Now().Add(streamTimeout)
			_ = control.SetReadDeadline(deadline)
			_ = control.SetWriteDeadline(deadline.Add(WaitMax))
		}
		err := h.readLine(in, line)
		if errors.Is(err, io.EOF) && line.Len() == 0 {
			return nil
		}
		last := err != nil && !errors.Is(err, io.EOF)
		var receipt server.Receipt
		if last {
			// What follows a line that is too long, or did not come, can't be found.
			err = h.streamError(err)
		} else if text := bytes.TrimSpace(line.Bytes()); len(text) == 0 {
			continue
		} else {
			receipt, err = h.streamLine(r.Context(), c, text, itemKey(header, i))
			i++
		}
		out = h.appendResult(append(out[:0], '{'), &receipt, err)
		if _, err := w.Write(append(out, '}', '\n')); err != nil || last {
			return nil // the client is gone, or has been told
		}
	}
}

func (h *Handler) streamError(err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		return h.tooLarge()
	}
	return h.readError(err)
}

// streamLine publishes one line.
func (h *Handler) streamLine(ctx context.Context, c *client, text []byte, key string) (server.Receipt, error) {
	var p publication
	if err := h.parseOne(&p, text, h.cfg.Wait); err != nil {
		return server.Receipt{}, err
	}
	if p.IdempotencyKey == "" {
		p.IdempotencyKey = key
	}
	return h.sendItem(ctx, c, &p)
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
