#!/usr/bin/env bash
# A cluster of three machines, to try on one. See --help.
set -euo pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: deploy/cluster.sh start [--data DIR] [--network N | --free] [--partitions P] [--lease MS]
       deploy/cluster.sh status|stop [NODE]|kill NODE [--data DIR]

Three machines in one: etcd on each, a dispatcher on two, a worker on each, three replicas
of every partition. Each machine is an address of the loopback (127.0.0.1, 127.0.0.2 and
127.0.0.3) with the same ports, and is run by deploy/machine.sh, as a real one is.

  start        starts what does not run, waits until all is healthy, and says what to try
  status       what runs, and laris status
  stop [NODE]  ends all, or one node, in good order; it stays away until the next start
  kill NODE    kill -9; it is started again. A machine (machine-2) stays away until start

Nodes: etcd-1 to 3, dispatcher-1 and 2, worker-1 to 3, machine-1 to 3.

  --data DIR      all data, logs and process ids (default: laris-cluster)
  --network N     the first three numbers of the addresses (default: 127.0.0)
  --free          a network of the loopback that nobody uses
  --partitions P  partitions of a new cluster (default: 12)
  --lease MS      the lease of a new cluster (default: 1000: six times real machines', since nine
                  processes share this one; a death is seen at once here, whatever the lease)

Programs: LARIS_BIN names their folder; else .build, else PATH; else they are built.
Exit codes: 0 done, 1 not, 64 a wrong argument.
TEXT
}

[[ $# -gt 0 ]] || { usage >&2; exit 64; }
command=$1
shift
case $command in
  -h | --help) usage; exit 0 ;;
  start | status | stop | kill) ;;
  *) usage >&2; exit 64 ;;
esac
data=laris-cluster network='' partitions=12 lease=1000 node=''
while [[ $# -gt 0 ]]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --free) network=127.$((RANDOM % 200 + 20)).$((RANDOM % 200 + 20)) ;;
    --data | --network | --partitions | --lease)
      [[ $# -ge 2 ]] || fail "$1 needs a value; see --help" 64
      declare "${1#--}=$2"
      shift
      ;;
    --*) fail "what is '$1'? See --help" 64 ;;
    *)
      [[ -z $node && ($command == stop || $command == kill) ]] || fail "what is '$1'? See --help" 64
      node=$1
      ;;
  esac
  shift
done
[[ $command == start || -e $data/network ]] || fail "there is no cluster in $data; see --help"

# The network is the cluster's for ever: etcd's members know each other by it.
if [[ -e $data/network ]]; then
  kept=$(<"$data/network")
  [[ -z $network || $network == "$kept" ]] || fail "the cluster in $data is on the network $kept"
  network=$kept
fi
network=${network:-127.0.0}
[[ $network =~ ^127\.[0-9]{1,3}\.[0-9]{1,3}$ ]] || fail "--network takes something like 127.0.0" 64
services=tcp://$network.1:12120,tcp://$network.2:12120

# machine NUMBER COMMAND [ARGUMENTS]: deploy/machine.sh of one of the three.
machine() {
  local number=$1 what=$2
  shift 2
  [[ $what != start && $what != init ]] || set -- --me "$network.$number" \
    --machines "$network.1,$network.2,$network.3" --dispatchers "$network.1,$network.2" "$@"
  "$repository/deploy/machine.sh" "$what" --data "$data/machine-$number" "$@"
}

# Says which machine a line is of.
label() {
  sed "s/^/machine-$1: /"
}

# For one node: sets number.
find_node() {
  [[ $node =~ ^(machine|etcd|dispatcher|worker)-[123]$ && $node != dispatcher-3 ]] ||
    fail "there is no node '$node'; see --help" 64
  number=${node##*-}
}

case $command in
  start)
    command -v etcd >/dev/null || "$repository/deploy/install-packages.sh"
    find_programs
    export LARIS_BIN=$bin
    mkdir -p "$data"
    data=$(cd "$data" && pwd)
    echo "$network" >"$data/network"
    if [[ ! -e $data/made ]]; then
      for number in 1 2 3; do machine "$number" start --roles etcd | label "$number"; done
      machine 1 init --partitions "$partitions" --lease "$lease"
      touch "$data/made"
    fi
    for number in 1 2 3; do machine "$number" start | label "$number"; done
    began=$SECONDS
    "$bin/laris" status --exit-when-healthy --timeout 60 --dispatcher "$services" >"$data/status" ||
      fail "not healthy after 60 s: see $data/machine-*/log, and $data/status"
    where=''
    [[ $data == "$PWD/laris-cluster" ]] || where=" --data $data"
    cat <<TEXT
healthy after $((SECONDS - began)) s. Services connect to either of ${services/,/ and }

Try next:
  export PATH=$bin:\$PATH LARIS_DISPATCHER=$services
  laris status --watch
  laris-loadtest run --seconds 30 --retry   # a sale; while it runs, in another terminal:
  deploy/cluster.sh kill worker-1$where       # its partitions go on elsewhere; it comes back
  deploy/cluster.sh kill dispatcher-1$where   # services use the other one
  deploy/cluster.sh kill machine-2$where      # a whole machine; start brings it back
  laris audit
  deploy/cluster.sh stop$where                # the data stays in $data
TEXT
    ;;
  status)
    find_programs
    for number in 1 2 3; do machine "$number" status | label "$number"; done
    echo
    exec "$bin/laris" status --dispatcher "$services"
    ;;
  kill)
    find_node
    if [[ $node == machine-* ]]; then
      machine "$number" kill all
      echo "all of $node was killed; it stays away until: deploy/cluster.sh start"
    else
      machine "$number" kill "$node" | label "$number"
    fi
    ;;
  stop)
    if [[ -n $node ]]; then
      find_node
      [[ $node != machine-* ]] || node=''
      machine "$number" stop ${node:+"$node"} | label "$number"
      exit 0
    fi
    # All at once, so that nobody takes over what is about to stop.
    for number in 1 2 3; do machine "$number" stop | label "$number" & done
    wait
    ;;
esac
