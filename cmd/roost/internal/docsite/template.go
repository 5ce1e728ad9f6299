package docsite

import (
	"html/template"
	"strings"
)

// A view is what the template shows.
type view struct {
	Nav    []group
	Page   *page
	Source string // in the repository
}

// HTML returns the body, which is made by goldmark without HTML of the documents.
func (p *page) HTML() template.HTML { return template.HTML(p.Body) }

// Short returns the title up to its first colon, for the list of pages.
func (p *page) Short() string {
	short, _, _ := strings.Cut(p.Title, ":")
	return short
}

var pageTemplate = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{{.Page.Title}} · Roost</title>
  <link rel="icon" href="/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="/theme.css">
  <link rel="stylesheet" href="/demo.css">
  <link rel="stylesheet" href="/docs.css">
  <link rel="expect" href="#all-pages" blocking="render">
  <script src="/theme.js"></script>
</head>
<body class="docs">
  <header class="top">
    <a class="home" href="/"><img src="/icon.svg" alt="" width="28" height="28"> Roost</a>
    <p class="where">Documentation</p>
    <a class="jump" href="#all-pages">pages</a>
    <a href="{{.Source}}">source</a>
    <button id="theme" type="button" class="plain">theme</button>
  </header>
  <div class="columns">
    <main><article>
{{.Page.HTML}}
    </article></main>
    <nav id="all-pages" aria-label="Pages">{{range .Nav}}
      <h2>{{.Title}}</h2>
      <ul>{{range .Pages}}
        <li><a href="{{.Address}}"{{if eq .Address $.Page.Address}} aria-current="page"{{end}}>{{.Short}}</a></li>{{end}}
      </ul>{{end}}
    </nav>
  </div>
</body>
</html>
`))
