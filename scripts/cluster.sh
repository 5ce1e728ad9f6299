#!/usr/bin/env bash
# Tries to break a cluster of roost serve from outside: processes on loopback addresses of
# their own, a broker, and links between them that are cut.
#
#   scripts/cluster.sh exactness [--seed N] [--seeds N] [--broker redis|nats] [--nodes 3]
#                                [--clients 3000] [--channels 300] [--messages 100000]
#                                [--faults 0] [--only 'FAULT;FAULT']
#       Clients wander between the nodes, are cut and stalled, while messages are published
#       and every fault happens once (--faults N: N of them). Every client must end with
#       exactly the right sequence of each epoch, or have been told. About five minutes.
#   scripts/cluster.sh outage [--away 5m] [--nodes 3] [--clients 3000] [--channels 300]
#       The broker is away for that long, in four ways: connections stay, publications are
#       refused clearly, and everybody is exact or told when it is back.
#
#   scripts/cluster.sh performance [--rounds 2] [--clients 3000] [--rate 30] [--period 4s]
#                                  [--out bench/results] [--host NAME]
#       What a publication and a delivery cost: without a broker, with Redis and one to three
#       nodes, and in Centrifugo with the same Redis. About five minutes on a quiet machine;
#       the first time it builds Centrifugo. Writes <date>-cluster-<host>.{md,json}.
#
# exactness prints a table and writes results to --out FOLDER (by default a new folder
# under TMPDIR), as JSON, one for each seed. A run that fails says how to repeat it.
#
# Needs Linux, Go and redis-server. Every process that is started here ends here.
# Exit status: 0 if all held, 1 if not, 2 if it could not begin.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
die() { printf 'cluster.sh: %s\n' "$*" >&2; exit 2; }

mode=${1:-}
case $mode in
  -h | --help) usage; exit 0 ;;
  exactness | outage | performance) shift ;;
  *) usage >&2; exit 2 ;;
esac
[ "$(uname -s)" = Linux ] || die "needs Linux"
need_go || exit 2
command -v redis-server >/dev/null || die "redis-server is not installed: apt-get install redis-server"

work=$(mktemp -d "${TMPDIR:-/tmp}/roost-cluster.XXXXXX")
test_pid=
cleanup() {
  [ -z "$test_pid" ] || kill -KILL -- "-$test_pid" 2>/dev/null || true
  [ -z "$test_pid" ] || wait "$test_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

CENTRIFUGO=github.com/centrifugal/centrifugo/v6@v6.9.1
cache=${ROOST_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/roost-test}

seed='' seeds=1 out='' args=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 wants a value"
  case $1 in
    --rounds | --rate | --period | --host) [ "$mode" = performance ] || die "no flag $1"; args+=("${1#-}" "$2") ;;
    --seed | --seeds | --broker | --nodes | --channels | --messages | --faults | --only | --away) [ "$mode" != performance ] || die "performance has no flag $1" ;;&
    --seed) seed=$2 ;;
    --seeds) seeds=$2 ;;
    --out) out=$2 ;;
    --broker | --nodes | --clients | --channels | --messages | --faults | --only | --away) args+=("${1#-}" "$2") ;;
    *) die "no flag $1: scripts/cluster.sh --help" ;;
  esac
  shift 2
done
if [ "$mode" = performance ]; then
  [ -n "$out" ] || out=bench/results
elif [ "$mode" = exactness ]; then
  [ -n "$out" ] || out=$(mktemp -d "${TMPDIR:-/tmp}/roost-cluster-results.XXXXXX")
fi
[ -n "$seed" ] || seed=$((RANDOM * 32768 + RANDOM))
[ -z "$out" ] || mkdir -p "$out"

echo "building"
go build -buildvcs=false -o "$work/roost" ./cmd/roost || exit 2
set -m # each program that is started here is a group of processes, which ends as one

# run PROGRAM ARGS...: in the background, so that a signal reaches the traps above at once.
run() {
  "$@" &
  test_pid=$!
  local status=0
  wait "$test_pid" || status=$?
  test_pid=
  return $status
}

if [ "$mode" = performance ]; then
  CGO_ENABLED=0 go build -buildvcs=false -o "$work/measure" ./bench/cmd/cluster || exit 2
  peer=$cache/centrifugo-${CENTRIFUGO##*@}
  if [ ! -x "$peer/centrifugo" ]; then
    echo "building $CENTRIFUGO into $peer"
    GOBIN=$peer GOFLAGS='' go install "$CENTRIFUGO" || echo "Centrifugo is left out"
  fi
  [ ! -x "$peer/centrifugo" ] || cp "$peer/centrifugo" "$work/"
  run "$work/measure" -bin "$work" -out "$out" "${args[@]}"
  exit
fi

go test -tags realclients -c -o "$work/cluster" ./internal/clustertest || exit 2
attack() { run "$work/cluster" -test.v -test.timeout 60m -binary "$work/roost" "$@"; }

status=0
if [ "$mode" = outage ]; then
  attack -test.run '^TestOutage$' -clients 3000 -channels 300 -away 5m "${args[@]}" || status=1
else
  for ((i = 0; i < seeds; i++)); do
    attack -test.run '^TestExactness$' -clients 3000 -channels 300 -messages 100000 -faults 0 "${args[@]}" -seed $((seed + i)) -result "$out/exactness-$((seed + i)).json" || status=1
  done
  echo "results: $out"
fi
exit $status
