#!/usr/bin/env bash
# Measures the main job on this machine: a cluster and the load on the same cores, durable, one
# order of 3 lines a message, 100,000 SKUs. Prints machine, commit and settings with the figures.
#
#   loadtest/bench.sh [--workers W] [--partitions P] [--replicas R] [--seconds S] [laris-loadtest run options]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=loadtest/cluster.sh
source loadtest/cluster.sh

seconds=60 workers=3 partitions=6 replicas=1
while [[ ${1:-} == --seconds || ${1:-} == --workers || ${1:-} == --partitions || ${1:-} == --replicas ]]; do
  declare "${1#--}=$2"
  shift 2
done
prepare
start "$workers" "$partitions" --replicas "$replicas"
echo "load:     run --seconds $seconds --shops 10000 $*"
"$bin/laris-loadtest" run --seconds "$seconds" --shops 10000 "$@" 2>/dev/null
"$bin/laris" audit --timeout 600 | tail -1
