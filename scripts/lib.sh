# shellcheck shell=bash
# What several scripts need. It is sourced from the top folder of the tree.

# need_go: reports whether a Go is installed that can build this tree, and says
# what to do if not. From 1.21 on, Go fetches the version that go.mod asks for.
need_go() {
  local want have
  want=$(sed -n 's/^go //p' go.mod)
  if ! command -v go >/dev/null; then
    echo "Go is not installed. Roost needs Go $want or newer: https://go.dev/doc/install" >&2
    return 1
  fi
  have=$(go env GOVERSION 2>/dev/null || go version | awk '{print $3}')
  have=${have#go}
  if ! printf '%s\n' 1.21 "$have" | sort -V -C; then
    echo "Go $have ($(command -v go)) is too old. Roost needs Go $want or newer: https://go.dev/doc/install" >&2
    return 1
  fi
}
