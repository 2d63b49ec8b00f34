#!/usr/bin/env bash
# Runs a program and starts it again whenever it ends: at once the first time, more slowly when it keeps ending.
# SIGTERM ends the program, and then this. Folder RUN gets NAME.supervisor and NAME.pid, each "PID BIRTH", and
# NAME.lock: there is one such program at a time, with or without its supervisor.
#
#   deploy/supervise.sh RUN NAME LOG PROGRAM [ARGUMENTS]
set -uo pipefail
# shellcheck source=deploy/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[[ $# -ge 4 ]] || fail "usage: supervise.sh RUN NAME LOG PROGRAM [ARGUMENTS]" 64
run=$1 name=$2 log=$3
shift 3

say() {
  printf '%s %s supervise.sh: %s\n' "$(date -u +%FT%TZ)" "$name" "$1" >>"$log"
}

# The program inherits the lock: it holds it even when this process was killed.
exec 9>>"$run/$name.lock"
if ! flock --nonblock 9; then
  say "runs already"
  exit 1
fi

child='' stopping=false
trap 'stopping=true; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null' TERM INT HUP
echo "$$ $(birth_of $$)" >"$run/$name.supervisor"

failures=0
until $stopping; do
  began=$SECONDS
  "$@" >>"$log" 2>&1 </dev/null &
  child=$!
  echo "$child $(birth_of "$child")" >"$run/$name.pid"
  ! $stopping || kill -TERM "$child" 2>/dev/null # it came between the last look and the start
  status=0
  wait "$child" || status=$?
  while runs "$run/$name.pid"; do # a signal to this process ended the wait, and not the program
    status=0
    wait "$child" || status=$?
  done
  child=''
  rm -f "$run/$name.pid"
  $stopping && break
  [[ $((SECONDS - began)) -lt 10 ]] || failures=0
  pause=$((failures < 5 ? failures : 5))
  failures=$((failures + 1))
  say "ended with exit code $status; starts again in $pause s"
  if [[ $pause -gt 0 ]]; then
    sleep "$pause" 9>&- &
    wait $! || true
  fi
done
rm -f "$run/$name.supervisor"
say "stopped"
