#!/usr/bin/env bash
# Builds roost and starts the demo: open its address in two windows. The dashboard is
# on port 8081 (ADMIN=host:port), or another one if that is in use.
#
#   scripts/run.sh                      on http://localhost:8080, for this machine only
#   scripts/run.sh :8080                for the whole network: anybody there can join
#   scripts/run.sh 127.0.0.1:9000       on another address (also: --addr, or ADDR=)
#   scripts/run.sh --echo --loops 1     any flag of roost serve
#
# Ctrl-C ends it, with a Close frame for everybody.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' scripts/run.sh; exit 0 ;;
esac
. scripts/lib.sh
need_go || exit 1
addr=${ADDR:-${ROOST_ADDR:-127.0.0.1:8080}}
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  addr=$1
  shift
fi
behaviour=--demo admin=${ADMIN:-127.0.0.1:8081}
(: <"/dev/tcp/${admin%:*}/${admin##*:}") 2>/dev/null && admin=127.0.0.1:0 # in use
for flag in "$@"; do
  case $flag in
    --admin-addr | --admin-addr=*) admin= ;;
    --demo | --echo | --relay | --native) behaviour= ;;
    --addr | --addr=*) addr= ;; # roost serve has it then
  esac
done

# The version is the commit, where git can tell it.
vcs=
git rev-parse HEAD >/dev/null 2>&1 || vcs=-buildvcs=false
echo "building ./roost (the first time takes a minute or two)" >&2
go build ${vcs:+"$vcs"} -o roost ./cmd/roost
case $addr in
  127.* | localhost:*) echo "for this machine only; for the network: scripts/run.sh :8080" >&2 ;;
esac
case $admin in
  *:0) echo "dashboard: at admin_addr in the line below" >&2 ;;
  ?*) echo "dashboard: http://$admin/" >&2 ;;
esac
exec ./roost serve ${behaviour:+"$behaviour"} ${addr:+--addr "$addr"} ${admin:+--admin-addr "$admin"} "$@"
