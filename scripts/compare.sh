#!/usr/bin/env bash
# Measures Roost's engines, the bare server of bench/limit, and the same two jobs
# written with other libraries (bench/peers) in turn, and prints one table of medians
# and ratios.
#
#   scripts/compare.sh [--connections N] [--rounds N] [--period 4s]
#                      [--only name,name] [--out FOLDER] [--host NAME] [--list]
#                      [--socketio]
#
# By default 10,000 connections to each server, which fits a limit of 20,000
# descriptors since server and generator are different processes, and three rounds.
# --only names servers (--list lists them); limit always runs, as ratios are to it.
# The results go to bench/results/<date>-compare-<host>.{md,json,svg}.
# --socketio measures Roost beside Socket.IO itself on Node instead, with clients of
# Socket.IO in a room: <date>-compare-socketio-<host>. It takes about five minutes.
#
# Needs Linux and Go, and Node with npm for the peer on Node: on Debian and as root it
# installs them, elsewhere it says so and leaves that peer out. Everything runs on
# this machine, over the loopback, and every process that is started here ends here.
#
# Exit status: 0 if all ran and Roost did all that was checked, 1 if not, 2 if it could
# not begin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*"; }
die() { printf 'compare.sh: %s\n' "$*" >&2; exit 2; }

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
[ "$(uname -s)" = Linux ] || die "needs Linux: it measures processes by /proc"
command -v go >/dev/null || die "Go is not installed: see https://go.dev/doc/install"

bin=$(mktemp -d "${TMPDIR:-/tmp}/roost-compare.XXXXXX")
compare=
cleanup() {
  # compare ends its servers and generators itself.
  [ -z "$compare" ] || kill "$compare" 2>/dev/null || true
  [ -z "$compare" ] || wait "$compare" 2>/dev/null || true
  rm -rf "$bin"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# install_node PEER: Node, npm and what a peer on Node needs, from its lock file.
install_node() {
  local peer=$1
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    say "node or npm is missing"
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
      say "to have the peer on Node: sudo apt-get install -y nodejs npm"
      return 1
    fi
    say "installing Debian packages: nodejs npm"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm >"$bin/apt.log" 2>&1 ||
      { tail -n 5 "$bin/apt.log"; return 1; }
  fi
  if ! (cd "$peer" && npm ls --silent >/dev/null 2>&1); then
    say "npm ci in $peer"
    (cd "$peer" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || return 1
  fi
}

say "building"
export CGO_ENABLED=0
go build -buildvcs=false -o "$bin/" ./cmd/roost ./bench/limit ./bench/cmd/compare || die "does not build"
mkdir "$bin/peers"
go -C bench/peers build -buildvcs=false -o "$bin/peers/" ./... || die "bench/peers does not build"
peer=bench/peers/node-ws
case " $* " in *" --socketio "*) peer=bench/peers/node-socketio ;; esac
install_node "$peer" || say "the peer on Node is left out"

export ROOST_COMPARE_BIN=$bin
# In the background, so that a signal reaches the traps above at once.
"$bin/compare" "$@" &
compare=$!
status=0
wait "$compare" || status=$?
compare=
exit "$status"
