package roost

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/roostws/roost/frame"
)

// sentCodes are the close codes by their names in package frame, without those
// that never stand in a frame.
var sentCodes = map[string]frame.CloseCode{
	"CloseNormal": frame.CloseNormal, "CloseGoingAway": frame.CloseGoingAway, "CloseProtocolError": frame.CloseProtocolError,
	"CloseUnsupportedData": frame.CloseUnsupportedData, "CloseInvalidPayload": frame.CloseInvalidPayload,
	"ClosePolicyViolation": frame.ClosePolicyViolation, "CloseMessageTooBig": frame.CloseMessageTooBig,
	"CloseInternalError": frame.CloseInternalError, "CloseServiceRestart": frame.CloseServiceRestart,
	"CloseTryAgainLater": frame.CloseTryAgainLater, "CloseUnauthorized": frame.CloseUnauthorized,
	"CloseForbidden": frame.CloseForbidden, "CloseTimeout": frame.CloseTimeout,
	"closeBadRequest": 4400, "closeUnauthorized": 4401, // of the native protocol
}

// Every close code with its reason that the code sends has its row in
// docs/close-codes.md, and each row is one that is sent.
func TestCloseCodesAreDocumented(t *testing.T) {
	sent := map[string]bool{}
	for _, folder := range []string{"frame", "server", "cmd/roost"} {
		closeReasons(t, folder, sent)
	}
	if len(sent) < 20 {
		t.Fatalf("only %d reasons were found in the code: the test looks at the wrong place", len(sent))
	}
	documented := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| (\\d{4}) \\| `([^`]+)` \\| .+ \\| .+ \\|$")
	for _, m := range row.FindAllStringSubmatch(read(t, "docs/close-codes.md"), -1) {
		documented[m[1]+" "+m[2]] = true
	}
	var missing []string
	for reason := range sent {
		if !documented[reason] {
			missing = append(missing, reason)
		}
	}
	sort.Strings(missing)
	for _, reason := range missing {
		t.Errorf("docs/close-codes.md lacks %s", reason)
	}
	for reason := range documented {
		if !sent[reason] {
			t.Errorf("docs/close-codes.md has %s, which nothing sends", reason)
		}
	}
}

// closeReasons finds code and reason side by side in arguments, composite
// literals and results below folder; numbers in a reason are N.
func closeReasons(t *testing.T, folder string, found map[string]bool) {
	t.Helper()
	files := goFiles(t, folder)
	constants := map[string][]string{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, name := range spec.Names {
					if i < len(spec.Values) {
						if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
							text, _ := strconv.Unquote(lit.Value) // it compiles
							constants[name.Name] = append(constants[name.Name], text)
						}
					}
				}
			}
			return true
		})
	}
	number := regexp.MustCompile(`%[dv]`)
	add := func(code frame.CloseCode, text string) {
		if text != "frame from a server is masked" { // said to servers, by clients
			found[strconv.Itoa(int(code))+" "+number.ReplaceAllString(text, "N")] = true
		}
	}
	pair := func(list []ast.Expr) {
		for i := 1; i < len(list); i++ {
			code, ok := sentCodes[lastName(list[i-1])]
			if !ok {
				continue
			}
			for _, text := range reasonTexts(list[i], constants) {
				add(code, text)
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if lastName(n.Fun) == "violation" {
					for _, text := range reasonTexts(n.Args[0], constants) {
						add(frame.CloseProtocolError, text)
					}
				}
				pair(n.Args)
			case *ast.CompositeLit:
				pair(n.Elts)
			case *ast.ReturnStmt:
				pair(n.Results)
			}
			return true
		})
	}
}

// reasonTexts are the texts that an expression may be.
func reasonTexts(e ast.Expr, constants map[string][]string) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING && text != "" {
			return []string{text}
		}
	case *ast.Ident:
		return constants[e.Name]
	case *ast.CallExpr:
		if lastName(e.Fun) == "Sprintf" {
			return reasonTexts(e.Args[0], constants)
		}
	}
	return nil
}

// lastName is b of a.b, or a.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// goFiles parses the Go files below a folder, tests left out.
func goFiles(t *testing.T, folder string) (files []*ast.File) {
	t.Helper()
	err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
