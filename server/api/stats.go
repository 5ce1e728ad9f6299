package api

import (
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// stats serves GET /v1/stats: the counters of server.Stats, and Config.Stats with the
// names of their fields in snake_case.
func (h *Handler) stats(_ *client, w http.ResponseWriter, r *http.Request) error {
	if q := params(r); q.err != nil {
		return q.err
	}
	all := map[string]any{}
	for _, stat := range h.backend.Stats() {
		all[stat.Name] = stat.Value
	}
	for name, stats := range h.cfg.Stats {
		all[name] = snakeCase(reflect.ValueOf(stats()))
	}
	return h.answerJSON(w, all)
}

// snakeCase returns a struct of numbers, times and such structs as a JSON object.
// Times are Unix milliseconds, 0 for none.
func snakeCase(v reflect.Value) map[string]any {
	out := make(map[string]any, v.NumField())
	for field, value := range v.Fields() {
		name := snake(field.Name)
		if at, ok := value.Interface().(time.Time); ok {
			out[name] = max(at.UnixMilli(), 0)
		} else if value.Kind() == reflect.Struct {
			out[name] = snakeCase(value)
		} else {
			out[name] = value.Interface()
		}
	}
	return out
}

// snake turns TLSHandshakes into tls_handshakes, and InvalidUTF8 into invalid_utf8.
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
