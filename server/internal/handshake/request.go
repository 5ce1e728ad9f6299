package handshake

// MaxFields is how many header lines a request may have. Browsers send 11 to
// 20, proxies add a handful. It is the size of an array in Request: 48 B each.
const MaxFields = 100

// BodyChunked is Request.BodyBytes of a body in the chunked transfer coding.
const BodyChunked = -1

// A Field is one header line.
type Field struct {
	// Name as sent; a valid token. Compare it with Is.
	Name []byte
	// Value without the white space around it. It has no control characters
	// but tabs; it may have bytes over 0x7f.
	Value []byte
}

// Is reports whether the field has this name, without regard to case.
func (f *Field) Is(name string) bool { return equalFold(f.Name, name) }

// A Request is a request head as Parse found it. All its slices point into the
// head: it is valid as long as the head is. One Request serves a whole loop,
// because Parse overwrites it. The zero value is ready for Parse.
type Request struct {
	// Method as sent: methods are case-sensitive.
	Method []byte
	// Target as sent: /path?query, http://host/path?query (or https, ws, wss) or *.
	Target []byte
	// Path is the target's path as sent: neither percent-decoded nor cleaned
	// of dot segments. Its percent-encoding is valid and holds no NUL.
	Path []byte
	// RawQuery is what follows the first '?', as sent, unchecked.
	RawQuery []byte
	// Host is the target's host and port where the target has them, otherwise the
	// Host header's value, syntactically valid; nil only where HTTP/1.0 came
	// without, empty where it was.
	Host []byte
	// Minor is the x of HTTP/1.x.
	Minor int
	// BodyBytes is the length of the body that follows the head: 0 for none,
	// BodyChunked if it is known only when its end comes.
	BodyBytes int64

	fields [MaxFields]Field
	count  int
}

// Fields returns the header lines, in order, duplicates included.
func (r *Request) Fields() []Field { return r.fields[:r.count] }

// Get returns the value of the first header line with this name, without regard to
// case; nil if there is none (a line without value gives an empty slice).
func (r *Request) Get(name string) []byte {
	for i := range r.fields[:r.count] {
		if f := &r.fields[i]; f.Is(name) {
			return f.Value
		}
	}
	return nil
}

// Count returns how many header lines have this name.
func (r *Request) Count(name string) int {
	n := 0
	for i := range r.fields[:r.count] {
		if r.fields[i].Is(name) {
			n++
		}
	}
	return n
}

// HasToken reports whether the comma-separated lists in all header lines of this name
// hold the token, without regard to case.
func (r *Request) HasToken(name, token string) bool {
	for i := range r.fields[:r.count] {
		if f := &r.fields[i]; f.Is(name) && listHas(f.Value, token) {
			return true
		}
	}
	return false
}

func listHas(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		if item, list = nextItem(list); equalFold(item, token) {
			return true
		}
	}
	return false
}
