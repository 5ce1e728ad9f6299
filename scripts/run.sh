#!/usr/bin/env bash
# Builds roost and starts the demo: open its address in two windows.
#
#   scripts/run.sh                      on port 8080
#   scripts/run.sh 127.0.0.1:9000       on another address
#   ADDR=:9000 scripts/run.sh           the same
#   scripts/run.sh --echo --loops 1     any flag of roost serve
#
# Ctrl-C ends it, with a Close frame for everybody.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' scripts/run.sh; exit 0 ;;
esac
command -v go >/dev/null || {
  echo "Go is not installed (1.26 or newer): see https://go.dev/doc/install" >&2
  exit 1
}
addr=${ADDR:-${ROOST_ADDR:-:8080}}
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  addr=$1
  shift
fi
behaviour=--demo
for flag in "$@"; do
  case $flag in --demo | --echo | --relay) behaviour= ;; esac
done

# The version is the commit, where git can tell it.
vcs=
git rev-parse HEAD >/dev/null 2>&1 || vcs=-buildvcs=false
echo "building ./roost" >&2
go build ${vcs:+"$vcs"} -o roost ./cmd/roost
exec ./roost serve ${behaviour:+"$behaviour"} --addr "$addr" "$@"
