#!/usr/bin/env bash
# Where an order's instructions go: one dispatcher and one worker with two partitions under callgrind, orders of 3
# lines in a closed loop of 200, then inclusive instructions an order for each stage. Counts, not times: they
# are the same however busy the machine is. Needs Debian's valgrind.
#
#   loadtest/instructions.sh [--seconds S]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

seconds=30
if [[ ${1:-} == --seconds ]]; then seconds=$2; fi
command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 69; }
prepare
"$bin/laris" cluster init --data "$folder/dispatcher" --partitions 2 --workers 1 >/dev/null
under() {
  local name=$1
  shift
  valgrind --tool=callgrind --callgrind-out-file="$folder/$name.callgrind" "$bin/laris" "$@" \
    >"$folder/$name.log" 2>&1 &
  children+=($!)
}
under dispatcher dispatcher --data "$folder/dispatcher" --listen "$LARIS_DISPATCHER" \
  --worker-listen "tcp://127.0.0.1:$workers_port"
under worker worker --data "$folder/worker" --node worker-1 --dispatcher "tcp://127.0.0.1:$workers_port"
"$bin/laris" status --exit-when-healthy --timeout 120 >/dev/null
orders=$("$bin/laris-loadtest" run --seconds "$seconds" --shops 100 --in-flight 200 --budget 60 --json 2>/dev/null |
  /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["done"])')
for pid in "${children[@]}"; do kill -TERM "$pid"; done
for pid in "${children[@]}"; do wait "$pid" || true; done
children=()
echo "orders:   $orders (start and stop of the nodes, 100 shops and 1,000 SKUs are in the counts too)"
/usr/bin/python3 - "$orders" "$folder" <<'PYTHON'
import re, subprocess, sys
orders, folder = int(sys.argv[1]), sys.argv[2]
stages = {
    "dispatcher": [
        ("takes requests from clients", r"DispatcherNode\w*takeFromClients"),
        ("  of that: peeks, queues", r"DispatcherCore\w*V3add"),
        ("takes answers from workers", r"DispatcherNode\w*takeFromWorkers"),
        ("sends batches", r"DispatcherNodeC4send"),
        ("replies", r"DispatcherNodeC5reply"),
        ("libzmq's I/O thread", r"zmq::epoll_t::loop"),
    ],
    "worker": [
        ("takes batches (decode)", r"WorkerCore13PartitionCoreV4take\d"),
        ("collects what it needs", r"WorkerCore13PartitionCoreV12collectNeeds"),
        ("reads rows from SQLite", r"PartitionStore15PartitionReaderV4load"),
        ("seals (ids, entries)", r"WorkerCore13PartitionCoreV4seal3now"),
        ("appends to the log", r"ReplicationLog\w*V6append"),
        ("  of that: LZ4", r"LZ4F_compress(Frame|Update|End)"),
        ("applies (rules, answers)", r"WorkerCore13PartitionCoreV5apply"),
        ("syncs the log", r"ReplicationLog\w*V4sync"),
        ("sends answers", r"WorkerNode09PartitionB0C4send|PartitionNodeC4send"),
        ("copies rows for a checkpoint", r"PartitionCoreV10copyFrozen"),
        ("writes checkpoints (SQLite)", r"PartitionStore15PartitionWriterV5write"),
        ("libzmq's I/O thread", r"zmq::epoll_t::loop"),
    ],
}
for node, rows in stages.items():
    text = subprocess.run(
        ["callgrind_annotate", "--inclusive=yes", "--threshold=100", f"{folder}/{node}.callgrind"],
        capture_output=True, text=True).stdout
    total = int(re.search(r"([\d,]+) \(100\.0%\)\s+PROGRAM TOTALS", text).group(1).replace(",", ""))
    print(f"{node}: {total / orders:,.0f} instructions an order")
    lines = [(int(m.group(1).replace(",", "")), m.group(2)) for m in
             re.finditer(r"^\s*([\d,]+) \([ \d.]+%\)\s+(\S.*)$", text, re.M)]
    for name, pattern in rows:
        found = [count for count, function in lines if re.search(pattern, function)]
        count = f"{max(found) / orders:,.0f}" if found else "no such function"
        print(f"  {name:32} {count:>16}")
    allocations = [c for c, f in lines if re.search(r":malloc \[|libc\.so\S*:malloc|^\?*:?malloc", f)]
    if allocations:
        print(f"  {'malloc, all threads':32} {max(allocations) / orders:10,.0f}")
PYTHON
