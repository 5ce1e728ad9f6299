package roost

import "embed"

// Documents holds the documentation, and the files that it leads to, by their paths in
// the tree: README.md, docs/api.md and so on. The binary shows them with --demo.
//
//go:embed README.md CHANGELOG.md SECURITY.md LICENSE docs deploy examples
//go:embed bench/results/*.md bench/results/*.svg bench/results/*.png deps_test.go server/api/openapi.json web/client/roost.d.ts
var Documents embed.FS
