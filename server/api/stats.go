package api

import (
	"net/http"
	"reflect"
	"strings"
	"unicode"
)

// stats answers GET /v1/stats: server.Stats with its names in snake_case.
func (h *Handler) stats(_ *client, w http.ResponseWriter, r *http.Request) error {
	if q := params(r); q.err != nil {
		return q.err
	}
	return h.answerJSON(w, snakeCase(reflect.ValueOf(h.backend.Stats())))
}

// snakeCase is a struct of numbers, and of such structs, as JSON likes it. It
// follows server.Stats by itself when that grows.
func snakeCase(v reflect.Value) map[string]any {
	out := make(map[string]any, v.NumField())
	for field, value := range v.Fields() {
		if value.Kind() == reflect.Struct {
			out[snake(field.Name)] = snakeCase(value)
		} else {
			out[snake(field.Name)] = value.Interface()
		}
	}
	return out
}

// snake makes TLSHandshakes tls_handshakes, and InvalidUTF8 invalid_utf8.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		starts := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if starts {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
