package api

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// inflate replaces a body in gzip by its inflated content, which is then bounded like any
// other body.
func (h *Handler) inflate(r *http.Request) error {
	encoding := r.Header.Get("Content-Encoding")
	switch strings.ToLower(encoding) {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
	default:
		return problem(http.StatusUnsupportedMediaType, CodeMediaType, "The body is encoded with %.40q. Send it as it is, or with Content-Encoding: gzip.", encoding)
	}
	r.Body = &gzipBody{from: r.Body, compressed: bufio.NewReader(r.Body)}
	r.ContentLength = -1
	return nil
}

// gzipReaders are *gzip.Reader: each has 40 KiB of tables.
var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// gzipBody reads its header with the first Read, so that a slow sender is bounded in
// the same way as without gzip.
type gzipBody struct {
	from       io.ReadCloser
	compressed *bufio.Reader
	inflated   *gzip.Reader
	err        error
}

func (b *gzipBody) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.inflated == nil {
		reader := gzipReaders.Get().(*gzip.Reader)
		if err := reader.Reset(b.compressed); err != nil {
			gzipReaders.Put(reader)
			b.err = fmt.Errorf("it is not gzip: %w", err)
			return 0, b.err
		}
		b.inflated = reader
	}
	n, err = b.inflated.Read(p)
	if err != nil {
		b.err = err
		gzipReaders.Put(b.inflated)
		b.inflated = nil
	}
	return n, err
}

func (b *gzipBody) Close() error { return b.from.Close() }
