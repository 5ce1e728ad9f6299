#!/usr/bin/env bash
# Holds 100,000 and more WebSocket connections in ONE server process, and shows what
# each of them costs, against how many there are: bytes of the server and of the
# kernel, a broadcast that must reach everybody whole, pauses of the garbage collector.
#
#   scripts/c100k.sh [--steps 20000,50000,100000,250000] [--singles N]
#                    [--engine epoll] [--loops N] [--vm | --native] [--memory MIB]
#                    [--minutes N] [--no-native] [--name c100k] [--out FOLDER]
#
# It stops and measures at each of the steps, in one growing process; --singles are the
# messages published to all at each. Where one process may not open enough descriptors,
# it says so, measures natively as many as fit, and the steps in a small emulated virtual
# machine (scripts/vm.sh), whose COUNTS AND BYTES ARE TRUE AND WHOSE TIMES ARE NOT.
# --vm and --native choose. --minutes ends the machine's part early, with the steps that
# were completed; --no-native leaves out the smaller native run beside it. A quarter of a million takes half an hour in the machine,
# longer where other programs are busy.
#
# The results go to bench/results/<date>-<name>-<host>.{md,json,svg}. Needs Linux and Go,
# for the virtual machine also x86-64 and Debian's packages (scripts/vm.sh -h).
# Everything that is started here ends here.
#
# Exit status: 0 held, 1 not held, 2 could not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${name:-c100k}" "$*" >&2; exit 2; }

command=${ROOST_SCALE_COMMAND:-scripts/c100k.sh${*:+ $*}}
steps=20000,50000,100000,250000 singles=2 engine=epoll loops='' where='' memory='' minutes='' beside=1 name=c100k out=bench/results
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --vm | --native) where=${1#--}; shift; continue ;;
    --no-native) beside=; shift; continue ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  [ $# -ge 2 ] || die "$1 needs a value, or is unknown (see --help)"
  case $1 in
    --steps) steps=$2 ;;
    --singles) singles=$2 ;;
    --engine) engine=$2 ;;
    --loops) loops=$2 ;;
    --memory) memory=$2 ;;
    --minutes) minutes=$2 ;;
    --name) name=$2 ;;
    --out) out=$2 ;;
    *) die "unknown argument $1 (see --help)" ;;
  esac
  shift 2
done
[[ $steps =~ ^[1-9][0-9]*(,[1-9][0-9]*)*$ ]] || die "--steps $steps: want numbers, 20000,50000"
most=${steps##*,}
[ "$(uname -s)" = Linux ] || die "needs Linux: it measures processes by /proc"
command -v go >/dev/null || die "Go is not installed: see https://go.dev/doc/install"

# A connection takes some 10 KiB of the kernel's memory for its two ends, and up to
# 3 KiB for its share of the server, of the load generator and of a message on its way.
pair_kib=13
reserve_mib=1536
available_mib=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)
need_mib=$((most * pair_kib / 1024 + reserve_mib))
nofile=$(ulimit -Hn)
[ "$nofile" != unlimited ] || nofile=$(cat /proc/sys/fs/nr_open)
spare=512 # descriptors that are no connections
fits=$((nofile - spare))

say "one process may open $nofile descriptors here; $available_mib MiB of memory are available"
if [ -z "$where" ]; then
  where=native
  [ "$fits" -ge "$most" ] || where=vm
fi
if [ "$where" = native ]; then
  [ "$fits" -ge "$most" ] || die "$most connections need a limit of $((most + spare)) descriptors: ulimit -n, or --vm"
  [ "$available_mib" -ge "$need_mib" ] || die "$most connections need about $need_mib MiB of memory"
  native_steps=$steps
else
  [ "$(uname -m)" = x86_64 ] || die "the virtual machine is x86-64"
  [ "$most" -le 2000000 ] || die "a process in the virtual machine may open two million files: fewer --steps"
  memory=${memory:-$need_mib}
  [ "$available_mib" -ge $((memory + reserve_mib)) ] ||
    die "a virtual machine of $memory MiB does not fit (with $reserve_mib MiB to spare); fewer --steps need less"
  # What fits natively is measured natively as well, for the times.
  native_steps=
  for step in 2000 5000 10000 18000; do
    if [ -n "$beside" ] && [ "$step" -le "$fits" ] && [ "$step" -le "$most" ]; then
      native_steps+=${native_steps:+,}$step
    fi
  done
  say "too few for $most connections in one process: the steps $steps run in an emulated virtual"
  say "machine of $memory MiB. Its counts and bytes are true, its times are not."
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/roost-scale.XXXXXX")
server='' child=''
cleanup() {
  local pid
  for pid in $child $server; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# wait_for COMMAND...: run it so that a signal reaches the traps at once.
wait_for() {
  local status=0
  "$@" &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

say "building"
mkdir "$work/native" "$work/vm"
CGO_ENABLED=0 go build -o "$work/" ./cmd/roost ./bench/cmd/scale || die "the build failed"

run_native() {
  local addr='' tries=0 held=0
  ulimit -n "$nofile"
  GODEBUG=gctrace=1 "$work/roost" serve --relay --addr 127.0.0.1:0 --max-connections "${native_steps##*,}" \
    --engine "$engine" --loops "${loops:-0}" 2>"$work/native/server.log" &
  server=$!
  while [ -z "$addr" ]; do
    addr=$(sed -n 's/.*msg="roost serves".* addr=\(127[^ ]*\).*/\1/p' "$work/native/server.log")
    tries=$((tries + 1))
    if [ $tries -ge 100 ] || ! kill -0 "$server" 2>/dev/null; then
      cat "$work/native/server.log" >&2
      die "the server did not start"
    fi
    sleep 0.1
  done
  # An idle server collects garbage each two minutes: hold on until it has.
  wait_for "$work/roost" bench grow "ws://$addr/" --pid "$server" --steps "$native_steps" --singles "$singles" \
    --hold 125s --patience 30s --timeout 60m --label "roost $engine, ${loops:-all} loops" --json "$work/native/grow.json" ||
    held=$?
  kill "$server"
  wait "$server" || true
  server=
  [ -s "$work/native/grow.json" ] || die "no result"
  return "$held"
}

# inside is the script for the virtual machine. What it has found it prints between marks.
# Deadlines are stretched as far as the processor is slow; a million connections are
# opened before the first of them would be pinged.
inside() {
  printf 'most=%s steps=%s singles=%s engine=%s loops=%s timeout=%ss\n' \
    "$most" "$steps" "$singles" "$engine" "${loops:-1}" $((vm_seconds - 120))
  cat <<'INSIDE'
send() { echo "@@file $1"; cat "$2"; echo "@@end"; }
echo "kernel $(uname -r), $(free -m | awk '/Mem:/ {print $2}') MiB, $(ulimit -n) descriptors a process"
GODEBUG=gctrace=1 roost serve --relay --addr 127.0.0.1:8080 --max-connections "$most" --engine "$engine" \
  --loops "$loops" --ping-interval 2h --pong-timeout 20m --handshake-timeout 5m --write-stall-timeout 20m 2>/tmp/server.log &
server=$!
tries=0
until nc 127.0.0.1 8080 </dev/null 2>/dev/null || [ $tries -ge 100 ]; do
  sleep 1
  tries=$((tries + 1))
done
roost bench grow ws://127.0.0.1:8080/ --pid $server --steps "$steps" --singles "$singles" --in-flight 1024 \
  --patience 60m --timeout "$timeout" --label "roost $engine, loops $loops" --json /tmp/grow.json 2>&1 | cat
[ -s /tmp/grow.json ] && send grow.json /tmp/grow.json
send server.log /tmp/server.log
kill $server
wait $server
INSIDE
}

run_vm() {
  local line file=''
  inside >"$work/inside.sh"
  wait_for scripts/vm.sh -m "$memory" -t "$vm_seconds" "$work/inside.sh" "$work/roost" > >(
    while IFS= read -r line; do
      case $line in
        "@@file "*) file="$work/vm/${line#@@file }"; : >"$file" ;;
        @@end) file= ;;
        *) if [ -n "$file" ]; then printf '%s\n' "$line" >>"$file"; else printf '%s\n' "$line"; fi ;;
      esac
    done
  ) || true
  sleep 1 # the loop above reads the last lines
  [ -s "$work/vm/grow.json" ] || die "the virtual machine ended without a result (out of memory, or of $vm_seconds s?)"
}

status=0
args=(-name "$name" -out "$out" -command "$command")
if [ -n "$native_steps" ]; then
  say "natively: $native_steps"
  run_native || status=$?
  args+=(-native "$work/native")
fi
if [ "$where" = vm ]; then
  # Three hours for a quarter of a million, twelve for a million: a bound, not a guess.
  vm_seconds=$((1800 + most * 43 / 1000))
  [ -z "$minutes" ] || vm_seconds=$((minutes * 60 + 120))
  say "in the virtual machine: $steps"
  run_vm
  args+=(-emulated "$work/vm")
fi
say ""
wait_for "$work/scale" "${args[@]}" || status=$?
exit "$status"
