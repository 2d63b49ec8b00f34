#!/usr/bin/env bash
# Builds Laris and runs all of its tests, in the release configuration, as it is used.
#
#   deploy/test.sh                      all tests
#   deploy/test.sh --filter Marketplace arguments go to `swift test`
#
# Tests that replay real data run where LARIS_REAL_DATA names its folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

echo "== 1/2  What it needs"
deploy/install-packages.sh

# What another user built is not ours to change.
scratch=.build
if [[ -n $(find "$scratch" ! -uid "$(id -u)" -print -quit 2>/dev/null) ]]; then
  scratch=.build-$(id -un)
  echo "Some of .build belongs to another user: building in $scratch."
fi

echo
echo "== 2/2  Build and test (the first build takes minutes)"
# Without testable imports the programs are the same as those of `swift build -c release`,
# so what one of the two commands has built, the other does not build again.
swift test -c release --disable-testable-imports --scratch-path "$scratch" "$@"
echo
echo "Passed."
