package handshake

import "bytes"

// Clone copies the request and the head that it points into, for a goroutine
// that works on it after the head is gone.
func (r *Request) Clone() *Request {
	c := &Request{
		Method: bytes.Clone(r.Method), Target: bytes.Clone(r.Target), Path: bytes.Clone(r.Path),
		RawQuery: bytes.Clone(r.RawQuery), Host: bytes.Clone(r.Host),
		Minor: r.Minor, BodyBytes: r.BodyBytes, count: r.count,
	}
	for i, f := range r.Fields() {
		c.fields[i] = Field{Name: bytes.Clone(f.Name), Value: bytes.Clone(f.Value)}
	}
	return c
}
