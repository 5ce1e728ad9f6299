#!/usr/bin/env bash
# Runs the protocols' own test suites, of Engine.IO and Socket.IO, against Roost. They are
# fetched from their repository, outside the tree. Usage: scripts/socketio.sh [FOLDER]
#
# FOLDER is a clone of github.com/socketio/socket.io; without, one is made. Needs git, Go,
# Node.js 18 or newer and npm, and the port 3000.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT

source=${1:-}
if [ -z "$source" ]; then
  source=$work/socket.io
  git clone --quiet --depth 1 --filter=blob:none --sparse https://github.com/socketio/socket.io "$source"
  git -C "$source" sparse-checkout set docs
fi
go build -o "$work/suiteserver" ./server/protocol/socketio/suiteserver

run() { # run FOLDER ARGUMENTS: a suite, and how to start its server
  local suite=$work/suite
  rm -rf "$suite"
  cp -r "$source/docs/$1" "$suite"
  (cd "$suite" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  shift
  if curl -s -o "$work/answer" http://localhost:3000/; then
    echo "socketio.sh: another program listens on port 3000" >&2
    exit 2
  fi
  "$work/suiteserver" "$@" &
  server=$!
  for _ in $(seq 50); do
    curl -s -o "$work/answer" http://localhost:3000/ && break
    sleep 0.1
  done
  kill -0 "$server" || { echo "socketio.sh: the server has ended" >&2; exit 1; }
  (cd "$suite" && npm test --silent)
  kill "$server"
  wait "$server" || true
  server=
}
run engine.io-protocol/v4-test-suite -engine
run socket.io-protocol/v5-test-suite
