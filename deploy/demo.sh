#!/usr/bin/env bash
# Shows Laris at work: installs what it needs, builds it, runs a cluster on this machine,
# sells, kills a worker in the middle, and checks the books. See --help.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'TEXT'
usage: deploy/demo.sh [--seconds S] [--keep]

Installs what Laris needs, builds it, and shows its main job on this machine: a
cluster that keeps everything twice, a sale, a worker killed in the middle, the books
checked. It uses free ports and a temporary folder, and leaves neither processes nor data
behind.

  --seconds S   how long the sale lasts, in seconds (default: 20, at least 10)
  --keep        keep the cluster's data and logs, and say where they are

With LARIS_BIN, the folder of programs that were built already, nothing is installed or built.
Exit codes: 0 all went well, 1 something did not, 64 a wrong argument.
TEXT
}

seconds=20
keep=false
while [[ $# -gt 0 ]]; do
  case $1 in
    --keep) keep=true ;;
    --seconds)
      seconds=${2:-}
      [[ $seconds =~ ^[0-9]{2,5}$ ]] || {
        echo "demo.sh: --seconds takes a whole number, 10 or more" >&2
        exit 64
      }
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 64
      ;;
  esac
  shift
done

# ------------------------------------------------------------ its own housekeeping

folder=$(mktemp -d "${TMPDIR:-/tmp}/laris-demo.XXXXXX")
up_pid=''
sale_pid=''
build_pid=''

alive() {
  # A zombie has ended, though nobody has asked after it yet.
  [[ -n $1 && -r /proc/$1/stat ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# Waits up to $2 seconds for process $1 to end.
ended_within() {
  local until=$((SECONDS + $2))
  while alive "$1"; do
    [[ $SECONDS -lt $until ]] || return 1
    sleep 0.1
  done
}

# A process that can be told from a later one with the same number.
birth_of() {
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# The nodes that `laris up` has started so far: process=birth. They end with it; where it was
# killed, they may not.
nodes=()
note_nodes() {
  local children pid
  children=$(cat "/proc/$up_pid/task/$up_pid/children" 2>/dev/null) || return 0
  for pid in $children; do
    nodes+=("$pid=$(birth_of "$pid")")
  done
}

stop() {
  alive "$1" || return 0
  kill -TERM "$1" 2>/dev/null || true
  ended_within "$1" 20 || kill -KILL "$1" 2>/dev/null || true
}

stop_cluster() {
  local node pid
  [[ -n $up_pid ]] || return 0
  note_nodes
  stop "$up_pid"
  for node in ${nodes[@]+"${nodes[@]}"}; do
    pid=${node%%=*}
    [[ ${node#*=} == "$(birth_of "$pid")" ]] || continue
    ended_within "$pid" 5 || kill -KILL "$pid" 2>/dev/null || true
  done
}

cleanup() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  stop "$build_pid"
  stop "$sale_pid"
  stop_cluster
  if $keep; then
    printf '\nKept: %s\n' "$folder"
  else
    rm -rf "$folder"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

bold='' plain=''
if [[ -t 1 ]]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

step=0
heading() {
  step=$((step + 1))
  printf '\n%s%d/8  %s%s\n' "$bold" "$step" "$1" "$plain"
}

say() {
  printf '     %s\n' "$@"
}

fail() {
  printf '\ndemo.sh: %s\n' "$1" >&2
  if [[ -n ${2:-} && -s $2 ]]; then
    echo "The last lines of its log:" >&2
    tail -n 25 "$2" >&2
  fi
  exit 1
}

python() {
  /usr/bin/python3 -c "$@" 2>>"$folder/python.log"
}

now() {
  date +%s.%N
}

since() {
  awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f", to - from }'
}

# ------------------------------------------------------------------------- the show

cat <<TEXT
${bold}Laris is the order core of a marketplace.${plain}
It takes orders, payments and stock updates at sale-day rates, executes each exactly
once, keeps it through crashes, and proves that its books balance.

You are about to see that: a cluster of one dispatcher and three workers on this
machine, which keeps everything twice; a marketplace that sells for $seconds s; a worker
killed with -9 in the middle, and others that take over; then every book checked.
Nothing stays behind. Ctrl-C stops it at any time.
TEXT

heading "What it needs"
if [[ -n ${LARIS_BIN:-} ]]; then
  say "LARIS_BIN says where the programs are: nothing to install."
else
  deploy/install-packages.sh | sed 's/^/     /'
fi

heading "Build"
if [[ -n ${LARIS_BIN:-} ]]; then
  bin=$LARIS_BIN
  say "Nothing to build: the programs in $bin run."
else
  # What another user built is not ours to change.
  scratch=.build
  if [[ -n $(find "$scratch" ! -uid "$(id -u)" -print -quit 2>/dev/null) ]]; then
    scratch=.build-$(id -un)
    say "Some of .build belongs to another user: building in $scratch."
  fi
  say "swift build -c release (minutes the first time, seconds later)"
  started=$(now)
  swift build -c release --scratch-path "$scratch" >"$folder/build.log" 2>&1 &
  build_pid=$!
  while alive "$build_pid"; do
    if [[ -t 1 ]]; then
      printf '\r\e[K     %s' "$(tail -n 1 "$folder/build.log" | tr -cd '[:print:]' | cut -c 1-70)"
    fi
    sleep 0.5
  done
  [[ ! -t 1 ]] || printf '\r\e[K'
  wait "$build_pid" || fail "the build failed." "$folder/build.log"
  build_pid=''
  bin=$(swift build -c release --scratch-path "$scratch" --show-bin-path)
  say "Built in $(since "$started") s."
fi
laris=$bin/laris
shown=${bin#"$PWD/"} # as a person would type it
loadtest=$bin/laris-loadtest

heading "A cluster: one dispatcher, three workers, six partitions, two replicas of each"
# Two ports that are free now.
read -r services_port workers_port < <(python '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
dispatcher=tcp://127.0.0.1:$services_port
say "laris up --workers 3 --partitions 6 --replicas 2 --listen $dispatcher"
"$laris" up --workers 3 --partitions 6 --replicas 2 --data "$folder/data" --listen "$dispatcher" \
  --worker-listen "tcp://127.0.0.1:$workers_port" >"$folder/cluster.log" 2>&1 </dev/null &
up_pid=$!
started=$(now)
until=$((SECONDS + 60))
until timeout 10 "$laris" status --exit-when-healthy --dispatcher "$dispatcher" >"$folder/status.log" 2>&1; do
  alive "$up_pid" || fail "the cluster did not start." "$folder/cluster.log"
  [[ $SECONDS -lt $until ]] ||
    fail "the cluster was not healthy after 60 s: $(tail -n 1 "$folder/status.log")" "$folder/cluster.log"
  sleep 0.2
done
note_nodes
say "Healthy after $(since "$started") s. Shops are spread over the partitions; each partition is" \
  "one SQLite file and one log, owned by one thread of one worker, and the same on a second one."

heading "An order"
# Any service in any language does this over a ZeroMQ socket; here it is JSON by hand.
submit() {
  printf '%s\n' "$@" | timeout 30 "$laris" submit --dispatcher "$dispatcher" - ||
    fail "laris submit failed on: $*" "$folder/cluster.log"
}
shop=$((9000000000 + RANDOM * 32768 + RANDOM))
submit "{\"registerShop\": {\"shopId\": \"$shop\", \"name\": \"Warung Kopi Ibu Sari\", \"city\": \"Bandung\"}}" \
  "{\"putSku\": {\"shopId\": \"$shop\", \"skuId\": \"1\", \"price\": \"45000\", \"onHand\": \"100\", \"name\": \"Kopi Gayo 250 g\"}}" \
  >"$folder/shop.json"
submit "{\"placeOrder\": {\"shopId\": \"$shop\", \"buyerId\": \"7\", \"lines\": [{\"skuId\": \"1\", \"quantity\": 2}]}}" \
  >"$folder/order.json"
# An order's id carries its partition: 16 bits after the first two of its second half.
read -r order partition total < <(python '
import base64, json, sys
placed = json.load(open(sys.argv[1]))["orderPlaced"]
id = base64.b64decode(placed["orderId"])
print(placed["orderId"], int.from_bytes(id[8:], "big") >> 46 & 0xFFFF, placed["total"])' "$folder/order.json") ||
  fail "the order was not placed: $(cat "$folder/order.json")" "$folder/shop.json"

status_json() {
  timeout 5 "$laris" status --json --dispatcher "$dispatcher" >"$folder/status.json" 2>"$folder/status.log"
}
status_json || true # 1 says that it is not healthy, and the file what it is
read -r victim victim_pid victim_partitions < <(python '
import json, sys
status, partition = json.load(open(sys.argv[1])), int(sys.argv[2])
primaries = {p.get("partition", 0): p.get("primary") for p in status["partitions"]}
node = primaries[partition]
pid = next(w["pid"] for w in status["workers"] if w["node"] == node)
print(node, pid, ",".join(str(p) for p in sorted(primaries) if primaries[p] == node))' \
  "$folder/status.json" "$partition") ||
  fail "can't tell from the status which worker holds partition $partition." "$folder/status.json"
say "Shop $shop sold 2 × Kopi Gayo for Rp $total. The answer DONE means: it is on disk, twice." \
  "The order lives on partition $partition. Its primary is worker $victim (process $victim_pid)."

heading "A sale of $seconds s, and a worker killed in the middle"
"$loadtest" run --dispatcher "$dispatcher" --seconds "$seconds" --in-flight 2000 --shops 200 --skus-per-shop 50 --retry \
  </dev/null &
sale_pid=$!
if ended_within "$sale_pid" $((seconds * 2 / 5)); then # by then the shops are loaded, and it sells
  wait "$sale_pid" || fail "the sale ended at once: laris-loadtest exited with $?." "$folder/cluster.log"
  fail "the sale was over before it should be." "$folder/cluster.log"
fi
kill -KILL "$victim_pid" 2>/dev/null || fail "worker $victim (process $victim_pid) had gone by itself." "$folder/cluster.log"
killed=$(now)
until=$((SECONDS + 60))
printf '\n'
say ">>> kill -9 $victim_pid: worker $victim, with partitions $victim_partitions, is gone."
# Waits until what python says of the status, given the victim, its old process and its partitions, is true.
until_status() {
  until status_json || true; python "
import json, sys
status, node, old = json.load(open(sys.argv[1])), sys.argv[2], int(sys.argv[3])
partitions = [p for p in status['partitions'] if str(p.get('partition', 0)) in sys.argv[4].split(',')]
worker = next(w for w in status['workers'] if w['node'] == node)
sys.exit(0 if $1 else 1)" "$folder/status.json" "$victim" "$victim_pid" "$victim_partitions"; do
    alive "$up_pid" || fail "the cluster ended." "$folder/cluster.log"
    [[ $SECONDS -lt $until ]] || fail "60 s after the kill $2" "$folder/cluster.log"
  done
}
until_status "all(p.get('active') and p.get('primary') != node for p in partitions)" \
  "nobody had taken over from worker $victim."
over=$(since "$killed")
printf '\n'
say ">>> Served again after $over s: the workers with the other replicas took over."
until_status "worker.get('alive') and worker['pid'] != old and all(
  p.get('inSync', 0) >= status['replicas'] for p in status['partitions'])" "worker $victim was not back in its place."
back=$(since "$killed")
note_nodes
printf '\n'
say ">>> All is there twice again after $back s: laris up started worker $victim again, and it caught up."
ended_within "$sale_pid" $((seconds + 60)) || fail "the sale does not end." "$folder/cluster.log"
wait "$sale_pid" || fail "the sale did not end well: laris-loadtest exited with $?." "$folder/cluster.log"
sale_pid=''

heading "What is left: the status, the order, the audit"
timeout 30 "$laris" status --dispatcher "$dispatcher" || fail "the cluster is not healthy." "$folder/cluster.log"
echo
submit "{\"getOrder\": {\"orderId\": \"$order\"}}" >"$folder/again.json"
state=$(python '
import json, sys
reply = json.load(open(sys.argv[1]))
assert reply["outcome"] == "DONE" and reply["order"]["orderId"] == sys.argv[2], reply
print(reply["order"]["state"], "Rp", reply["order"]["total"])' "$folder/again.json" "$order") ||
  fail "the first order is not what it was: $(cat "$folder/again.json")" "$folder/cluster.log"
say "The order from before the kill is still there: $state."
echo
timeout 300 "$laris" audit --dispatcher "$dispatcher" || fail "the audit found a broken rule." "$folder/cluster.log"

heading "Stop, and look at what is on disk"
kill -TERM "$up_pid" 2>/dev/null || fail "the cluster had ended by itself." "$folder/cluster.log"
ended_within "$up_pid" 60 || fail "the cluster did not stop within 60 s." "$folder/cluster.log"
wait "$up_pid" || fail "the cluster stopped with exit code $?." "$folder/cluster.log"
stop_cluster # that nothing is left of it, even so
up_pid=''
say "SIGTERM: everything written, all processes ended, exit code 0."

# Any file that is SQLite's and has orders in it will do.
database=''
if command -v sqlite3 >/dev/null; then
  while IFS= read -r -d '' file; do
    [[ $(head -c 15 "$file" | tr -d '\0') == 'SQLite format 3' ]] || continue
    if [[ $(sqlite3 "$file" 'select 1 from orders limit 1' 2>/dev/null) == 1 ]]; then
      database=$file
      break
    fi
  done < <(find "$folder/data" -type f -size +0 -print0 | sort -z)
fi
if [[ -n $database ]]; then
  say "One order, read with plain sqlite3 from ${database#"$folder/"}:"
  # Bytes as hexadecimal digits.
  columns=$(sqlite3 "$database" "
    select group_concat('iif(typeof(\"' || name || '\") = ''blob'', substr(lower(hex(\"' || name || '\")), 1, 64), \"'
      || name || '\") as \"' || name || '\"') from pragma_table_info('orders')")
  sqlite3 -line "$database" "select $columns from orders limit 1" | sed 's/^/     /'
else
  say "(no sqlite3, or no order in a table named orders: nothing to show here)"
fi

heading "What just happened"
say "A marketplace sold at the rate above while a worker was killed. Its partitions were" \
  "served again after $over s; what had been answered was still there, nothing was done twice, and" \
  "the audit found every piece of stock and every rupiah accounted for."

printf '\n     Try next:\n'
while IFS='|' read -r command what; do
  printf '       %-48s %s\n' "$command" "$what"
done <<TEXT
deploy/cluster.sh start|three machines in one: etcd, two dispatchers, three replicas
$shown/laris up --workers 3|a cluster of your own, until Ctrl-C
$shown/laris status --watch|in another terminal
docs/examples/python/run.sh|a shop, an order, a payment, from Python
$shown/place-order|the same from Swift, with retries that are safe
$shown/laris-loadtest run --seconds 60|a longer sale
$shown/laris --help|all there is
docs/PROTOCOL.md|how your own service talks to it
TEXT
