package server_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/roostws/roost/server"
)

// The comments of Config's fields name the defaults of the table, and each number,
// duration and word of Config is in it.
func TestSettingsAreDocumented(t *testing.T) {
	comments := map[string]string{}
	files := token.NewFileSet()
	for _, name := range []string{"config.go", "limits.go", "timeouts.go"} {
		file, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && len(field.Names) == 1 {
				comments[field.Names[0].Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
			}
			return true
		})
	}
	zero := regexp.MustCompile(`If zero, ([0-9][0-9,]*)(?: (KiB|MiB|s|minutes))?[ .;,:]`)
	unit := map[string]int64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": int64(time.Second), "minutes": int64(time.Minute)}
	known := map[string]bool{}
	for _, s := range server.Settings() {
		name := s.Field[strings.LastIndexByte(s.Field, '.')+1:]
		known[name] = true
		var want int64
		switch d := s.Default.(type) {
		case int:
			want = int64(d)
		case time.Duration:
			want = int64(d)
		default:
			continue
		}
		m := zero.FindStringSubmatch(comments[name])
		if m == nil {
			t.Errorf("the comment of %s has no default: %q", name, comments[name])
			continue
		}
		if n, _ := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64); n*unit[m[2]] != want {
			t.Errorf("the comment of %s says %q, the default is %v", name, m[0], s.Default)
		}
	}
	for _, group := range []reflect.Type{reflect.TypeFor[server.Sockets](), reflect.TypeFor[server.Limits](), reflect.TypeFor[server.Timeouts](), reflect.TypeFor[server.Proxies]()} {
		for field := range group.Fields() {
			if !known[field.Name] {
				t.Errorf("%s.%s has no setting", group.Name(), field.Name)
			}
		}
	}
}
