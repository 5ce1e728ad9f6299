#!/usr/bin/env bash
# Makes the pictures of the README, docs/images/*.png: builds roost, serves the demos
# with a few clients, and lets Chromium look at them.
#
#   scripts/screenshots.sh           into docs/images
#   scripts/screenshots.sh FOLDER
#
# It needs Go, Node.js, Chromium and npm's playwright-core, which scripts/test.sh tools
# installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' scripts/screenshots.sh; exit 0 ;;
esac
. scripts/lib.sh
need_go || exit 1
cache=${ROOST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roost-test}
into=${1:-docs/images}
mkdir -p "$into"
work=$(mktemp -d "${TMPDIR:-/tmp}/roost.XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

go build -buildvcs=false -o "$work/roost" ./cmd/roost
"$work/roost" serve --demo --addr 127.0.0.1:0 --admin-addr 127.0.0.1:0 --log-format json 2>"$work/log" &
server=$!
for _ in $(seq 100); do
  grep -q '"roost serves"' "$work/log" && break
  sleep 0.1
done
said() { sed -n "s/.*\"roost serves\".*\"$1\":\"\([^\",]*\).*/\1/p" "$work/log"; }
addr=$(said addr) admin=$(said admin_addr)
[ -n "$addr" ] && [ -n "$admin" ] || { cat "$work/log"; exit 1; }

NODE_PATH=${ROOST_NODE_MODULES:-$cache/node_modules} \
  ROOST_CHROMIUM=${ROOST_CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)} \
  node scripts/screenshots.js "http://$addr" "http://$admin" "$into"

status=0
for picture in "$into"/*.png; do
  bytes=$(wc -c <"$picture")
  echo "$picture: $bytes bytes"
  [ "$bytes" -le 153600 ] || { echo "$picture is larger than 150 KiB" >&2; status=1; }
done
exit $status
