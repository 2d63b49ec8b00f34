#!/usr/bin/env bash
# A replicated cluster on a real etcd, every node in a network namespace of its own, under load; in each round
# one fault that --seed draws. Afterwards every answer is held against the books, and every replica against the
# others. docs/LOADTEST.md has the faults and what is checked; chaos-cluster.py does it. Exit code 99: something
# does not hold. Where namespaces are not permitted it says SKIPPED on stderr and exits 0.
#
#   loadtest/chaos-cluster.sh [--rounds N] [--seed S] [--rate R] [--replicas 2|3] [--faults NAME,…] [--keep] …
#   loadtest/chaos-cluster.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# tc is there, and an ordinary user's PATH may not be.
PATH=$PATH:/usr/sbin:/sbin
python=/usr/bin/python3
conductor=$PWD/loadtest/chaos-cluster.py

for argument in "$@"; do
  [[ $argument != --help && $argument != -h ]] || exec "$python" "$conductor" --help
done
skip() {
  echo "SKIPPED: nothing was tested, no fault was tried: $*" >&2
  exit 0
}
for tool in unshare nsenter mount umount ip tc etcd lz4 "$python"; do
  command -v "$tool" >/dev/null || skip "there is no $tool (deploy/install-packages.sh installs it)"
done
# Its process 1 is the conductor: when that ends, the kernel ends all others, and unmounts what was mounted.
world=(unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc)
why=$("${world[@]}" sh -ec 'mount -t tmpfs none /run
  ip netns add a
  ip link add name b0 type bridge
  ip link add v0 type veth peer name eth0 netns a' 2>&1) || skip "namespaces are not permitted: $why"

if [[ -n ${LARIS_BIN:-} ]]; then
  bin=$LARIS_BIN
else
  swift build -c release >/dev/null
  bin=$(swift build -c release --show-bin-path)
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/laris-chaos.XXXXXX")
# shellcheck disable=SC2317  # Called by trap.
clean_up() {
  # SIGTERM is ignored by unshare; with SIGKILL its child, the conductor, is killed too, and the world with it.
  [[ -z ${conducting:-} ]] || kill -KILL "$conducting" 2>/dev/null || true
  [[ -e $folder/keep ]] || rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
echo "machine:  $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(
  awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), workers' data on tmpfs, Linux $(uname -r)"
echo "commit:   $(git describe --always --dirty 2>/dev/null || echo unknown)"
"${world[@]}" "$python" "$conductor" --bin "$bin" --folder "$folder" "$@" &
conducting=$!
status=0
wait "$conducting" || status=$?
conducting=''
exit "$status"
