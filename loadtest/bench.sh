#!/usr/bin/env bash
# Measures the main job on this machine: a cluster and the load on the same cores, durable, one
# order of 3 lines a message, 100,000 SKUs. Prints machine, commit and settings with the figures.
#
#   loadtest/bench.sh [--seconds S] [laris-loadtest run options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=60
if [[ ${1:-} == --seconds ]]; then
  seconds=$2
  shift 2
fi
swift build -c release >/dev/null
bin=$(swift build -c release --show-bin-path)
folder=$(mktemp -d "${TMPDIR:-/tmp}/laris-bench.XXXXXX")
up_pid=''
cleanup() {
  [[ -z $up_pid ]] || { kill -TERM "$up_pid" 2>/dev/null && wait "$up_pid"; } || true
  rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

read -r services workers < <(/usr/bin/python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
export LARIS_DISPATCHER=tcp://127.0.0.1:$services

echo "machine:  $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(
  awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(
  findmnt -no FSTYPE -T "$folder"), Linux $(uname -r)"
echo "commit:   $(git describe --always --dirty 2>/dev/null || echo unknown)"
echo "settings: 3 workers, 6 partitions, 1 replica; run --seconds $seconds --shops 10000 $*"
"$bin/laris" up --workers 3 --partitions 6 --data "$folder" --listen "$LARIS_DISPATCHER" \
  --worker-listen "tcp://127.0.0.1:$workers" >"$folder/up.log" 2>&1 &
up_pid=$!
"$bin/laris" status --exit-when-healthy --timeout 60 >/dev/null
"$bin/laris-loadtest" run --seconds "$seconds" --shops 10000 "$@" 2>/dev/null
"$bin/laris" audit --timeout 600 | tail -1
