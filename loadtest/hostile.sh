#!/usr/bin/env bash
# Honest clients among hostile ones: an open loop at --rate R (20000), first alone, then while hostile.py sends
# garbage of a dozen kinds at the dispatcher's ports and a worker's, and holds 2,000 connections each to two of
# them that say nothing. It holds when the honest ones keep at least 80 % of their rate, every node lives, and none
# has more than 2 GiB of memory.
#
#   loadtest/hostile.sh [--seconds S] [--rate R] [--seed N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

seconds=30 rate=20000 seed=$RANDOM
while [[ ${1:-} == --seconds || ${1:-} == --rate || ${1:-} == --seed ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
start 3 6
replication=$("$bin/laris" status --json --timeout 10 | /usr/bin/python3 -c '
import json, sys
print(json.load(sys.stdin)["workers"][0]["replication"].rpartition(":")[2])')
echo "load:     $rate/s; alone 15 s, then $seconds s among hostile peers, seed $seed"
read -ra nodes < <(pids dispatcher worker)
sell() {
  "$bin/laris-loadtest" run --shops 10000 --rate "$rate" --json --retry "$@" 2>/dev/null >"$folder/sale.json" || true
  /usr/bin/python3 -c '
import json, sys
sale = json.load(open(sys.argv[1]))
print(f"{sys.argv[2]}: {sale['"'donePerSecond'"']:.0f} done/s, p50 {sale['"'p50'"']:.2f} ms, p99 {sale['"'p99'"']:.2f} ms")' \
    "$folder/sale.json" "$1 $2"
}
sell --seconds 15
/usr/bin/python3 loadtest/hostile.py "$services" "$workers_port" "$replication" "$((seconds + 4))" "$seed" >"$folder/hostile" 2>&1 &
hostile=$!
children+=("$hostile")
sleep 2
sell --seconds "$seconds" --skip-setup --seed 2
wait "$hostile" || true
sed 's/^/  /' "$folder/hostile"
peaks=$(memory "${nodes[@]}")
echo "memory at most, MiB (dispatcher, workers): $peaks"
"$bin/laris" status --timeout 10 | head -4
grep -cE "restart|ended" "$folder/up.log" || true
"$bin/laris" audit --timeout 600 | tail -1
/usr/bin/python3 - "$folder/sale.json" "$rate" "$peaks" <<'PYTHON'
import json, sys
done, rate, peak = json.load(open(sys.argv[1]))["donePerSecond"], int(sys.argv[2]), max(map(int, sys.argv[3].split()))
holds = done >= 0.8 * rate and peak < 2048
print(f"{'holds' if holds else 'FAILS'}: {100 * done / rate:.1f} % of the rate among hostile peers, at most {peak} MiB")
sys.exit(0 if holds else 99)
PYTHON
