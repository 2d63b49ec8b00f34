#!/usr/bin/env bash
# What a synchronous replica costs on this machine: orders of 3 lines in a closed loop with one replica and with two,
# in turn, --rounds times (2), each for --seconds S (20) from an empty cluster. It holds when two replicas have at least
# half of the throughput of one, and the books and replicas of the last are clean.
#
#   loadtest/replicas.sh [--workers W] [--partitions P] [--seconds S] [--rounds N] [laris-loadtest run options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

workers=2 partitions=2 seconds=20 rounds=2
while [[ ${1:-} == --workers || ${1:-} == --partitions || ${1:-} == --seconds || ${1:-} == --rounds ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
echo "cluster:  $workers workers, $partitions partitions; $seconds s each, from an empty cluster; $*"

# sell REPLICAS [laris-loadtest run options]: one line, and its summary in $folder/results
sell() {
  local replicas=$1
  shift
  start "$workers" "$partitions" --replicas "$replicas" >/dev/null
  "$bin/laris-loadtest" run --seconds "$seconds" --shops 10000 --json "$@" 2>/dev/null |
    /usr/bin/python3 -c '
import json, sys
result = json.load(sys.stdin) | {"replicas": int(sys.argv[1])}
print(json.dumps(result), file=open(sys.argv[2], "a"))
print("--replicas {replicas}  {donePerSecond:8,.0f}/s  p50 {p50:6.2f}  p99 {p99:6.2f} ms".format(**result))
' "$replicas" "$folder/results"
}

for ((round = 1; round <= rounds; round++)); do
  sell 1 "$@"
  stop
  sell 2 "$@"
  ((round == rounds)) || stop
done
"$bin/laris" audit --timeout 600 | tail -1
/usr/bin/python3 - "$folder/results" <<'PYTHON'
import json, sys
results = [json.loads(line) for line in open(sys.argv[1])]
rates = {n: [r["donePerSecond"] for r in results if r["replicas"] == n] for n in (1, 2)}
pairs = ", ".join(f"{100 * two / one:.0f} %" for one, two in zip(rates[1], rates[2]))
share = 100 * sum(rates[2]) / sum(rates[1])
print(("holds: " if share >= 50 else "FAILS: ") + f"two replicas have {share:.1f} % of one's throughput ({pairs})")
sys.exit(0 if share >= 50 else 99)
PYTHON
