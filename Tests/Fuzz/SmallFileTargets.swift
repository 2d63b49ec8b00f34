import Bytes
import Cluster
import Foundation
import LarisProtocol
import NodeSupport
import PartitionStore
import ReplicationLog
import SwiftProtobuf
import TestSupport
import Wire

/// A partition's `epoch`.
struct EpochTarget: FuzzTarget {
  let name = "epoch"
  let about = "a partition's epoch file: EpochFile"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    [
      "1\n", "18446744073709551615\n", "0", "42\n\n", "",
      "7\n{\"primary\":\"worker-1\",\"secondaries\":[\"worker-2\"]}\n",
    ].map { Array($0.utf8) }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let path = try ScratchFolder.fresh("epoch") + "/epoch"
    try ScratchFolder.write(bytes, to: path)
    do {
      let accepted = try EpochFile.read(path)
      // Only what it writes, or the same without the newline: a number that is cut is another number.
      let text = String(decoding: bytes, as: UTF8.self)
      let first = text.split(separator: "\n", omittingEmptySubsequences: false).first
      try require(first.flatMap { UInt64($0) } == accepted.epoch.rawValue, "read \(accepted.epoch)")
      try require(Set(accepted.members).count == accepted.members.count, "read \(accepted.members)")
      try EpochFile.write(accepted, to: path)
      try require(try EpochFile.read(path) == accepted, "an epoch changes on its way")
      return "ok \(size(accepted.epoch.rawValue)) \(size(UInt64(accepted.members.count)))"
    } catch let finding as Finding {
      throw finding
    } catch {
      return try outcome(of: error)
    }
  }
}

/// A log's `synced`.
struct SyncedMarkTarget: FuzzTarget {
  let name = "synced"
  let about = "a log's mark of what was synced: SyncedMark"

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    ["00000000000000031337 2044a9aa7b34cbe4\n", ""].map { Array($0.utf8) }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    guard let marked = SyncedMark.sequenceNumber(in: bytes) else { return "nothing \(size(bytes.count))" }
    // Only what was written, and what is behind it does not count.
    try require(
      String(decoding: bytes.prefix(21), as: UTF8.self) == "00000000000000031337 "
        && marked.rawValue == 31_337,
      "read \(marked)")
    return "ok \(size(bytes.count))"
  }
}

/// A data folder's `laris.json`.
struct IdentityTarget: FuzzTarget {
  let name = "identity"
  let about = "a data folder's laris.json: DataFolder.identity"

  // It holds the folder's lock, so it is made once a process.
  private nonisolated(unsafe) static var folder: DataFolder?

  var words: [[UInt8]] {
    ["\"kind\"", "\"folder\"", "null", "\\u0000", "\\ud800", "{", "[", "1e999", "-0"].map { Array($0.utf8) }
  }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    [
      #"{"cluster":"0190a6c2-7f3e-7d51-9c40-5b1e2a6d8f07","folder":"5b0c3f0e-6a38-4b57-9a3e-0d0c6f1f7a11","kind":"worker","node":"worker-1"}"#,
      #"{"cluster":"","folder":"f","kind":"dispatcher","node":"é"}"#,
    ].map { Array($0.utf8) }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    do {
      let folder: DataFolder
      if let known = Self.folder {
        folder = known
      } else {
        folder = try DataFolder(ScratchFolder.fresh("identity"), create: false)
        Self.folder = folder
      }
      try ScratchFolder.write(bytes, to: folder.path + "/laris.json")
      guard let identity = try folder.identity() else { throw Finding("a file that is there is not seen") }
      try folder.setIdentity(identity)
      try require(try folder.identity() == identity, "an identity changes on its way: \(identity)")
      return "ok \(identity.kind.prefix(10)) \(size(identity.node.utf8.count))"
    } catch let finding as Finding {
      throw finding
    } catch {
      return try outcome(of: error)
    }
  }
}

/// A line of `laris submit`.
struct SubmitTarget: FuzzTarget {
  let name = "submit"
  let about = "a line of laris submit: a Request in proto3 JSON, then as bytes through RequestPeek"

  var words: [[UInt8]] {
    [
      "\"requestId\"", "\"placeOrder\"", "\"lines\"", "null", "\\u0000", "\\ud800", "{}", "[]", "1e999", "-1",
      "NaN",
      "\"18446744073709551616\"", "{\"a\":", "\"AZqOPF4AehuyD9TlsgcYKQ==\"", "true",
    ].map { Array($0.utf8) }
  }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var commands = RandomCommands(random)
    defer { random = commands.random }
    return try (0..<20).map { _ in
      Array(try Laris_Request(serializedBytes: Data(commands.request())).jsonString().utf8)
    }
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    let request: Laris_Request
    do { request = try Laris_Request(jsonString: String(decoding: bytes, as: UTF8.self)) } catch {
      return try outcome(of: error)
    }
    let encoded: [UInt8]
    do { encoded = try request.serializedBytes() } catch { throw Finding("can't be encoded: \(error)") }
    try require(try Laris_Request(serializedBytes: Data(encoded)) == request, "a request changes on its way")
    var id: RequestID?
    let peek = encoded.withUnsafeBytes { bytes in Result { try RequestPeek(bytes, id: &id) } }
    return "ok \("\(request.command as Any)".prefix(30)) \((try? peek.get()) != nil)"
  }
}

/// What workers and dispatchers tell each other in protobuf.
struct NodeMessagesTarget: FuzzTarget {
  let name = "node-messages"
  let about = "beacons and assignments: what SwiftProtobuf reads of them it writes as the same"

  var words: [[UInt8]] { Wires.words }

  func seeds(_ random: inout SplitMix64) throws -> [[UInt8]] {
    var beacon = Laris_Beacon()
    beacon.version = 1
    (beacon.node, beacon.folder, beacon.incarnation) = ("worker-1", "f", 7)
    beacon.partitions = (0..<3).map { number in
      var row = Laris_PartitionBeacon()
      (row.partition, row.epoch, row.active, row.note) = (UInt32(number), 3, true, "é")
      return row
    }
    var assignment = Laris_Assignment()
    (assignment.clusterID, assignment.feeBasisPoints) = ("c", 250)
    assignment.partitions = [.with { $0.partition = 5 }]
    return [
      [FrameKind.beacon.rawValue] + (try beacon.serializedBytes() as [UInt8]),
      [FrameKind.assignment.rawValue] + (try assignment.serializedBytes() as [UInt8]),
    ]
  }

  func run(_ bytes: UnsafeRawBufferPointer) throws -> String {
    guard let kind = bytes.first else { return "nothing" }
    let body = Data(bytes.dropFirst())
    if kind == FrameKind.beacon.rawValue {
      guard let beacon = try? Laris_Beacon(serializedBytes: body) else { return "no beacon" }
      try require(try Laris_Beacon(serializedBytes: beacon.serializedData()) == beacon, "a beacon changes")
      return "beacon \(size(beacon.partitions.count)) \(beacon.leaving)"
    }
    guard let assignment = try? Laris_Assignment(serializedBytes: body) else { return "no assignment" }
    try require(
      try Laris_Assignment(serializedBytes: assignment.serializedData()) == assignment,
      "an assignment changes")
    return "assignment \(size(assignment.partitions.count)) \(assignment.refused.isEmpty)"
  }
}
