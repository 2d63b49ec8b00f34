#!/usr/bin/env bash
# A worker that was away, and one whose data is gone, come back while the others go on selling. Two workers with
# two partitions on both; the second is stopped for --away seconds (300), and wakes; then its folder is deleted
# and its process killed. It holds when both times
#
#   - it becomes a member of every group again by itself, within --within seconds (900),
#   - the rate stays what is offered: at least 99 % of it in the mean, at least 95 % in every second that is not the
#     one of the loss, and in any ten of those at least 99 % of what was sent,
#   - none waits for longer than a second, the most that a failover may take,
#   - p99 of a second, in the median while it catches up, is at most twice what it was with all members there,
#   - the books balance, and replicas are equal.
#
#   loadtest/catchup.sh [--away S] [--within S] [--rate R] [laris-loadtest run options]
#
# --rate: half of what such a cluster does; measured for 10 s if not given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

away=300 within=900 rate=''
while [[ ${1:-} == --away || ${1:-} == --within || ${1:-} == --rate ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
if [[ -z $rate ]]; then
  start 2 2 --replicas 2
  most=$("$bin/laris-loadtest" run --seconds 10 --shops 10000 --json "$@" 2>/dev/null |
    /usr/bin/python3 -c 'import json, sys; print(int(json.load(sys.stdin)["donePerSecond"]))')
  echo "closed loop: $most orders/s"
  rate=$((most / 2))
  stop
fi
start 2 2 --replicas 2
before=20 after=10
seconds=$((before + away + within + before + within + after))
echo "load:     $rate/s; worker-2 is stopped for $away s; then its folder is deleted; $*"
"$bin/laris-loadtest" run --shops 10000 --rate "$rate" --seconds "$seconds" \
  --retry --per-second "$folder/seconds.csv" "$@" &>/dev/null &
load=$!
children+=("$load")
# The seconds of the load that are over.
second() { [[ -f $folder/seconds.csv ]] && tail -n +2 "$folder/seconds.csv" | wc -l || echo 0; }
wait_until() { while (($(second) < $1)); do kill -0 "$load" && sleep 0.2; done; }
note() { echo "$1 $(second)" | tee -a "$folder/marks" | sed "s/^\([a-z_]*\) \(.*\)/  second \2: \1/"; }
# caught_up NAME: notes when every group has its members again.
caught_up() {
  if "$bin/laris" status --exit-when-healthy --timeout "$within" >/dev/null; then
    note "$1"
  else
    note "$1_not"
    "$bin/laris" status || true
  fi
}

wait_until "$before"
worker=$(pids worker-2)
note stopped
kill -STOP "$worker"
wait_until $((before + away))
note woken
kill -CONT "$worker"
# What it missed is dropped before it can be said to be back.
sleep 1
caught_up back_from_away

wait_until $(($(second) + before))
worker=$(pids worker-2)
note deleted
kill -STOP "$worker"
# Gone for the worker. That the system forgets gigabytes at once, which stops its disk for all, is no part of this.
mkdir "$folder/lost"
mv "$folder"/data/worker-2/partition* "$folder/lost"
kill -9 "$worker"
sleep 1
caught_up back_from_nothing
wait_until $(($(second) + after))
note end
kill -TERM "$load"
wait "$load" || true
read -ra nodes < <(pids dispatcher worker)
echo "memory at most, MiB (dispatcher, workers): $(memory "${nodes[@]}")"
status=0
/usr/bin/python3 - "$folder/seconds.csv" "$folder/marks" "$rate" <<'PYTHON' || status=$?
import csv, statistics, sys
path, marks, rate = sys.argv[1], sys.argv[2], int(sys.argv[3])
rows = {int(row["second"]): row for row in csv.DictReader(open(path))}
mark = {name: int(second) for name, second in (line.split() for line in open(marks))}
def p99(first, last):
    return statistics.median(float(rows[s]["p99_ms"]) for s in range(first, last) if s in rows and rows[s]["p99_ms"])
def total(key, first, last):
    return sum(int(rows[s][key]) for s in range(first, last) if s in rows)
def worst(length, first, last):
    """The worst share that was done of what was offered in so many seconds, and when those began."""
    return min((total("done", s, s + length) / total("sent", s, s + length), s - first)
               for s in range(first, last - length + 1))
print(", ".join(f"{sum(int(row[key]) for row in rows.values()):,} {key}" for key in ("done", "not_executed", "unknown")))
usual = p99(5, mark["stopped"])
checks = []
for what, lost, back, end in [
    ("away", "woken", "back_from_away", "deleted"), ("folder deleted", "deleted", "back_from_nothing", "end")]:
    if back not in mark:
        checks.append((f"{what}: not caught up in time", False))
        continue
    # In the second of the loss, and the two around it, requests wait for the takeover.
    first, last = mark[lost] + 3, max(mark[back] + 1, mark[lost] + 13)
    mean = total("done", first, last) / (rate * sum(s in rows for s in range(first, last)))
    second, at = min((total("done", s, s + 1) / rate, s - first) for s in range(first, last) if s in rows)
    ten, ten_at = worst(10, first, last)
    wait = max(float(rows[s]["max_ms"]) for s in range(first, last) if s in rows and rows[s]["max_ms"])
    present = p99(first, last)
    checks += [
        (f"{what}: back after {mark[back] - mark[lost]} s", True),
        (f"{what}: {100 * mean:.1f} % of the rate in the mean", mean >= 0.99),
        (f"{what}: {100 * second:.1f} % of the rate in the worst second, after {at} s", second >= 0.95),
        (f"{what}: {100 * ten:.1f} % of what was sent in the worst ten seconds, after {ten_at} s", ten >= 0.99),
        (f"{what}: the longest wait was {wait:.0f} ms", wait <= 1000),
        (f"{what}: p99 of a second {present:.1f} ms, {usual:.1f} with all members there", present <= 2 * usual)]
for text, holds in checks:
    print(("holds: " if holds else "FAILS: ") + text)
sys.exit(0 if all(holds for _, holds in checks) else 99)
PYTHON
if ((status)); then
  kept=$(mktemp -d "${TMPDIR:-/tmp}/laris-catchup.XXXXXX")
  cp "$folder"/data/*.log "$folder/seconds.csv" "$folder/marks" "$kept"
  echo "the nodes' logs and every second are in $kept"
fi
"$bin/laris" audit --timeout 1200 | tail -1
exit "$status"
