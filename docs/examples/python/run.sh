#!/usr/bin/env bash
# Generates laris_pb2.py into a temporary folder and runs place_order.py with it.
# Arguments go to place_order.py; see: ./run.sh --help
# PYTHON chooses another interpreter; the default is the system's, with Debian's
# python3-zmq and python3-protobuf.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
protos=$here/../../../protos
python=${PYTHON:-/usr/bin/python3}

fail() {
  echo "run.sh: $1" >&2
  exit 1
}

command -v protoc >/dev/null ||
  fail "protoc is missing. On Debian: apt-get install protobuf-compiler"
command -v "$python" >/dev/null ||
  fail "$python is missing. On Debian: apt-get install python3"
"$python" -c 'import zmq' 2>/dev/null ||
  fail "$python has no module zmq. On Debian: apt-get install python3-zmq"
"$python" -c 'import google.protobuf' 2>/dev/null ||
  fail "$python has no module google.protobuf. On Debian: apt-get install python3-protobuf"
[[ -f $protos/laris/v1/laris.proto ]] ||
  fail "$protos/laris/v1/laris.proto is missing: run this inside a checkout of Laris"

generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
protoc --proto_path="$protos" --python_out="$generated" laris/v1/laris.proto

export PYTHONPATH=$generated PYTHONDONTWRITEBYTECODE=1
"$python" -c 'from laris.v1 import laris_pb2' ||
  fail "$python can't load what $(protoc --version) generated: protoc and the Python package protobuf don't match"

status=0
"$python" "$here/place_order.py" "$@" || status=$?
exit "$status"
