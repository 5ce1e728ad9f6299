// Package docsite serves the documentation as HTML: README.md at /docs/, docs/api.md at
// /docs/api, a folder as a list of its files. Links between pages lead to pages, links to
// files that the binary holds lead to their text, all others to the repository.
package docsite

import (
	"cmp"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/roostws/roost"
	"github.com/roostws/roost/web"
)

const (
	root       = "/docs/"
	repository = "https://github.com/roostws/roost"
)

// A site is the documentation, ready to be served. It is immutable.
type site struct {
	pages map[string]*page // by address
	files map[string]string
	nav   []group
}

// A page is one document.
type page struct {
	Address, Title string
	Body           []byte // HTML
	file           string // its path in the tree
}

// A group is a part of the list of pages.
type group struct {
	Title string
	Pages []*page
}

// groups is the order of the list: who reads which pages. Pages that are missing here are
// put under the last title.
var groups = []struct {
	title string
	files []string
}{
	{"Begin", []string{"README.md", "docs/getting-started.md", "docs/embed.md", "docs/operate.md", "docs/measure.md", "docs/guarantees.md"}},
	{"Build with it", []string{"docs/browser.md", "docs/fallbacks.md", "docs/transports.md", "docs/tokens.md", "docs/api.md", "docs/webhooks.md", "docs/socketio.md", "docs/pusher.md", "docs/protocol.md", "docs/close-codes.md"}},
	{"Run it", []string{"docs/tuning.md", "docs/cluster.md", "docs/settings.md", "docs/security.md", "docs/metrics.md", "docs/performance.md"}},
	{"Inside", []string{"docs/architecture.md", "docs/decisions", "docs/transcripts", "examples", "deploy", "bench/results", "CHANGELOG.md"}},
}

// addressOf returns where a file or folder of the tree is shown.
func addressOf(file string) string {
	if file == "README.md" || file == "docs" || file == "." {
		return root
	}
	return root + strings.TrimSuffix(strings.TrimPrefix(file, "docs/"), ".md")
}

// load reads all documents.
func load(tree fs.FS) (*site, error) {
	s := &site{pages: map[string]*page{}, files: map[string]string{}}
	folders := map[string][]string{}
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if path.Ext(file) == ".md" {
			s.pages[addressOf(file)] = &page{Address: addressOf(file), file: file}
		} else {
			s.files[addressOf(file)] = file
		}
		for f := file; f != "."; f = path.Dir(f) {
			folders[path.Dir(f)] = append(folders[path.Dir(f)], f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range s.pages {
		text, err := fs.ReadFile(tree, p.file)
		if err != nil {
			return nil, err
		}
		if p.Title, p.Body, err = render(tree, s, p.file, text); err != nil {
			return nil, fmt.Errorf("%s: %w", p.file, err)
		}
	}
	for folder, files := range folders {
		if address := addressOf(folder); isListed(folder) && s.pages[address] == nil {
			s.pages[address] = s.list(address, folder, files)
		}
	}
	s.arrange()
	return s, nil
}

// isListed reports whether a folder has a page: one of groups, or within one of them.
func isListed(folder string) bool {
	for _, g := range groups {
		for _, file := range g.files {
			if path.Ext(file) == "" && (folder == file || strings.HasPrefix(folder, file+"/")) {
				return true
			}
		}
	}
	return false
}

// list makes the page of a folder.
func (s *site) list(address, folder string, files []string) *page {
	slices.Sort(files)
	title := strings.TrimPrefix(folder, "docs/")
	title = strings.ToUpper(title[:1]) + strings.ReplaceAll(title[1:], "/", " ")
	var b strings.Builder
	fmt.Fprintf(&b, "<h1>%s</h1>\n<ul>\n", title)
	for _, file := range slices.Compact(files) {
		name := path.Base(file)
		if p := s.pages[addressOf(file)]; p != nil && p.Title != "" {
			name = p.Title
		}
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a></li>\n", addressOf(file), html.EscapeString(name))
	}
	b.WriteString("</ul>\n")
	return &page{Address: address, Title: title, Body: []byte(b.String()), file: folder}
}

// arrange makes the list of pages.
func (s *site) arrange() {
	listed := map[string]bool{}
	for _, g := range groups {
		made := group{Title: g.title}
		for _, file := range g.files {
			if p := s.pages[addressOf(file)]; p != nil {
				made.Pages = append(made.Pages, p)
				listed[p.Address] = true
			}
		}
		s.nav = append(s.nav, made)
	}
	last := &s.nav[len(s.nav)-1]
	for _, p := range s.pages {
		if !listed[p.Address] && (path.Dir(p.file) == "docs" || path.Dir(p.file) == ".") && path.Ext(p.file) == ".md" {
			last.Pages = append(last.Pages, p)
		}
	}
	slices.SortStableFunc(last.Pages, func(a, b *page) int {
		if listed[a.Address] || listed[b.Address] {
			return 0 // they have their places
		}
		return cmp.Compare(a.Title, b.Title)
	})
}

// loaded is the documentation that the binary holds. It is read when it is first asked for.
var loaded = sync.OnceValues(func() (*site, error) { return load(roost.Documents) })

// Handler serves the documentation below /docs/, for any number of goroutines.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := loaded()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.serve(w, r)
	})
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	web.Protect(w.Header())
	if file, ok := s.files[r.URL.Path]; ok {
		serveFile(w, r, file)
		return
	}
	address := strings.TrimSuffix(strings.TrimSuffix(r.URL.Path, ".md"), ".html")
	if len(address) > len(root) {
		address = strings.TrimSuffix(address, "/")
	}
	p := s.pages[address]
	switch {
	case p == nil:
		http.NotFound(w, r)
	case address != r.URL.Path:
		http.Redirect(w, r, address, http.StatusMovedPermanently)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = pageTemplate.Execute(w, view{s.nav, p, repository + "/blob/main/" + p.file}) // the client is gone
	}
}

// serveFile responds with a file as text, or as the picture that it is.
func serveFile(w http.ResponseWriter, r *http.Request, file string) {
	switch path.Ext(file) {
	case ".png":
	case ".svg":
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	http.ServeFileFS(w, r, roost.Documents, file)
}
