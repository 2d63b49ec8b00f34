#!/usr/bin/env bash
# Installs, by apt, what building and testing Laris needs, and checks the Swift toolchain.
# What is there already is left alone; if nothing is missing, no root is needed.
# Otherwise run it as root, or as a user who may use sudo. Run it as often as you like.
set -euo pipefail

swift_minimum=6.1
packages=(
  libzmq3-dev libsqlite3-dev liblz4-dev libcurl4-openssl-dev # what Laris links
  pkg-config                                                 # how the build finds them
  lz4 sqlite3                                                # to look at logs and partitions
  protobuf-compiler                                          # protoc
  python3 python3-zmq python3-protobuf                       # the Python example
  etcd-server etcd-client openssl                            # deploy/machine.sh and the tests start etcd, with TLS too
  iproute2 mount util-linux                                  # networks and disks of loadtest/chaos-cluster.sh
  shellcheck                                                 # checks these scripts
)

fail() {
  printf 'install-packages.sh: %s\n' "$@" >&2
  exit 1
}

[[ $# -eq 0 ]] || fail "takes no arguments. It installs: ${packages[*]}"

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "this needs apt (Debian 12 or later, Ubuntu). Elsewhere, install what these packages hold:" "${packages[*]}"
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "Packages: all ${#packages[@]} are there."
else
  echo "Packages: installing ${missing[*]}"
  as_root=()
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null ||
      fail "installing needs root, and there is no sudo. As root, run:" "apt-get install ${missing[*]}"
    # Where a password is wanted, ask for it now, if there is anyone to ask.
    if ! sudo -n true 2>/dev/null && ! { [[ -t 0 ]] && sudo -v; }; then
      fail "installing needs root, and sudo won't let $(id -un). As root, run:" "apt-get install ${missing[*]}"
    fi
    as_root=(sudo)
  fi

  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -q -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 </dev/null
  }
  # etcd is here for the tests, which start it themselves. Its package would enable it and start it on
  # the spot: a unit that is masked is neither, and `systemctl unmask etcd` undoes it. Where there is no
  # systemd, a policy says no for the time of the installation.
  policy=/usr/sbin/policy-rc.d
  if [[ " ${missing[*]} " == *" etcd-server "* ]]; then
    if [[ ! -e /etc/systemd/system/etcd.service ]]; then
      "${as_root[@]}" mkdir -p /etc/systemd/system
      "${as_root[@]}" ln -s /dev/null /etc/systemd/system/etcd.service
      echo "Packages: the service etcd is masked; the tests start their own. To have it: systemctl unmask etcd"
    fi
    if [[ ! -e $policy ]]; then
      printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
      "${as_root[@]}" chmod 755 "$policy"
      trap '"${as_root[@]}" rm -f "$policy"; rm -f "$log"' EXIT
    fi
  fi

  # The lists may be stale or, in a fresh system, absent. Without a network, what is
  # there may still be enough; the install tells.
  apt update || true
  if ! apt install -y --no-install-recommends "${missing[@]}"; then
    tail -n 20 "$log" >&2
    fail "apt-get install failed; its last lines are above. Is there a network, and are apt's sources right?"
  fi
  echo "Packages: installed."
fi

command -v swift >/dev/null ||
  fail "there is no swift in PATH ($PATH)." \
    "Laris needs a Swift toolchain, $swift_minimum or later: https://www.swift.org/install/linux/" \
    "If you have one and used sudo: sudo replaces PATH. Run this without sudo; it asks for it itself."
said=$(swift --version 2>&1) || fail "swift --version failed; is the toolchain complete? It said:" "$said"
[[ $said =~ Swift\ version\ ([0-9]+\.[0-9]+(\.[0-9]+)?) ]] ||
  fail "can't tell the version of $(command -v swift). It said:" "$said"
version=${BASH_REMATCH[1]}
printf '%s\n' "$swift_minimum" "$version" | sort --version-sort --check=quiet ||
  fail "$(command -v swift) is Swift $version. Laris needs $swift_minimum or later: https://www.swift.org/install/linux/"
echo "Swift: $version."
