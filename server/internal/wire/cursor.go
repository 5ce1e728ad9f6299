package wire

import "strconv"

// A cursor names positions in channels' histories. It is the ID of an event, and so
// what an EventSource comes back with in the header Last-Event-ID:
// NAME@EPOCH.OFFSET for each channel, joined by commas, names escaped as in a query.

// CursorPartMaxBytes bounds a part of a cursor without its name: a comma, @, an epoch,
// a dot, an offset.
const CursorPartMaxBytes = 1 + 1 + 8 + 1 + 11 + 1 + 20

// AppendCursor appends a part of a cursor, behind a comma unless it is the first. The
// offset stands at its end.
func AppendCursor(dst []byte, first bool, name, epoch string, offset uint64) []byte {
	if !first {
		dst = append(dst, ',')
	}
	dst = append(AppendEscaped(dst, name), '@')
	return strconv.AppendUint(append(append(dst, epoch...), '.'), offset, 10)
}

// AppendEscaped appends the name of a channel as it is in a cursor.
func AppendEscaped(dst []byte, name string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == ':', c == '/':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
