#!/usr/bin/env bash
# A million WebSocket connections in ONE server process: scripts/c100k.sh with larger
# steps, and so with all its flags.
#
#   scripts/c1m.sh [--steps 250000,500000,1000000] ...
#
# It takes 14 GiB of memory for the two ends of a million connections, and where it needs
# the emulated virtual machine half an hour to some hours.
#
# The results go to bench/results/<date>-c1m-<host>.{md,json,svg}.
#
# Exit status: 0 held, 1 not held, 2 could not run.
set -euo pipefail

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
esac
export ROOST_SCALE_COMMAND="scripts/c1m.sh${*:+ $*}"
exec "$(dirname "${BASH_SOURCE[0]}")/c100k.sh" --name c1m --steps 250000,500000,1000000 --singles 1 "$@"
