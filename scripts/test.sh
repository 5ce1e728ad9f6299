#!/usr/bin/env bash
# The gate: everything that has to hold before a change lands, with pinned
# tools. CI runs this file and nothing else.
#
#   scripts/test.sh              all steps
#   scripts/test.sh unit browser only these
#   scripts/test.sh --list       the steps, each with what it does
#
# On a fresh Debian machine that has only Go it installs what it needs: Debian
# packages (as root), and some npm packages in a cache folder outside the tree
# (ROOST_TEST_CACHE, by default ~/.cache/roost-test). Steps that wait for browsers and
# networks run beside those that compute (docs/decisions/0032-gate-time.md); what they
# print comes when they end. The last line is "N passed, N failed"; the exit status is 0 if
# none failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2
NPM_WS=ws@8.23.0
NPM_PLAYWRIGHT=playwright-core@1.56.0
NPM_SOCKETIO=socket.io-client@4.8.1
NPM_DENO=deno@2.9.6
NPM_PUSHER="pusher-js@8.6.0 laravel-echo@2.5.0 pusher@5.3.4"
FUZZ_TIME=${FUZZ_TIME:-5000x} # inputs, not seconds: the end of a time is now and then reported as a failure

# Stamping the commit into test binaries needs a working git and a tree that
# belongs to the user: neither is a reason for a test to fail.
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
# Processes that a step leaves behind are found by ROOST_TEST_RUN in their environment,
# which is this and the step's name, whatever process group they moved to.
run="$$-$(date +%s)"
cache=${ROOST_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/roost-test}
work=$(mktemp -d "${TMPDIR:-/tmp}/roost.XXXXXX")
export TMPDIR=$work # what a test leaves behind goes with it

. scripts/lib.sh
say() { printf '%s\n' "$*"; }
fail() { printf 'FAIL: %s\n' "$*"; return 1; }

# retry N COMMAND...: package mirrors have bad moments.
retry() {
  local tries=$1 try
  shift
  for ((try = 1; try <= tries; try++)); do
    "$@" && return 0
    ((try < tries)) && say "try $try of $tries failed: $*" && sleep $((try * 3))
  done
  return 1
}

# leftovers [STEP]: pids of the processes of a step, or of all steps, without this shell and
# its subshells.
leftovers() {
  local dir pid
  [ -d /proc/self ] || return 0
  for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    [ "$pid" = "$$" ] || [ "$pid" = "$BASHPID" ] && continue
    grep -qsz "^ROOST_TEST_RUN=$run-${1:-.*}\$" "$dir/environ" || continue
    [ "$(ps -o ppid= -p "$pid" 2>/dev/null | tr -d ' ')" = "$BASHPID" ] && continue
    printf '%s ' "$pid"
  done
}

lane=
cleanup() {
  local pids
  [ -z "$lane" ] || kill "$lane" 2>/dev/null
  pids=$(leftovers)
  # shellcheck disable=SC2086 # a list of pids
  [ -n "$pids" ] && kill -9 $pids 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# ---------------------------------------------------------------- the steps

# apt_need COMMAND-OR-FILE PACKAGE...: install the packages if it is missing.
apt_missing=()
apt_need() {
  local want=$1
  shift
  case $want in
    /*) [ -e "$want" ] && return ;;
    *) command -v "$want" >/dev/null && return ;;
  esac
  apt_missing+=("$@")
}

chromium_path() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

# web_services: those of the packages we install that start at boot.
web_services() {
  command -v systemctl >/dev/null || return 0
  systemctl list-unit-files --state=enabled nginx.service haproxy.service redis-server.service 2>/dev/null | awk '/\.service/ { print $1 }'
}

# stop_new_services BEFORE: Debian starts what it installs; the tests only need
# the programs.
stop_new_services() {
  local unit
  for unit in $(web_services); do
    [[ " $(echo "$1" | tr '\n' ' ') " == *" $unit "* ]] && continue
    say "installed, and stopped again: $unit"
    systemctl disable --now --quiet "$unit" || say "could not stop $unit: systemctl disable --now $unit"
  done
}

step_tools() { # install what the tests need
  need_go || return 1
  go version
  apt_need /etc/ssl/certs/ca-certificates.crt ca-certificates # modules come over https
  apt_need gcc gcc libc6-dev # the race detector is linked with cgo
  apt_need node nodejs
  apt_need npm npm
  apt_need curl curl # docs/getting-started.md
  apt_need openssl openssl # docs/tokens.md, docs/webhooks.md
  apt_need shellcheck shellcheck
  apt_need ps procps
  apt_need /usr/bin/python3 python3
  /usr/bin/python3 -c 'import websockets' 2>/dev/null || apt_missing+=(python3 python3-websockets)
  apt_need nginx nginx
  apt_need /usr/lib/nginx/modules/ngx_stream_module.so libnginx-mod-stream
  apt_need haproxy haproxy
  apt_need redis-server redis-server
  apt_need systemd-socket-activate systemd
  apt_need firefox-esr firefox-esr
  chromium_path >/dev/null || apt_missing+=(chromium fonts-dejavu-core)
  if [ ${#apt_missing[@]} -gt 0 ]; then
    say "missing Debian packages: ${apt_missing[*]}"
    say "apt-get installs them with what they need: on a minimal machine some 600 packages, 1.5 GB, 3 to 6 minutes"
    command -v apt-get >/dev/null || { fail "no apt-get here: install these by hand"; return 1; }
    [ "$(id -u)" = 0 ] || { fail "not root. Run: sudo apt-get install -y ${apt_missing[*]}"; return 1; }
    export DEBIAN_FRONTEND=noninteractive
    local running
    running=$(web_services)
    retry 3 apt-get update -qq || { fail "apt-get update"; return 1; }
    retry 3 apt-get install -y -qq --no-install-recommends "${apt_missing[@]}" >"$work/apt.log" 2>&1 ||
      { tail -n 20 "$work/apt.log"; fail "apt-get install ${apt_missing[*]}"; return 1; }
    stop_new_services "$running"
  fi
  mkdir -p "$cache"
  if ! (cd "$cache" && node -e '
      for (const want of process.argv.slice(1)) {
        const at = want.lastIndexOf("@");
        const have = require("./node_modules/" + want.slice(0, at) + "/package.json").version;
        if (have !== want.slice(at + 1)) process.exit(1);
      }' "$NPM_WS" "$NPM_PLAYWRIGHT" "$NPM_SOCKETIO" "$NPM_DENO" $NPM_PUSHER 2>/dev/null); then
    say "npm: $NPM_WS $NPM_PLAYWRIGHT $NPM_SOCKETIO $NPM_DENO $NPM_PUSHER into $cache"
    retry 3 npm install --prefix "$cache" --no-audit --no-fund --no-package-lock --ignore-scripts \
      --loglevel=error "$NPM_WS" "$NPM_PLAYWRIGHT" "$NPM_SOCKETIO" "$NPM_DENO" $NPM_PUSHER || { fail "npm install"; return 1; }
  fi
  [ -e bench/peers/node-ws/node_modules/ws/package.json ] ||
    retry 3 npm ci --prefix bench/peers/node-ws --no-audit --no-fund --ignore-scripts --loglevel=error ||
    { fail "npm ci in bench/peers/node-ws"; return 1; }
  retry 3 go mod download || { fail "go mod download"; return 1; }
  retry 3 go -C bench/peers mod download || { fail "go mod download in bench/peers"; return 1; }
  retry 3 go run "$STATICCHECK" -version || { fail "staticcheck does not build"; return 1; }
  say "node $(node --version), $(/usr/bin/python3 --version), $("$(chromium_path)" --version 2>/dev/null), $(firefox-esr --version 2>/dev/null)"
}

step_format() { # gofmt, go mod tidy, shell scripts
  local bad
  bad=$(find . -name '*.go' -not -path '*/node_modules/*' -print0 | xargs -0 gofmt -l)
  [ -z "$bad" ] || { fail "gofmt -w $bad"; return 1; }
  retry 2 go mod tidy -diff || { fail "go mod tidy"; return 1; }
  find . -name '*.sh' -not -path '*/node_modules/*' -print0 | xargs -0 shellcheck -S warning
}

step_vet() { # go vet, also of the modules beside ours
  local mod status=0
  go vet -tags realclients ./... || status=1
  while IFS= read -r mod; do
    say "module ${mod%/go.mod}"
    retry 2 go -C "${mod%/go.mod}" vet ./... || status=1
  done < <(find . -mindepth 2 -name go.mod -not -path '*/node_modules/*')
  return $status
}

step_staticcheck() { # staticcheck, pinned
  go run "$STATICCHECK" -tags realclients ./...
}

step_unit() { # go test -race ./..., and the tests of bench/peers
  local status=0
  # Packages that start processes, or watch the clock of a kernel, run after the others,
  # two at a time, with more tests at once than there are processors: they wait more than
  # they compute. -count=1: some build and run programs, which the test cache does not see.
  # -vet=off: the step vet has done it.
  local alone='/(bench|client|cmd/roost|netpoll/engines|server)$'
  local flags=(-count=1 -vet=off)
  export ROOST_NODE_MODULES="$cache/node_modules"
  # A process with the race detector waits for a second before it ends, for races that come
  # late. These tests start hundreds.
  export GORACE="${GORACE:-} atexit_sleep_ms=20"
  go list ./... | grep -vE "$alone" | xargs go test -race "${flags[@]}" -timeout 15m 2>&1 | tee "$work/unit.log" || status=1
  # cmd/roost runs the binary as a process; the packages in it have the race detector here.
  go test "${flags[@]}" -parallel 6 -timeout 15m ./cmd/roost >"$work/roost.log" 2>&1 &
  local roost=$!
  go list ./... | grep -E "$alone" | grep -v '/cmd/roost$' | xargs go test -race "${flags[@]}" -p 2 -parallel 6 -timeout 15m 2>&1 | tee -a "$work/unit.log" || status=1
  wait "$roost" || status=1
  tee -a "$work/unit.log" <"$work/roost.log"
  # The race detector changes what is allocated: these once more without it.
  grep -rlE --include='*_test.go' '^func Test[A-Za-z0-9_]*Alloc' frame server | xargs -n 1 dirname | sort -u | sed 's#^#./#' |
    xargs go test "${flags[@]}" -run Alloc 2>&1 | tee -a "$work/unit.log" || status=1
  go -C bench/peers test "${flags[@]}" -p 1 -timeout 5m ./... 2>&1 | tee -a "$work/unit.log" || status=1
  [ $status = 0 ] || name_failed "$work/unit.log"
  return $status
}

# name_failed LOG: the tests that go test says have failed, for the end of the run.
name_failed() { grep -hE '^ *--- FAIL|^FAIL|^panic:|^WARNING: DATA RACE' "$1" | sort | uniq -c >>"$work/failed"; }

step_fuzz() { # each Fuzz target for FUZZ_TIME (5,000 inputs; 2,000 after four minutes)
  local file target inputs=$FUZZ_TIME began=$SECONDS found=0 status=0
  while IFS=: read -r file target; do
    found=$((found + 1))
    # A slow machine gets through all targets, the later ones with less.
    [ $((SECONDS - began)) -lt 240 ] || inputs=2000x
    if go test -vet=off -run '^$' -fuzz "^$target\$" -fuzztime "$inputs" "./$(dirname "$file")" >"$work/fuzz.log" 2>&1; then
      say "ok $(dirname "$file") $target: $(grep -oE 'execs: [0-9]+' "$work/fuzz.log" | tail -n 1)"
    else
      status=1
      tail -n 40 "$work/fuzz.log"
      fail "$target in $file"
    fi
  done < <(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's#^\./##; s/:func /:/' | sort)
  [ "$found" -gt 0 ] || { fail "no Fuzz target found"; return 1; }
  say "$found targets"
  return $status
}

step_exactness() { # 10,000 clients, cut and stalled: every one ends with the right sequence
  go test -count=1 -vet=off -timeout 10m -run '^TestExactness$' -v ./server/internal/shard -clients 10000 -messages 100000 -channels 1000
}

step_cross() { # build and vet for other systems
  local target status=0
  for target in linux/arm64 darwin/arm64 freebsd/amd64; do
    if GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0 go build -o "$work/cross" ./cmd/roost; then
      say "ok $target"
    else
      status=1
      fail "$target"
    fi
  done
  # vet reads what differs between systems, and its tests: where nothing is built yet, all
  # packages for three systems take minutes. darwin has the files of freebsd.
  GOOS=freebsd GOARCH=amd64 CGO_ENABLED=0 go vet ./netpoll/... ./internal/offheap ./internal/procs ./frame ./bench ./bench/limit ./server ./server/internal/shard ./cmd/roost ||
    { status=1; fail "go vet for freebsd"; }
  return $status
}

real_clients() { # PATTERN [PATTERN-TO-SKIP]
  # Three steps use the one test binary.
  [ -x "$work/realclients" ] || go test -tags realclients -vet=off -c -o "$work/realclients" ./cmd/roost || return 1
  (cd cmd/roost && ROOST_NODE_MODULES="$cache/node_modules" ROOST_PYTHON=/usr/bin/python3 ROOST_CHROMIUM=$(chromium_path) ROOST_FIREFOX=firefox-esr \
    "$work/realclients" -test.count=1 -test.parallel 4 -test.timeout 15m -test.v -test.run "$1" -test.skip "${2:-^$}" >"$work/clients.log" 2>&1)
  local status=$?
  if [ $status = 0 ]; then grep -E '^ *--- ' "$work/clients.log"; else cat "$work/clients.log"; name_failed "$work/clients.log"; fi
  # A run that matches no test is a gap, not a success.
  grep -qE '^--- (PASS|FAIL)' "$work/clients.log" || { fail "no test ran"; return 1; }
  return $status
}

step_clients() { # npm ws, Python websockets, socket.io-client, pusher-js, laravel-echo, pusher and web/client in Node.js against the binary, socket.io-client against the library (gobwas/ws is in unit)
  local status=0
  real_clients '^TestRealClient' || status=1
  ROOST_NODE_MODULES="$cache/node_modules" go test -tags realclients -count=1 -vet=off -timeout 5m -run '^TestSocketIOClient$' ./server/protocol/socketio || status=1
  return $status
}

step_proxies() { # deploy/: nginx, HAProxy and systemd's activation in front of the binary
  real_clients '^TestReal' '^TestRealClient'
}

step_brokers() { # the brokers against real servers: the contract's test, several servers on one that is cut, killed and flushed, and a cluster of processes
  go test -tags realclients -count=1 -vet=off -timeout 10m ./server/broker/... ./internal/clustertest
}

step_browser() { # the demo page, the textbook page, the chat example, socket.io-client, pusher-js with laravel-echo and the browser client in headless Chromium, the client in Firefox, too
  real_clients '^TestBrowser'
}

step_c10k() { # scripts/c10k.sh --quick: thousands of real sockets
  [ -x scripts/c10k.sh ] || { fail "scripts/c10k.sh is missing"; return 1; }
  timeout 300 scripts/c10k.sh --quick
}

# ---------------------------------------------------------------- the runner

steps=(tools format vet staticcheck unit fuzz exactness cross clients proxies brokers browser c10k)
about() { sed -nE "s/^step_$1\(\) \{ # (.*)/\1/p" scripts/test.sh; }

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' scripts/test.sh; exit 0 ;;
  --list) for s in "${steps[@]}"; do printf '%-12s %s\n' "$s" "$(about "$s")"; done; exit 0 ;;
esac
chosen=("$@")
[ $# -gt 0 ] || chosen=("${steps[@]}")
for s in "${chosen[@]}"; do
  declare -F "step_$s" >/dev/null || { say "no step '$s'. Steps: ${steps[*]}"; exit 2; }
done

# run_step STEP: the step, what it left behind, and how long it took.
run_step() {
  local step=$1 begin=$SECONDS status left
  say ""
  say "=== $step: $(about "$step")"
  export ROOST_TEST_RUN="$run-$step"
  "step_$step"
  status=$?
  left=$(leftovers "$step")
  if [ -n "$left" ]; then
    # shellcheck disable=SC2086 # a list of pids
    ps -o pid,ppid,args -p "$(echo $left | tr ' ' ',')"
    # shellcheck disable=SC2086
    kill -9 $left 2>/dev/null
    fail "step $step left these processes behind"
    status=1
  fi
  if [ $status = 0 ]; then
    say "--- $step passed in $((SECONDS - begin)) s"
  else
    say "--- $step FAILED in $((SECONDS - begin)) s"
  fi
  return $status
}

passed=0 failed=0 failures=()
count() { # STEP STATUS
  if [ "$2" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)) failures+=("$1"); fi
}

# The steps that run beside others, one after the other, if there are others. They begin
# behind vet, which compiles what they need.
waiting=()
for s in "${chosen[@]}"; do
  case $s in clients | proxies | brokers | browser) waiting+=("$s") ;; esac
done
[ ${#waiting[@]} -lt ${#chosen[@]} ] || waiting=()

start_lane() {
  [ ${#waiting[@]} -gt 0 ] && [ -z "$lane" ] || return 0
  say ""
  say "beside what follows: ${waiting[*]}"
  (
    for s in "${waiting[@]}"; do
      run_step "$s" >"$work/$s.out" 2>&1 </dev/null
      echo $? >"$work/$s.part" && mv "$work/$s.part" "$work/$s.status"
    done
  ) &
  lane=$!
}

# show_lane: what the steps have printed that have ended since the last call.
show_lane() {
  while [ ${#waiting[@]} -gt 0 ] && [ -e "$work/${waiting[0]}.status" ]; do
    cat "$work/${waiting[0]}.out"
    count "${waiting[0]}" "$(cat "$work/${waiting[0]}.status")"
    waiting=("${waiting[@]:1}")
  done
}

# end_lane waits for its steps.
end_lane() {
  local step
  start_lane
  [ -n "$lane" ] || return 0
  wait "$lane"
  show_lane
  for step in "${waiting[@]}"; do
    fail "$step did not end"
    count "$step" 1
  done
  waiting=()
}

for s in "${chosen[@]}"; do
  [[ " ${waiting[*]} " == *" $s "* ]] || [ -e "$work/$s.status" ] && continue
  case $s in
    tools | format | vet) ;;
    c10k) end_lane ;; # it measures
    *) start_lane ;;
  esac
  run_step "$s"
  count "$s" $?
  show_lane
done
end_lane

say ""
[ $failed = 0 ] || say "failed: ${failures[*]}"
[ ! -s "$work/failed" ] || cat "$work/failed"
say "all steps took $SECONDS s"
say "$passed passed, $failed failed"
[ $failed = 0 ]
