#!/usr/bin/env bash
# Writes Sources/LarisProtocol/*.pb.swift from protos/laris/v1/*.proto.
# Needs protoc (deploy/install-packages.sh installs it); builds protoc-gen-swift
# from the swift-protobuf that the package depends on. Commit what it writes.
set -euo pipefail
cd "$(dirname "$0")/.."
swift build -c release --product protoc-gen-swift
plugin=$(swift build -c release --show-bin-path)/protoc-gen-swift
protoc --plugin=protoc-gen-swift="$plugin" --proto_path=protos \
  --swift_opt=Visibility=Public --swift_opt=FileNaming=DropPath \
  --swift_out=Sources/LarisProtocol protos/laris/v1/*.proto
