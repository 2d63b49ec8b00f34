#!/usr/bin/env bash
# Runs deploy/cluster.sh for real, once: start, an order, a worker and a whole machine killed, start, audit, stop.
# Half a minute. Where etcd is not installed it says so, and tests nothing.
set -euo pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v etcd >/dev/null; then
  echo "SKIPPED: deploy/cluster.sh was NOT tested: there is no etcd in PATH (deploy/install-packages.sh)" >&2
  exit 0
fi
find_programs
export LARIS_BIN=$bin
folder=$(mktemp -d "${TMPDIR:-/tmp}/laris-cluster.XXXXXX")
stranger=''
cleanup() {
  local status=$?
  trap - EXIT
  trap '' INT TERM
  if [[ $status -ne 0 ]]; then
    echo "test-cluster.sh failed; the ends of the logs:" >&2
    tail -n 5 "$folder"/data/machine-*/log/*.log "$folder"/out 2>/dev/null >&2 || true
  fi
  [[ -z $stranger ]] || kill "$stranger" 2>/dev/null || true
  cluster stop >/dev/null 2>&1 || true
  rm -rf "$folder"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

cluster() {
  "$repository/deploy/cluster.sh" "$@" --data "$folder/data" >"$folder/out" 2>&1
}

# expect WHAT COMMAND…: the command must succeed.
expect() {
  local what=$1
  shift
  "$@" || { cat "$folder/out" >&2; fail "$what: $* ended with $?"; }
  printf '%3s s  %s\n' "$SECONDS" "$what"
}

ask() {
  timeout 30 "$bin/laris" "$@" >"$folder/reply" 2>&1 || { cat "$folder/reply" >&2; return 1; }
}

expect "three machines start" cluster start --free
LARIS_DISPATCHER=$(sed -n 's/.*LARIS_DISPATCHER=//p' "$folder/out")
export LARIS_DISPATCHER
[[ $LARIS_DISPATCHER == tcp://127.* ]] || fail "start does not say where services connect"
printf '%s\n' '{"registerShop": {"shopId": "42", "name": "Toko Sari"}}' \
  '{"putSku": {"shopId": "42", "skuId": "1", "price": "45000", "onHand": "10"}}' \
  '{"placeOrder": {"shopId": "42", "buyerId": "7", "lines": [{"skuId": "1", "quantity": 2}]}}' >"$folder/requests"
expect "an order" ask submit "$folder/requests"
[[ $(grep -c '"outcome":"DONE"' "$folder/reply") == 3 ]] || fail "not all done: $(<"$folder/reply")"

worker_pid() { cut -d ' ' -f 1 "$folder/data/machine-1/run/worker.pid" 2>/dev/null || true; }
before=$(worker_pid)
expect "a worker is killed" cluster kill worker-1
until=$((SECONDS + 10))
until [[ -n $(worker_pid) && $(worker_pid) != "$before" ]]; do
  [[ $SECONDS -lt $until ]] || fail "worker-1 was not started again within 10 s"
  sleep 0.05
done
expect "and is back in its place" ask status --exit-when-healthy --timeout 25

expect "a whole machine is killed" cluster kill machine-2
expect "the stock is what the order left" ask get sku 42 1
grep -Eq '^on hand +8$' "$folder/reply" || fail "the stock is not 8: $(<"$folder/reply")"

# A process id of the lost machine that belongs to somebody else now must never be ended.
sleep 300 &
stranger=$!
echo "$stranger 1" >"$folder/data/machine-2/run/worker.pid"
expect "it stops again" cluster stop machine-2
kill -0 "$stranger" || fail "stop ended a process that was not its own"

expect "it starts again" cluster start
expect "the books balance" ask audit
grep -q '^clean' "$folder/reply" || fail "$(<"$folder/reply")"
status=0
cluster kill worker-7 || status=$?
[[ $status == 64 ]] || fail "kill of a node that is not there ended with $status, not 64"
expect "all stops" cluster stop
for file in "$folder"/data/machine-*/run/*.pid "$folder"/data/machine-*/run/*.supervisor; do
  ! runs "$file" || fail "$file still runs"
done
echo "Passed."
