#!/usr/bin/env bash
# The sale's peak on this machine, in one run: orders of 3 lines in a closed loop, the same with 90 % of them on one
# SKU, both again, and an open loop; each for --seconds S (60) from an empty cluster. It holds when
#
#   - both closed loops of uniform load have at least 80,000 answers/s,
#   - the hot SKU's two have together at least 95 % of the uniform ones' two,
#   - SQLite keeps up: no checkpoint lag grows, from 5 to 10 s on until the last 5 s, by more than 2 % of the orders,
#   - at --rate R (40,000) a second p99 is at most 10 ms,
#   - the books of the last are clean.
#
#   loadtest/peak.sh [--workers W] [--partitions P] [--seconds S] [--rate R]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

workers=3 partitions=4 seconds=60 rate=40000
while [[ ${1:-} == --workers || ${1:-} == --partitions || ${1:-} == --seconds || ${1:-} == --rate ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
echo "cluster:  $workers workers, $partitions partitions, 1 replica each; $seconds s each, from an empty cluster"

# sell NAME [laris-loadtest run options]: one line, and its summary in $folder/results
sell() {
  local name=$1
  shift
  start "$workers" "$partitions" >/dev/null
  "$bin/laris-loadtest" run --seconds "$seconds" --shops 10000 --json "$@" 2>/dev/null |
    /usr/bin/python3 -c '
import json, sys
result = json.load(sys.stdin) | {"name": sys.argv[1]}
print(json.dumps(result), file=open(sys.argv[2], "a"))
print("{name:8} {ordersPerSecond:8,.0f}/s  p50 {p50:6.2f}  p99 {p99:6.2f}  p99.9 {p999:6.2f}  max {max:7.2f} ms  "
      "checkpoint lag {lagAt10Seconds:9,} -> {lagAtEnd:9,}".format(**result))' "$name" "$folder/results"
}

for _ in 1 2; do
  sell uniform
  stop
  sell hot --hot 90
  stop
done
sell open --rate "$rate"
"$bin/laris" audit --timeout 600 | tail -1
/usr/bin/python3 - "$folder/results" "$rate" <<'PYTHON'
import json, sys
results = [json.loads(line) for line in open(sys.argv[1])]
def rates(name):
    return [r["ordersPerSecond"] for r in results if r["name"] == name]
least, share = min(rates("uniform")), 100 * sum(rates("hot")) / sum(rates("uniform"))
growth = max(100 * (r["lagAtEnd"] - r["lagAt10Seconds"]) / r["orders"] for r in results)
opened = results[-1]
checks = [
    (f"uniform load has at least {least:,.0f} answers/s", least >= 80_000),
    (f"90 % on one SKU has {share:.1f} % of it", share >= 95),
    (f"the checkpoint lag grew by at most {growth:.1f} % of the orders", growth <= 2),
    (f"p99 is {opened['p99']:.2f} ms at {opened['ordersPerSecond']:,.0f} of {sys.argv[2]} orders/s",
     opened["p99"] <= 10 and opened["ordersPerSecond"] >= 0.99 * int(sys.argv[2])),
    ("every order was done", all(r["done"] == r["orders"] for r in results)),
]
for text, holds in checks:
    print(("holds: " if holds else "FAILS: ") + text)
sys.exit(0 if all(holds for _, holds in checks) else 99)
PYTHON
