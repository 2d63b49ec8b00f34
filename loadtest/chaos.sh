#!/usr/bin/env bash
# A sale during which a node is killed with -9 every few seconds: any worker or the dispatcher, drawn by
# --seed, started again by laris up. Then every answer that a client got is held against the books.
#
#   loadtest/chaos.sh [--minutes M] [--rate R] [--every S] [--seed N] [laris-loadtest run options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

minutes=20 rate=40000 every=10 seed=$RANDOM
while [[ ${1:-} == --minutes || ${1:-} == --rate || ${1:-} == --every || ${1:-} == --seed ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
start 3 6
echo "load:     $rate/s for $minutes min, kill -9 every $every s, seed $seed; $*"

kill_nodes() {
  local nodes=(dispatcher worker-1 worker-2 worker-3) victim pid kills=0
  RANDOM=$seed
  while sleep "$every"; do
    victim=${nodes[RANDOM % 4]}
    pid=$(pids "$victim" 2>/dev/null) || continue
    [[ -n $pid ]] || continue
    kill -9 "$pid" 2>/dev/null || continue
    kills=$((kills + 1))
    echo "$kills $(date +%T) $victim $pid" >>"$folder/kills"
  done
}
kill_nodes &
killer=$!
children+=("$killer")
set +e
"$bin/laris-loadtest" run --shops 10000 --rate "$rate" --seconds $((minutes * 60)) --retry \
  --history "$folder/sale.history.lz4" --per-second "$folder/seconds.csv" "$@" 2>/dev/null
run=$?
set -e
kill "$killer" 2>/dev/null || true
echo "exit $run; kills: $(wc -l <"$folder/kills") ($(
  awk '{ print $3 }' "$folder/kills" | sort | uniq -c | awk '{ printf "%s%s %s", s, $2, $1; s = ", " }'))"
/usr/bin/python3 - "$folder/seconds.csv" <<'PYTHON'
import csv, sys
done = [int(row["done"]) for row in csv.DictReader(open(sys.argv[1]))]
print(f"seconds without an answer: {sum(1 for d in done if d == 0)} of {len(done)}")
PYTHON
"$bin/laris" status --exit-when-healthy --timeout 120 >/dev/null
"$bin/laris" audit --timeout 3000 --history "$folder/sale.history.lz4"
exit "$run"
