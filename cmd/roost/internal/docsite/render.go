package docsite

import (
	"bytes"
	"image/png"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// markdown is the dialect of the documents: GitHub's. HTML in them is left out.
var markdown = goldmark.New(goldmark.WithExtensions(
	extension.Linkify, extension.Strikethrough, extension.TaskList,
	extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)), // the pages' policy forbids style
), goldmark.WithParserOptions(parser.WithAutoHeadingID()))

// render makes HTML of the document file, whose links lead where s shows their targets.
func render(tree fs.FS, s *site, file string, source []byte) (title string, body []byte, err error) {
	document := markdown.Parser().Parse(text.NewReader(source))
	err = ast.Walk(document, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Heading:
			if title == "" {
				title = plain(node, source)
			}
			addAnchor(node)
		case *ast.Link:
			node.Destination = []byte(s.destination(tree, file, string(node.Destination)))
		case *ast.Image:
			picture := path.Join(path.Dir(file), string(node.Destination))
			node.Destination = []byte(addressOf(picture))
			if width, height, ok := sizeOf(tree, picture); ok { // so that nothing moves when it is there
				node.SetAttributeString("width", width)
				node.SetAttributeString("height", height)
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	if err := markdown.Renderer().Render(&b, source, document); err != nil {
		return "", nil, err
	}
	return title, []byte(scrollable.Replace(b.String())), nil
}

// scrollable lets wide tables and code scroll by themselves, with the keyboard, too. In
// text these tags would be escaped.
var scrollable = strings.NewReplacer(
	"<table>", `<div class="scroll" tabindex="0" role="region" aria-label="table"><table>`, "</table>", "</table></div>",
	"<pre>", `<pre tabindex="0">`,
)

// destination returns the address of what a link in file leads to.
func (s *site) destination(tree fs.FS, file, link string) string {
	if link == "" || link[0] == '#' || strings.Contains(link, ":") {
		return link
	}
	target, fragment, hasFragment := strings.Cut(link, "#")
	target = path.Join(path.Dir(file), target)
	info, err := fs.Stat(tree, target)
	switch {
	case target == "docs":
		target = root
	case err != nil || info.IsDir() && !isListed(target):
		// A folder of source, most likely: GitHub leads from one form to the other.
		target = repository + "/tree/main/" + target
	default:
		target = addressOf(target)
	}
	if hasFragment {
		target += "#" + fragment
	}
	return target
}

// addAnchor puts a link to a heading behind it.
func addAnchor(heading *ast.Heading) {
	id, ok := heading.AttributeString("id")
	if heading.Level == 1 || !ok {
		return
	}
	link := ast.NewLink()
	link.Destination, link.Title = append([]byte("#"), id.([]byte)...), []byte("link to this section")
	link.SetAttributeString("class", []byte("anchor"))
	link.AppendChild(link, ast.NewString([]byte("#")))
	heading.AppendChild(heading, link)
}

// plain returns the text of a node without its markup.
func plain(node ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // returns no error of its own
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

var svgSize = regexp.MustCompile(`<svg[^>]* width="(\d+)" height="(\d+)"`)

// sizeOf returns the width and height of a picture, if it is a PNG, or an SVG that says
// them.
func sizeOf(tree fs.FS, picture string) (width, height []byte, ok bool) {
	content, err := fs.ReadFile(tree, picture)
	if err != nil {
		return nil, nil, false
	}
	if found := svgSize.FindSubmatch(content); found != nil {
		return found[1], found[2], true
	}
	config, err := png.DecodeConfig(bytes.NewReader(content))
	return strconv.AppendInt(nil, int64(config.Width), 10), strconv.AppendInt(nil, int64(config.Height), 10), err == nil
}
