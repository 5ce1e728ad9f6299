#!/usr/bin/env bash
# Makes yjs.js, always of the same bytes: web/demo/vendor/make.sh [OUTPUT]
set -euo pipefail
out=$(realpath "${1:-$(dirname "$0")/yjs.js}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts \
  yjs@13.6.33 lib0@0.2.120 isomorphic.js@0.2.5 esbuild@0.28.2
# What the demos use.
cat >entry.js <<'END'
export {
  Doc, UndoManager, applyUpdate, createAbsolutePositionFromRelativePosition,
  createRelativePositionFromTypeIndex, encodeStateAsUpdate, encodeStateVector, equalSnapshots,
  mergeUpdates, snapshot,
} from 'yjs';
END
{
  echo '/* yjs 13.6.33, lib0 0.2.120, isomorphic.js 0.2.5. MIT License, in README.md. */'
  node_modules/.bin/esbuild entry.js --bundle --format=esm --minify --target=es2020 --legal-comments=none --log-level=warning
} >"$out"
