package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/roostws/roost/server"
	"github.com/roostws/roost/server/internal/jsonx"
)

// publish serves POST /v1/publish. This is the request that has to be cheap: one
// pooled buffer for body and answer, no reflection, a payload that is not copied here.
func (h *Handler) publish(c *client, w http.ResponseWriter, r *http.Request) error {
	buf := h.buffer()
	defer h.release(buf)
	if err := h.read(w, r, buf); err != nil {
		return err
	}
	var p publication
	if err := h.parseOne(&p, buf.Bytes(), h.cfg.Wait); err != nil {
		return err
	}
	header, err := idempotencyHeader(r)
	if err != nil {
		return err
	}
	if header != "" && p.IdempotencyKey != "" && header != p.IdempotencyKey {
		return problem(http.StatusBadRequest, CodeBadValue, "The header Idempotency-Key is not the member idempotency_key. Send one of them.").about("idempotency_key")
	}
	if header != "" {
		p.IdempotencyKey = header
	}
	receipt, err := h.send(r.Context(), c, &p)
	if err != nil {
		return err
	}
	// The backend has copied the payload: the body's bytes are free.
	buf.Reset()
	out := append(buf.AvailableBuffer(), '{')
	out = appendReceipt(out, &receipt)
	answer(w, append(out, '}', '\n'))
	return nil
}

// parseOne reads a publication to one channel, user, or to all.
func (h *Handler) parseOne(p *publication, body []byte, wait time.Duration) error {
	if err := object(body); err != nil {
		return err
	}
	return p.parse(body, membersOfOne, wait)
}

// send publishes what c may publish, and waits for the receipt.
func (h *Handler) send(ctx context.Context, c *client, p *publication) (server.Receipt, error) {
	return h.begin(ctx, c, p)()
}

// begin publishes what c may publish. result waits for the receipt, and is called once.
func (h *Handler) begin(ctx context.Context, c *client, p *publication) (result func() (server.Receipt, error)) {
	if err := h.check(c, p); err != nil {
		return refused(err)
	}
	if p.IdempotencyKey != "" && c.Name != "" {
		// A key's repetitions are its own.
		p.IdempotencyKey = c.Name + "/" + p.IdempotencyKey
	}
	switch {
	case p.wait <= 0 && p.Client != "":
		ctx = server.NoWait
	case p.wait <= 0:
		ctx = noReceipt // and not NoWait, with which it would not wait for a broker's answer
	default:
		ctx, cancel := context.WithTimeout(ctx, p.wait)
		wait := h.backend.BeginPublish(ctx, p.Publication)
		return func() (server.Receipt, error) {
			defer cancel()
			return wait()
		}
	}
	return h.backend.BeginPublish(ctx, p.Publication)
}

// check refuses what c may not publish, and what cannot be.
func (h *Handler) check(c *client, p *publication) error {
	if err := c.mayPublish(p); err != nil {
		return err
	}
	if p.Channel != "" {
		if err := h.backend.CheckNamespace(p.Channel); err != nil {
			return err
		}
	}
	if p.Client != "" && p.IdempotencyKey != "" {
		return problem(http.StatusBadRequest, CodeBadValue, "A message to one connection has no idempotency key. Leave it out.").about("idempotency_key")
	}
	return nil
}

// refused is the result of what is not published.
func refused(err error) func() (server.Receipt, error) {
	return func() (server.Receipt, error) { return server.Receipt{}, err }
}

// noReceipt is a context that is done.
var noReceipt = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// mayPublish refuses what the client's patterns do not cover.
func (c *client) mayPublish(p *publication) error {
	switch {
	case len(c.Channels) == 0:
		return nil
	case p.Client != "":
		return c.mayAll("a message to one connection, in whatever channels it is")
	case p.All:
		return c.mayAll("a message to all connections")
	case p.User != "":
		return c.mayNameUser(p.User)
	}
	return c.mayName(p.Channel) // whom it leaves out is nobody's secret
}

// idempotencyHeader returns the header Idempotency-Key, in the quotation marks of its
// draft standard or without.
func idempotencyHeader(r *http.Request) (string, error) {
	values, there := r.Header["Idempotency-Key"]
	if !there {
		return "", nil
	}
	key := strings.Join(values, ", ")
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = key[1 : len(key)-1]
	}
	return key, checkIdempotencyKey("Idempotency-Key", key)
}

// appendReceipt appends the members of a receipt.
func appendReceipt(b []byte, r *server.Receipt) []byte {
	if r.Epoch != "" {
		b = append(b, `"epoch":`...)
		b = jsonx.AppendText(b, r.Epoch)
		b = append(b, `,"offset":`...)
		b = strconv.AppendUint(b, r.Offset, 10)
		b = append(b, ',')
	}
	b = append(b, `"matched":`...)
	b = strconv.AppendInt(b, int64(r.Matched), 10)
	b = append(b, `,"written":`...)
	b = strconv.AppendInt(b, int64(r.Written), 10)
	b = append(b, `,"complete":`...)
	b = strconv.AppendBool(b, r.Complete)
	b = append(b, `,"duplicate":`...)
	return strconv.AppendBool(b, r.Duplicate)
}
