#!/usr/bin/env bash
# Where an order's instructions and allocations go: one dispatcher and one worker with two partitions under
# callgrind, orders of 3 lines in a closed loop, after a run that warms them up. Counts, not times: they are
# much the same however busy the machine is. The kernel's work is not in them. Needs Debian's valgrind.
#
# Exits with 1 where an order costs more than loadtest/instructions.py allows, where one of its stages matches
# no code, or where too much code has no stage. Takes about a minute; no part of CI.
#
#   loadtest/instructions.sh [--seconds S] [--in-flight N] [--sites N] [--keep FOLDER]
#
# --sites N: the N places that allocate most. --keep FOLDER: what callgrind wrote stays there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

seconds=20 in_flight=400 sites=0 keep=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --seconds) seconds=$2 ;;
    --in-flight) in_flight=$2 ;;
    --sites) sites=$2 ;;
    --keep) keep=$2 ;;
    *) echo "usage: loadtest/instructions.sh [--seconds S] [--in-flight N] [--sites N] [--keep FOLDER]" >&2
       exit 64 ;;
  esac
  shift 2
done
command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 69; }
prepare
"$bin/laris" cluster init --data "$folder/dispatcher" --partitions 2 --workers 1 >/dev/null
counts=${keep:-$folder}
mkdir -p "$counts"
rm -f "$counts"/{dispatcher,worker}.callgrind*
under() {
  local name=$1
  shift
  valgrind --tool=callgrind --callgrind-out-file="$counts/$name.callgrind" --dump-instr=yes --dump-line=no \
    --separate-callers=3 --collect-systime=yes "$bin/laris" "$@" >"$folder/$name.log" 2>&1 &
  children+=($!)
}
sell() {
  "$bin/laris-loadtest" run --shops 100 --in-flight "$in_flight" --budget 60 --json "$@" 2>/dev/null |
    /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["done"])'
}
under dispatcher dispatcher --data "$folder/dispatcher" --listen "$LARIS_DISPATCHER" \
  --worker-listen "tcp://127.0.0.1:$workers_port"
under worker worker --data "$folder/worker" --node worker-1 --dispatcher "tcp://127.0.0.1:$workers_port"
"$bin/laris" status --exit-when-healthy --timeout 120 >/dev/null
sell --seconds 10 >/dev/null
for pid in "${children[@]}"; do callgrind_control --zero "$pid" &>/dev/null; done
orders=$(sell --seconds "$seconds" --skip-setup)
for pid in "${children[@]}"; do callgrind_control --dump "$pid" &>/dev/null; done
for pid in "${children[@]}"; do kill -TERM "$pid"; done
for pid in "${children[@]}"; do wait "$pid" || true; done
children=()
echo "load:     $in_flight in flight for $seconds s, 100 shops with 1,000 SKUs; $orders orders"
status=0
for node in dispatcher worker; do
  /usr/bin/python3 loadtest/instructions.py "$node" "$counts/$node.callgrind.1" "$orders" --sites "$sites" ||
    status=1
done
exit "$status"
