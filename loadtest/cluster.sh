# shellcheck shell=bash
# For the scripts beside this one: builds, starts a cluster on free ports in a folder of its own, and cleans
# up by process id. Sets bin, folder, up_pid and LARIS_DISPATCHER. With LARIS_BIN set nothing is built, and the
# programs of that folder run.

# shellcheck disable=SC2317  # Called by trap.
stop_cluster() {
  [[ -z ${up_pid:-} ]] || { kill -TERM "$up_pid" 2>/dev/null && wait "$up_pid"; } || true
  [[ -z ${folder:-} ]] || rm -rf "$folder"
}

# What else a script started ends first.
# shellcheck disable=SC2317
stop_children() {
  local pid
  for pid in "${children[@]}"; do
    kill -TERM "$pid" 2>/dev/null || continue
    wait "$pid" 2>/dev/null || true
  done
  stop_cluster
}

prepare() {
  children=()
  if [[ -n ${LARIS_BIN:-} ]]; then
    bin=$LARIS_BIN
  else
    swift build -c release >/dev/null
    bin=$(swift build -c release --show-bin-path)
  fi
  folder=$(mktemp -d "${TMPDIR:-/tmp}/laris-bench.XXXXXX")
  trap stop_children EXIT
  trap 'exit 130' INT TERM
  read -r services workers_port < <(/usr/bin/python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
  export LARIS_DISPATCHER=tcp://127.0.0.1:$services
  echo "machine:  $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(
    awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(
    findmnt -no FSTYPE -T "$folder"), Linux $(uname -r)"
  echo "commit:   $(git describe --always --dirty 2>/dev/null || echo unknown)"
}

# start WORKERS PARTITIONS [laris up options]
start() {
  local workers=$1 partitions=$2
  shift 2
  echo "cluster:  $workers workers, $partitions partitions${*:+; $*}"
  "$bin/laris" up --workers "$workers" --partitions "$partitions" --data "$folder/data" \
    --listen "$LARIS_DISPATCHER" --worker-listen "tcp://127.0.0.1:$workers_port" "$@" \
    >"$folder/up.log" 2>&1 &
  up_pid=$!
  "$bin/laris" status --exit-when-healthy --timeout 60 >/dev/null
}

# stop: the cluster drains, and the next start begins from nothing.
stop() {
  kill -TERM "$up_pid"
  wait "$up_pid" || true
  up_pid=''
  rm -rf "$folder/data"
}

# pids NODE…: of the cluster's nodes with these names
pids() {
  "$bin/laris" status --json --timeout 10 | /usr/bin/python3 -c '
import json, sys
status = json.load(sys.stdin)
nodes = [status["dispatcher"]] + status.get("workers", [])
print(*(n["pid"] for n in nodes if n["node"].startswith(tuple(sys.argv[1:]))))' "$@"
}

# memory PID…: the most each has had in memory, in MiB
memory() {
  local pid
  for pid in "$@"; do awk '/VmHWM/ { printf "%d ", $2 / 1024 }' "/proc/$pid/status"; done
  echo
}
