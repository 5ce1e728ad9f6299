package docsite

import (
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func get(s *site, address string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.serve(w, httptest.NewRequest(http.MethodGet, "http://roost.test"+address, nil))
	return w
}

var (
	linked = regexp.MustCompile(`<(?:a|img)[^>]* (?:href|src)="([^"]*)"`)
	named  = regexp.MustCompile(` id="([^"]*)"`)
)

// Each page has a title, is in reach of the list of pages or of another page, and leads
// nowhere that is not there.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	s, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.pages) < 40 {
		t.Fatalf("there are %d pages: the test looks at the wrong place", len(s.pages))
	}
	bodies, ids := map[string]string{}, map[string]map[string]bool{}
	for address, p := range s.pages {
		w := get(s, address)
		if w.Code != http.StatusOK || p.Title == "" || !strings.Contains(w.Body.String(), "<h1") {
			t.Errorf("%s = %d with the title %q", address, w.Code, p.Title)
		}
		bodies[address], ids[address] = w.Body.String(), map[string]bool{}
		for _, id := range named.FindAllStringSubmatch(w.Body.String(), -1) {
			if ids[address][id[1]] {
				t.Errorf("%s has the ID %q twice", address, id[1])
			}
			ids[address][id[1]] = true
		}
	}
	reached := map[string]bool{}
	for from, body := range bodies {
		for _, link := range linked.FindAllStringSubmatch(body, -1) {
			target, fragment, _ := strings.Cut(html.UnescapeString(link[1]), "#")
			switch {
			case target == "":
				target = from
			case !strings.HasPrefix(target, "/"):
				if !strings.Contains(target, "://") {
					t.Errorf("%s links to %q, which is no address of the site", from, target)
				}
				continue
			case !strings.HasPrefix(target, root):
				continue // a page of the demo
			case target != from:
				reached[target] = true
			}
			if w := get(s, target); w.Code != http.StatusOK {
				t.Errorf("%s links to %s: %d", from, target, w.Code)
			}
			if fragment != "" && !ids[target][fragment] {
				t.Errorf("%s links to %s#%s, which has no such section", from, target, fragment)
			}
		}
	}
	for address := range bodies {
		if !reached[address] && strings.Count(address, "/") == 2 {
			t.Errorf("nothing leads to %s", address)
		}
	}
}

// What a document can hold becomes what the site wants of it.
func TestRender(t *testing.T) {
	t.Parallel()
	const source = "# Title: more\n\n## A `b` section\n\n[one](other.md#a), [code](../main.go), [gone](../server), [folder](decisions), ![plot](p.svg)\n\n" +
		"| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nroost <b>\n```\n\n<script>alert(1)</script> <b>bold</b>\n"
	s, err := load(fstest.MapFS{
		"docs/page.md":         {Data: []byte(source)},
		"docs/other.md":        {Data: []byte("# Other\n\n## a\n")},
		"docs/decisions/x.txt": {Data: []byte("x")},
		"docs/p.svg":           {Data: []byte(`<svg xmlns="x" width="30" height="20"></svg>`)},
		"main.go":              {Data: []byte("package main")},
	})
	if err != nil {
		t.Fatal(err)
	}
	body := get(s, "/docs/page").Body.String()
	for _, want := range []string{
		"<title>Title: more · Roost</title>",
		`<h2 id="a-b-section">A <code>b</code> section<a href="#a-b-section" title="link to this section" class="anchor">#</a></h2>`,
		`<a href="/docs/other#a">one</a>`, `<a href="/docs/main.go">code</a>`, `<a href="https://github.com/roostws/roost/tree/main/server">gone</a>`, `<a href="/docs/decisions">folder</a>`,
		`<img src="/docs/p.svg" alt="plot" width="30" height="20">`,
		`<div class="scroll" tabindex="0" role="region" aria-label="table"><table>`,
		`<pre tabindex="0"><code class="language-sh">roost &lt;b&gt;`,
		`<a href="/docs/page" aria-current="page">Title</a>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, forbidden := range []string{"alert(1)</script>", "<b>"} {
		if strings.Contains(body, forbidden) {
			t.Errorf("HTML of the document came through: %s", forbidden)
		}
	}
	if t.Failed() {
		t.Logf("the page:\n%s", body)
	}
	for address, want := range map[string]int{"/docs/page.md": 301, "/docs/page.html": 301, "/docs/decisions/": 301, "/docs/decisions": 200, "/docs/none": 404, "/docs/../page": 404} {
		if w := get(s, address); w.Code != want {
			t.Errorf("GET %s = %d, want %d", address, w.Code, want)
		}
	}
}
