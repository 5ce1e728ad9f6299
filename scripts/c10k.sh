#!/usr/bin/env bash
# Holds ten thousand WebSocket connections, or as many as asked for, on each of
# Roost's engines and on the bare epoll server of bench/limit in turn, and prints
# one table, a plot's path, and one sentence: held or not held, at what cost,
# against the least that any program could spend.
#
#   scripts/c10k.sh [--connections N] [--rounds N] [--engines epoll,gnet,easygo]
#                   [--loops 1,2] [--quick] [--huge-pages] [--out FOLDER]
#   scripts/c10k.sh --hostile [--rounds N] [--quick] [--out FOLDER]
#   scripts/c10k.sh --streams [--connections N] [--rounds N] [--quick] [--out FOLDER]
#
# By default 10,000 connections and three rounds, in which the servers take turns;
# medians, ratios, and the best round are shown; three rounds take some 22 minutes. Further
# tables: two loops, and the default configuration, beside two threads of the bare server;
# and of the first engine: clients of the native protocol, each with a token and a
# subscription; event streams (SSE) beside WebSockets; over wss:// beside a server of net/http, gorilla/websocket and crypto/tls
# (2,000 connections); the CPU of 100,000 idle, pinged connections; what compression costs
# and saves; and the memory that a thousand clients take that do not read. It looks at the
# limits first and says what it found; where one server process may not hold N, several
# share one port. The results go to bench/results/<date>-c10k-<host>.{md,json,svg}.
#
# --huge-pages adds a table of memory while transparent huge pages are set to always. It
# changes that setting of the machine (root only) for seconds at a time, and gives it back.
#
# --hostile measures something else: what 2,000 clients notice of one that floods, sends
# garbage or never reads, with the default limits, and with the limit that bounds a flood;
# see bench/README.md. With --rounds 5 that takes some six minutes. The results go to
# bench/results/<date>-hostile-<host>.{md,json,svg}.
#
# --streams measures the table of event streams beside WebSockets alone, some two minutes
# for each round; its results are called streams instead of c10k.
#
# --quick is for the gate: 2,000 connections, one round, the first table with one loop,
# no compression, no clients that do not read, one to two minutes;
# its results go to a temporary folder; no other library's server is built or run.
#
# Needs Linux and Go. Everything runs on this machine, over the loopback, and every
# process that is started here ends here.
#
# Exit status: 0 held, 1 not held, 2 could not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { printf 'c10k.sh: %s\n' "$*" >&2; exit 2; }

command="scripts/c10k.sh${*:+ $*}"
out=bench/results
args=()
quick=no
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --quick) args+=(-quick); quick=yes; [ "$out" != bench/results ] || out= ;;
    --huge-pages | --hostile | --streams) args+=("-${1#--}") ;;
    --connections=* | --rounds=* | --engines=* | --loops=*) args+=("-${1#--}") ;;
    --connections | --rounds | --engines | --loops)
      [ $# -ge 2 ] || die "$1 needs a value"
      args+=("-${1#--}" "$2"); shift ;;
    --out=*) out=${1#*=} ;;
    --out) [ $# -ge 2 ] || die "--out needs a folder"; out=$2; shift ;;
    *) die "unknown argument $1 (see --help)" ;;
  esac
  shift
done
[ "$(uname -s)" = Linux ] || die "needs Linux: it measures processes by /proc"
command -v go >/dev/null || die "Go is not installed: see https://go.dev/doc/install"

bin=$(mktemp -d "${TMPDIR:-/tmp}/roost-c10k.XXXXXX")
if [ -z "$out" ]; then # --quick without --out
  out=$(mktemp -d "${TMPDIR:-/tmp}/roost-c10k-results.XXXXXX")
fi
c10k=
cleanup() {
  # c10k ends its servers and generators itself; they also die with it.
  [ -z "$c10k" ] || kill "$c10k" 2>/dev/null || true
  [ -z "$c10k" ] || wait "$c10k" 2>/dev/null || true
  rm -rf "$bin"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ "$quick" = no ]; then
  go -C bench/peers build -buildvcs=false -o "$bin/" ./gorilla || die "bench/peers does not build"
  args+=(-gorilla "$bin/gorilla")
fi
go build -o "$bin/" ./cmd/roost ./bench/limit ./bench/cmd/c10k || die "the build failed"
# As much as the hard limit allows; c10k tells what that means.
ulimit -n "$(ulimit -Hn)" || true

status=0
"$bin/c10k" -roost "$bin/roost" -limit "$bin/limit" -out "$out" -command "$command" "${args[@]}" &
c10k=$!
wait "$c10k" || status=$?
c10k=
exit "$status"
