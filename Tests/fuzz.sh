#!/usr/bin/env bash
# Fuzzes every decoder for long, round after round with new seeds, at the lowest priority.
#
#   Tests/fuzz.sh                        until Ctrl-C, a minute for each target and round
#   Tests/fuzz.sh --rounds 3 segment     three rounds of one target
#   Tests/fuzz.sh --seconds 600 request
#
# What is found is written to fuzz-findings/TARGET, with the command that runs it again. Exit code: 0
# nothing was found, 1 something was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=0
seconds=60
targets=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --rounds) rounds=$2; shift 2 ;;
    --seconds) seconds=$2; shift 2 ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) echo "There is no option $1; see --help." >&2; exit 64 ;;
    *) targets+=("$1"); shift ;;
  esac
done

swift build -c release --product laris-fuzz
program=$(swift build -c release --show-bin-path)/laris-fuzz

found=0
round=0
while [[ $rounds -eq 0 || $round -lt $rounds ]]; do
  round=$((round + 1))
  echo "== round $round"
  nice -n 19 "$program" run --seconds "$seconds" "${targets[@]}" || found=1
done
exit "$found"
