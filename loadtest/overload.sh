#!/usr/bin/env bash
# Three times what is let in: the rate of a cluster is capped at a quarter of what it can do, and offered
# half the cap for 15 s, three times the cap for --seconds S (60), half the cap again for 15 s. It holds when
#
#   - at least 90 % of the cap is done meanwhile,
#   - who is refused hears it within 10 ms at the 99th percentile,
#   - two seconds after the peak p99 is at most 1.5 times what it was before it,
#   - memory is bounded: every node's peak is printed, and must be below 2 GiB.
#
#   loadtest/overload.sh [--seconds S] [--most N]     N: what the cluster can do; measured for 10 s if not given
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

seconds=60 most=''
while [[ ${1:-} == --seconds || ${1:-} == --most ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
if [[ -z $most ]]; then
  start 3 6
  most=$("$bin/laris-loadtest" run --seconds 10 --shops 10000 --json 2>/dev/null |
    /usr/bin/python3 -c 'import json, sys; print(int(json.load(sys.stdin)["donePerSecond"]))')
  echo "closed loop: $most orders/s"
  stop
fi
cap=$((most / 4))
start 3 6 --admit "$cap"
echo "load:     $((cap / 2))/s for 15 s, $((cap * 3))/s for $seconds s, $((cap / 2))/s for 15 s; cap $cap/s"
"$bin/laris-loadtest" run --shops 10000 --connections 2 --per-second "$folder/seconds.csv" \
  --stages "$((cap / 2))/s:15s,$((cap * 3))/s:${seconds}s,$((cap / 2))/s:15s" 2>/dev/null
read -ra nodes < <(pids dispatcher worker)
peaks=$(memory "${nodes[@]}")
echo "memory at most, MiB (dispatcher, workers): $peaks"
/usr/bin/python3 - "$folder/seconds.csv" "$cap" "$seconds" "$peaks" <<'PYTHON'
import csv, sys
path, cap, seconds, peaks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rows = {int(row["second"]): row for row in csv.DictReader(open(path))}
def p99(first, last):
    return sorted(float(rows[s]["p99_ms"]) for s in range(first, last) if rows[s]["p99_ms"])
before = p99(5, 15)
usual, worst = before[len(before) // 2], before[-1]
peak = range(16, 15 + seconds - 1)
goodput = sum(int(rows[s]["done"]) for s in peak) / len(peak)
refused = sorted(float(rows[s]["not_executed_p99_ms"]) for s in peak if rows[s]["not_executed_p99_ms"])
after = p99(15 + seconds + 2, 15 + seconds + 12)
checks = [
    (f"goodput {goodput:.0f}/s is {100 * goodput / cap:.1f} % of the cap", goodput >= 0.9 * cap),
    (f"refused, p99 of a second: median {refused[len(refused) // 2]:.2f} ms, worst {refused[-1]:.2f} ms",
     refused[len(refused) // 2] <= 10),
    (f"p99 of a second before: median {usual:.2f}, worst {worst:.2f} ms; from 2 s after: median "
     f"{after[len(after) // 2]:.2f}, worst {after[-1]:.2f} ms", after[len(after) // 2] <= 1.5 * usual),
    (f"memory at most {max(map(int, peaks.split()))} MiB", max(map(int, peaks.split())) < 2048),
]
for text, holds in checks:
    print(("holds: " if holds else "FAILS: ") + text)
sys.exit(0 if all(holds for _, holds in checks) else 99)
PYTHON
"$bin/laris" audit --timeout 600 | tail -1
