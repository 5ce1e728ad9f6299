package demo

import (
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/roostws/roost/web"
)

//go:embed *.go
var goFiles embed.FS

// A sourceFile is a file of a demo as /source/NAME shows it.
type sourceFile struct{ Name, Text string }

// source responds to GET /source/NAME: the page, its script and the server's part of a
// demo, as they are in the tree.
func source(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	var files []sourceFile
	pages, _ := fs.ReadDir(web.DemoFiles(), name) // none: there is no such demo
	for _, file := range pages {
		files = appendSource(files, web.DemoFiles(), path.Join(name, file.Name()), "web/demo/")
	}
	if len(files) == 0 {
		http.NotFound(w, r)
		return
	}
	files = appendSource(files, web.DemoFiles(), "demo.js", "web/demo/")
	files = appendSource(files, goFiles, name+".go", "cmd/roost/internal/demo/")
	writePage(w, sourcePage, struct {
		Name  string
		Files []sourceFile
	}{name, files})
}

// appendSource adds a file, if it is there and is text.
func appendSource(files []sourceFile, from fs.FS, name, folder string) []sourceFile {
	text, err := fs.ReadFile(from, name)
	if err != nil || !slices.Contains([]string{".html", ".js", ".css", ".go"}, path.Ext(name)) {
		return files
	}
	return append(files, sourceFile{folder + name, string(text)})
}

// writePage responds with a page made from a template of this package.
func writePage(w http.ResponseWriter, page *template.Template, data any) {
	var b strings.Builder
	if err := page.Execute(&b, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	web.Protect(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(b.String())) // the client is gone
}

// layout is what the pages that are made here have in common with those in web/demo.
const layout = `{{define "top"}}<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/theme.css">
  <link rel="stylesheet" href="/demo.css">
  <script src="/theme.js"></script>
{{end}}`

var sourcePage = template.Must(template.Must(template.New("source").Parse(layout)).Parse(`{{template "top"}}  <title>Source of {{.Name}} · Roost</title>
</head>
<body class="source">
  <header class="top">
    <a class="home" href="/"><img src="/icon.svg" alt="" width="28" height="28"> Roost</a>
    <h1>Source: {{.Name}}</h1>
    <a href="/{{.Name}}/">the demo</a>
    <button id="theme" type="button" class="plain">theme</button>
  </header>
  <main>
    <nav aria-label="Files"><ul>{{range $i, $f := .Files}}
      <li><a href="#file-{{$i}}">{{$f.Name}}</a></li>{{end}}
    </ul></nav>{{range $i, $f := .Files}}
    <section id="file-{{$i}}">
      <h2>{{$f.Name}}</h2>
      <pre tabindex="0"><code>{{$f.Text}}</code></pre>
    </section>{{end}}
  </main>
</body>
</html>
`))
