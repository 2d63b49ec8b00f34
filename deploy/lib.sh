# shellcheck shell=bash
# For the scripts beside this one: programs, processes, and words.

# shellcheck disable=SC2034  # Used by who sources this.
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  exit "${2:-1}"
}

# The field of /proc that tells a process from a later one with the same number.
birth_of() {
  sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# Whether the process that file $1 names ("PID BIRTH") still runs; sets pid. One that has ended and that nobody
# has asked after yet does not.
runs() {
  local birth
  pid=''
  [[ -s $1 ]] && read -r pid birth <"$1" && [[ $pid =~ ^[0-9]+$ ]] || return 1
  [[ $(birth_of "$pid") == "$birth" ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}

# Waits up to $2 seconds for the process that file $1 names to end.
ends_within() {
  local until=$((SECONDS + $2))
  while runs "$1"; do
    [[ $SECONDS -lt $until ]] || return 1
    sleep 0.05
  done
}

# Sets bin: the folder with laris. LARIS_BIN says where; else what this repository has built; else where PATH has
# it; else it is built now.
find_programs() {
  local folder
  if [[ -n ${LARIS_BIN:-} ]]; then
    [[ -x $LARIS_BIN/laris ]] || fail "LARIS_BIN is $LARIS_BIN, and there is no program laris in it."
    bin=$(cd "$LARIS_BIN" && pwd)
    return
  fi
  for folder in "$repository/.build/release" "$repository/.build-$(id -un)/release"; do
    if [[ -x $folder/laris ]]; then
      bin=$folder
      return
    fi
  done
  if command -v laris >/dev/null; then
    bin=$(dirname "$(command -v laris)")
    return
  fi
  echo "Laris is not built yet: building it takes some minutes."
  "$repository/deploy/install-packages.sh"
  # What another user built is not ours to change.
  folder=.build
  [[ -z $(find "$repository/.build" ! -uid "$(id -u)" -print -quit 2>/dev/null) ]] || folder=.build-$(id -un)
  swift build -c release --package-path "$repository" --scratch-path "$repository/$folder" >&2 ||
    fail "the build failed; its words are above."
  bin=$repository/$folder/release
}
