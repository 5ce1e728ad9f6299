package counters

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// OfFields returns the counters that the fields of a struct are, for parts of a program
// that count for themselves. A field is an integer, a time (as seconds since 1970, 0 for
// none), or a map of integers, whose keys end the names. Each has the tag help; gauge:"yes"
// marks what goes up and down, and name:"…" gives another name than the field's in
// snake_case. All names begin with the prefix.
func OfFields(prefix string, fields any) Stats {
	var all Stats
	v := reflect.ValueOf(fields)
	for field, value := range v.Fields() {
		info := Info{Name: field.Tag.Get("name"), Help: field.Tag.Get("help")}
		if info.Name == "" {
			info.Name = snake(field.Name)
		}
		info.Name = prefix + "_" + info.Name
		if field.Tag.Get("gauge") != "" {
			info.Kind = Gauge
		}
		if n, ok := value.Interface().(time.Time); ok {
			all = append(all, Stat{info, max(n.Unix(), 0)})
			continue
		}
		if value.Kind() != reflect.Map {
			all = append(all, Stat{info, integer(value)})
			continue
		}
		byKey := map[string]int64{}
		for key, n := range value.Seq2() {
			byKey[key.String()] = integer(n)
		}
		for _, key := range slices.Sorted(maps.Keys(byKey)) {
			one := Info{info.Name + "_" + key, info.Kind, info.Help + " (" + key + ")"}
			all = append(all, Stat{one, byKey[key]})
		}
	}
	return all
}

func integer(v reflect.Value) int64 {
	if v.CanUint() {
		return int64(v.Uint())
	}
	return v.Int()
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
