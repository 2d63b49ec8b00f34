#!/usr/bin/env bash
# One machine of a cluster of several: an etcd member, a dispatcher and a worker. See --help.
set -euo pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'TEXT'
usage: deploy/machine.sh start --me A --machines A,B,C [options]   on each machine
       deploy/machine.sh init  --me A --machines A,B,C [options]   once, on one of them
       deploy/machine.sh status|stop [NODE]|kill NODE [--data DIR]

Runs a machine's part of a cluster: etcd-N, dispatcher-N and worker-N, where the machine
is the Nth of --machines. Whatever ends is started again. Ports, on the address --me:
12120 services, 12121 workers, 12122 replication, 2379 and 2380 etcd.

  start        starts what does not run
  init         makes the cluster, as soon as etcd answers
  status       what runs here
  stop [NODE]  ends all, or one node, in good order; it stays away until the next start
  kill NODE    kill -9, as a crash would; it is started again. "kill all" is the whole
               machine's end: everything, and nothing is started again until the next start

  --data DIR             all data, logs (DIR/log) and process ids (DIR/run); default laris-machine
  --me ADDRESS           this machine's address, by which the others reach it
  --machines A,B,C       the machines with etcd, this one among them if it has the role
  --dispatchers A,B      the machines with a dispatcher (default: --machines)
  --roles R,R            what runs here, of etcd, dispatcher, worker (default: etcd, worker, and
                         dispatcher if --dispatchers has this machine)
  --worker NAME          the worker's name (default worker-N). A name belongs to a data folder:
                         an empty one in its place needs a new name
  --zone ZONE            where the worker stands, like a rack; replicas are spread over zones
  --disk-reserve MIB     MiB that stay free on the worker's disk
  --log-keep-seconds S --log-keep-mib MIB
                         what a partition keeps of its log beyond what its replicas need (60, 256)
  --etcd-state STATE     new, or existing: it joins members that are there (default new)
  --etcd-ca FILE --etcd-cert FILE --etcd-key FILE
                         etcd with TLS, for clients and between its members: who signed, this
                         machine's certificate (for server and client), its key
  --etcd-user NAME --etcd-password-file FILE
                         how dispatchers log in to etcd, if its authentication is on
  --etcd-plaintext       etcd without TLS between machines: on a network that is yours alone

init also takes --name, --partitions, --replicas, --min-replicas, --workers, --lease,
--currency, --reserve-minutes and --fee-basis-points of laris cluster init (defaults here: 3 replicas
and as many workers as --machines).

Programs: LARIS_BIN names their folder; else .build, else PATH; else they are built.
Exit codes: 0 done, 1 not, 64 a wrong argument.
TEXT
}

# -------------------------------------------------------------------------- arguments

[[ $# -gt 0 ]] || { usage >&2; exit 64; }
command=$1
shift
case $command in
  -h | --help) usage; exit 0 ;;
  start | init | status | stop | kill) ;;
  *) usage >&2; exit 64 ;;
esac
data=laris-machine me='' machines='' dispatchers='' roles='' worker='' etcd_state=new node=''
ca='' cert='' key='' plaintext=false
worker_options=() etcd_login=() init_options=()
while [[ $# -gt 0 ]]; do
  option=$1
  case $option in
    -h | --help) usage; exit 0 ;;
    --etcd-plaintext) plaintext=true; shift; continue ;;
    --*) [[ $# -ge 2 ]] || fail "$option needs a value; see --help" 64 ;;
    *)
      [[ -z $node && ($command == stop || $command == kill) ]] || fail "what is '$option'? See --help" 64
      node=$option
      shift
      continue
      ;;
  esac
  case $option in
    --data) data=$2 ;;
    --me) me=$2 ;;
    --machines) machines=$2 ;;
    --dispatchers) dispatchers=$2 ;;
    --roles) roles=$2 ;;
    --worker) worker=$2 ;;
    --etcd-state) etcd_state=$2 ;;
    --etcd-ca) ca=$(realpath "$2") ;;
    --etcd-cert) cert=$(realpath "$2") ;;
    --etcd-key) key=$(realpath "$2") ;;
    --etcd-user) etcd_login+=("$option" "$2") ;;
    --etcd-password-file) etcd_login+=("$option" "$(realpath "$2")") ;;
    --zone | --disk-reserve | --log-keep-seconds | --log-keep-mib) worker_options+=("$option" "$2") ;;
    --name | --partitions | --replicas | --min-replicas | --workers | --lease | --currency | --reserve-minutes | --fee-basis-points)
      [[ $command == init ]] || fail "$option is for init; see --help" 64
      init_options+=("$option" "$2")
      ;;
    *) fail "what is '$option'? See --help" 64 ;;
  esac
  shift 2
done
mkdir -p "$data" 2>/dev/null || fail "the folder $data can't be made"
data=$(cd "$data" && pwd)
run=$data/run

# ---------------------------------------------------------------- what runs, and its end

# The names of all that was started and not stopped, the worker first: etcd is needed to the end.
nodes() {
  local kind path
  for kind in worker dispatcher etcd; do
    for path in "$run/$kind".*; do
      if [[ $path == *.supervisor || $path == *.pid ]] && runs "$path"; then
        basename "${path%.*}"
      fi
    done
  done | awk '!seen[$0]++' # a node and its supervisor are one
}

# What a node is called in Laris: DIR/run has it by its kind, since a machine has one of each.
stop_node() {
  local kind=$1
  if runs "$run/$kind.supervisor" || runs "$run/$kind.pid"; then
    kill -TERM "$pid" 2>/dev/null || true
  fi
}

await_end() {
  local kind=$1
  if ! ends_within "$run/$kind.supervisor" 30 || ! ends_within "$run/$kind.pid" 30; then
    echo "$kind did not end within 30 s of SIGTERM: it is killed." >&2
    kill_node "$kind" with-supervisor
  fi
  rm -f "$run/$kind.supervisor" "$run/$kind.pid"
}

kill_node() {
  local kind=$1
  if [[ ${2:-} == with-supervisor ]] && runs "$run/$kind.supervisor"; then
    kill -KILL "$pid" 2>/dev/null || true
  fi
  if runs "$run/$kind.pid"; then
    kill -KILL "$pid" 2>/dev/null || true
  fi
}

# worker-2, or worker: the kind.
kind_of() {
  local kind=${1%%-*}
  [[ $kind == etcd || $kind == dispatcher || $kind == worker ]] ||
    fail "there is no node '$1' here; there are: $(nodes | tr '\n' ' ')" 64
  echo "$kind"
}

case $command in
  status)
    [[ -z $node ]] || fail "status takes no node" 64
    printf '%-12s %-9s %s\n' NODE PID LOG
    for kind in etcd dispatcher worker; do
      [[ -e $data/log/$kind.log ]] || continue
      if runs "$run/$kind.pid"; then state=$pid; elif runs "$run/$kind.supervisor"; then state=starts; else state=-; fi
      printf '%-12s %-9s %s\n' "$kind" "$state" "$data/log/$kind.log"
    done
    exit 0
    ;;
  stop)
    if [[ -n $node ]]; then kinds=$(kind_of "$node"); else kinds=$(nodes); fi
    for kind in $kinds; do
      stop_node "$kind"
      await_end "$kind"
      echo "$kind has stopped"
    done
    exit 0
    ;;
  kill)
    if [[ $node == all ]]; then
      for kind in $(nodes); do kill_node "$kind" with-supervisor; done
      exit 0
    fi
    [[ -n $node ]] || fail "which node? $(nodes | tr '\n' ' ')or all" 64
    kind=$(kind_of "$node")
    runs "$run/$kind.pid" || fail "$kind does not run"
    kill -KILL "$pid"
    echo "kill -9 $pid: $kind; it is started again"
    exit 0
    ;;
esac

# ------------------------------------------------------------------------ the addresses

[[ -n $me ]] || fail "--me: this machine's address, by which the others reach it" 64
[[ -n $machines ]] || fail "--machines: the addresses of the machines with etcd, with commas" 64
dispatchers=${dispatchers:-$machines}
IFS=, read -r -a machine_list <<<"$machines"
IFS=, read -r -a dispatcher_list <<<"$dispatchers"

# The place of address $1 among the others, from 1; nothing if it is not there.
place() {
  local wanted=$1 number=0 address
  shift
  for address in "$@"; do
    number=$((number + 1))
    [[ $address != "$wanted" ]] || { echo "$number"; return; }
  done
}
number=$(place "$me" "${machine_list[@]}")
if [[ -z $roles ]]; then
  roles=worker
  [[ -z $number ]] || roles+=,etcd
  [[ -z $(place "$me" "${dispatcher_list[@]}") ]] || roles+=,dispatcher
fi
for role in ${roles//,/ }; do
  [[ $role == etcd || $role == dispatcher || $role == worker ]] || fail "--roles: '$role' is none" 64
done
has() { [[ ,$roles, == *,$1,* ]]; }
if has etcd && [[ -z $number ]]; then
  fail "--me $me is not among --machines $machines, and so can't be an etcd member; see --roles" 64
fi
if has worker && [[ -z $worker && -z $number ]]; then
  fail "--me $me is not among --machines $machines: name its worker with --worker" 64
fi
worker=${worker:-worker-$number}
[[ $etcd_state == new || $etcd_state == existing ]] || fail "--etcd-state is new or existing" 64

scheme=http
if [[ -n $ca$cert$key ]]; then
  [[ -n $ca && -n $cert && -n $key ]] || fail "TLS takes all of --etcd-ca, --etcd-cert and --etcd-key" 64
  scheme=https
elif ! $plaintext && [[ " ${machine_list[*]/#127.*/}" == *[![:space:]]* ]]; then
  fail "etcd between machines needs --etcd-ca, --etcd-cert and --etcd-key, or --etcd-plaintext on a network that is yours alone" 64
fi
etcd_urls='' members=''
for index in "${!machine_list[@]}"; do
  etcd_urls+=,$scheme://${machine_list[index]}:2379
  members+=,etcd-$((index + 1))=$scheme://${machine_list[index]}:2380
done
etcd_options=(--etcd "${etcd_urls#,}" ${etcd_login[@]+"${etcd_login[@]}"})
[[ $scheme == http ]] || etcd_options+=(--etcd-ca "$ca" --etcd-cert "$cert" --etcd-key "$key")
! $plaintext || etcd_options+=(--etcd-plaintext)

find_programs

if [[ $command == init ]]; then
  until=$((SECONDS + 60))
  defaults=(--replicas 3 --workers "${#machine_list[@]}")
  for option in ${init_options[@]+"${init_options[@]}"}; do
    [[ $option != --replicas ]] || defaults=("${defaults[@]:2}")
    [[ $option != --workers ]] || defaults=("${defaults[@]:0:${#defaults[@]}-2}")
  done
  unknown=false
  until said=$("$bin/laris" cluster init "${etcd_options[@]}" ${defaults[@]+"${defaults[@]}"} \
    ${init_options[@]+"${init_options[@]}"} 2>&1); do
    # 3 unknown, which the same command tells; 69 nobody there; 75 not now: etcd may have no majority yet.
    status=$?
    # Made by an attempt that got no answer; it says which cluster that is.
    if $unknown && [[ $status == 1 && $said == *already* ]]; then break; fi
    [[ $status == 0 || $status == 1 ]] || unknown=true
    [[ ($status == 3 || $status == 69 || $status == 75) && $SECONDS -lt $until ]] || fail "$said"
    sleep 0.5
  done
  echo "$said"
  exit 0
fi

# --------------------------------------------------------------------------- the start

mkdir -p "$run" "$data/log"
chmod 700 "$data"

# start_node KIND PORTS PROGRAM [ARGUMENTS]
start_node() {
  local kind=$1 ports=$2 port until
  shift 2
  if runs "$run/$kind.supervisor"; then
    echo "$kind runs already"
    return
  fi
  ! runs "$run/$kind.pid" || fail "$kind runs (process $pid), but what starts it again does not: stop it first"
  for port in $ports; do
    ! (exec 3<>"/dev/tcp/$me/$port") 2>/dev/null || fail "$me:$port is taken by another program; $kind needs it"
  done
  setsid "$repository/deploy/supervise.sh" "$run" "$kind" "$data/log/$kind.log" "$@" >/dev/null 2>&1 </dev/null &
  until=$((SECONDS + 5))
  until runs "$run/$kind.pid"; do
    [[ $SECONDS -lt $until ]] || fail "$kind did not start; see $data/log/$kind.log"
    sleep 0.05
  done
  echo "$kind started (process $pid)"
}

if has etcd; then
  command -v etcd >/dev/null || "$repository/deploy/install-packages.sh"
  tls=()
  if [[ $scheme == https ]]; then
    tls=(--cert-file "$cert" --key-file "$key" --trusted-ca-file "$ca" --client-cert-auth
      --peer-cert-file "$cert" --peer-key-file "$key" --peer-trusted-ca-file "$ca" --peer-client-cert-auth)
  fi
  start_node etcd "2379 2380" etcd --name "etcd-$number" --data-dir "$data/etcd" --logger zap \
    --listen-client-urls "$scheme://$me:2379" --advertise-client-urls "$scheme://$me:2379" \
    --listen-peer-urls "$scheme://$me:2380" --initial-advertise-peer-urls "$scheme://$me:2380" \
    --initial-cluster "${members#,}" --initial-cluster-state "$etcd_state" --initial-cluster-token laris \
    --auto-compaction-retention 1h ${tls[@]+"${tls[@]}"}
fi
if has dispatcher; then
  start_node dispatcher "12120 12121" "$bin/laris" dispatcher --data "$data/dispatcher" \
    --node "dispatcher-$(place "$me" "${dispatcher_list[@]}")" --listen "tcp://$me:12120" \
    --worker-listen "tcp://$me:12121" "${etcd_options[@]}"
fi
if has worker; then
  to=()
  for address in "${dispatcher_list[@]}"; do to+=(--dispatcher "tcp://$address:12121"); done
  start_node worker 12122 "$bin/laris" worker run --data "$data/worker" --node "$worker" "${to[@]}" \
    --replication-listen "tcp://$me:12122" ${worker_options[@]+"${worker_options[@]}"}
fi
